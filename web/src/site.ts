/** What `vaekit publish` wrote beside the page. */

import { affine, type Latent, normals, pooled, take } from './latents';
import type { Engine } from './engine';

export interface Direction {
  vector: number[];
  accuracy: number | null;
}

/** model/model.json. */
export interface Model {
  image: { channels: number; height: number; width: number; fit: 'crop' | 'pad' | 'stretch'; background: string };
  latent_dim: number;
  /** Where the networks use discrete codes: a grid of numbers below `count`. */
  codes?: { rows: number; columns: number; count: number } | null;
  /** A normal; or a network that makes latents of noise, and the normal with its mean and covariance. A hierarchy, and a standard normal over a grid, have no factor. */
  prior: { mean: number[]; factor: number[][]; network?: string | null } | null;
  directions: Record<string, Direction>;
}

export interface Picture {
  file: string;
  width: number;
  height: number;
}

export interface Curve {
  title: string;
  unit: string;
  note: string;
  series: { part: string; x: number[]; y: number[] }[];
}

/** explorer.json. */
export interface Facts {
  of: { format_version: number; made_by: string };
  title: string;
  recipe: string;
  source: string | null;
  trained_on: number;
  images_seen: number;
  measured_on: string;
  numbers: { name: string; value: string; unit: string; meaning: string }[];
  verdict: { name: string; reason: string } | null;
  curves: Curve[];
  /** The most active dimensions of each level of the latent, counted from the top; most models have one. */
  axes: { name: string; step: number[]; levels: number; level?: number }[];
  /** Of a hierarchy only: how many numbers the top level has. */
  compared: number | null;
  /** Of a grid of latents only: its channels, rows and columns. */
  grid: [number, number, number] | null;
  /** Of discrete codes only: numbers of a code's vector, and samples of the prior, which the page cannot draw itself. */
  codes?: { vector_size: number; samples: number } | null;
  mean: number[];
  plane: { axes: [number[], number[]]; shares: [number, number] };
  images: { kind: 'images' | 'latents' | 'samples'; points: [number, number][]; names: string[] | null; labels: number[] | null };
  classes: string[];
  colors: string[];
  tiles: { columns: number; width: number; height: number };
  epochs: { epoch: number; reconstructions?: Picture; samples?: Picture }[];
}

const KNOWN_FORMAT = 4;

export class Site {
  /** How many numbers a latent has. */
  readonly length: number;
  private readonly latents: Float32Array[];
  /** Rows of the matrix that makes noise of latents; none where both are the same. For codes, the vector of each. */
  private readonly rows: Float32Array[];
  /** Samples of the prior of codes. */
  private readonly samples: Float32Array[];
  private known: Float32Array | null = null;

  private constructor(
    readonly model: Model,
    readonly facts: Facts,
    data: Float32Array,
    readonly thumbnails: ImageBitmap,
  ) {
    this.length = lengthOf(model);
    const [count, size] = [facts.images.points.length * this.length, sizesOf(model, facts).vectors];
    const end = count + size * (model.codes?.count ?? size);
    this.latents = inRows(data.subarray(0, count), this.length);
    this.rows = inRows(data.subarray(count, end), size);
    this.samples = inRows(data.subarray(end), this.length);
  }

  /** The numbers by which a latent is compared: its noise; for a hierarchy, that of the top level; for grids and codes, the mean vectors of parts of the grid. */
  summaryOf(latent: Latent): Latent {
    const { model: { codes }, facts: { grid, compared } } = this;
    if (codes) return pooled(codes.rows, codes.columns, this.rows[0].length, (cell, k) => this.rows[latent[cell]][k]);
    if (grid) return pooled(grid[1], grid[2], grid[0], (cell, k) => latent[k * grid[1] * grid[2] + cell]);
    return this.noiseOf(latent).subarray(0, compared ?? latent.length);
  }

  /** What the latents of all images are compared by, one after the other. */
  get summaries(): Float32Array {
    if (!this.known) {
      const found = this.latents.map((latent) => this.summaryOf(latent));
      this.known = new Float32Array(found.length * (found[0]?.length ?? 0));
      found.forEach((noise, row) => this.known?.set(noise, row * noise.length));
    }
    return this.known;
  }

  static async load(): Promise<Site> {
    const [model, facts, data, picture] = await Promise.all([
      fetched('model/model.json').then((r) => r.json() as Promise<Model>),
      fetched('explorer.json').then((r) => r.json() as Promise<Facts>),
      fetched('latents.bin').then((r) => r.arrayBuffer()),
      fetched('images.webp').then((r) => r.blob()),
    ]);
    if (facts.of.format_version !== KNOWN_FORMAT) throw new Error('this page is of another version than its files; publish the run again');
    if (data.byteLength !== 4 * sizesOf(model, facts).whole) throw new Error('latents.bin does not fit explorer.json; publish the run again');
    return new Site(model, facts, new Float32Array(data), await createImageBitmap(picture));
  }

  /** How many images there are. */
  get count(): number {
    return this.facts.images.points.length;
  }

  /** The latent of an image. */
  latent(row: number): Latent {
    return this.latents[row].slice();
  }

  /** A latent as the noise that the prior makes it of; of an autoencoder as it is. In a hierarchy, the latents of the page are noise already. */
  noiseOf(latent: ArrayLike<number>): Latent {
    const { prior } = this.model;
    if (!prior?.factor.length) return Float32Array.from(latent);
    return affine(Array.from(latent, (value, i) => value - prior.mean[i]), this.rows, new Float32Array(latent.length));
  }

  /** The latent that a noise stands for. */
  fromNoise(noise: ArrayLike<number>): Latent {
    const { prior } = this.model;
    return prior?.factor.length ? affine(noise, prior.factor, prior.mean) : Float32Array.from(noise);
  }

  /** Latents drawn at random, one per seed: from the prior, or where there is none those of images. */
  async draw(seeds: number[], engine: Pick<Engine, 'draw'>): Promise<{ latent: Latent; name: string }[]> {
    const { codes, prior } = this.model;
    const { length, samples } = this;
    const names = seeds.map((seed) => `sample ${seed}`);
    if (codes) return seeds.map((seed, i) => ({ latent: samples[seed % samples.length].slice(), name: names[i] }));
    if (!prior) return this.anyImages(seeds);
    const isDrawn = prior.network && prior.factor.length; // a hierarchy is drawn when it is decoded
    const noises = seeds.map((seed) => take(normals(seed), isDrawn ? length + 1 : length));
    const latents = isDrawn ? await engine.draw(noises) : noises.map((noise) => this.fromNoise(noise));
    return latents.map((latent, i) => ({ latent, name: names[i] }));
  }

  /** Latents of images of the map, one per seed. */
  anyImages(seeds: number[]): { latent: Latent; name: string }[] {
    const rows = seeds.map((seed) => Math.floor(Math.abs(normals(seed).next().value * 1e6)) % this.count);
    return rows.map((row) => ({ latent: this.latent(row), name: this.nameOf(row) }));
  }

  nameOf(row: number): string {
    const { kind, names, labels } = this.facts.images;
    if (kind === 'samples') return `sample of the map ${row + 1}`;
    return names?.[row] ?? (labels ? `${this.facts.classes[labels[row]]}, image ${row + 1}` : `image ${row + 1}`);
  }

  /** What the map shows, in words. */
  get shown(): string {
    return { images: 'images of the data', latents: 'pictures that the model makes of the latents of its data', samples: 'samples of the prior' }[this.facts.images.kind];
  }

  /** Where the thumbnail of an image lies: left, top, width, height. */
  tile(row: number): [number, number, number, number] {
    const { columns, width, height } = this.facts.tiles;
    return [(row % columns) * width, Math.floor(row / columns) * height, width, height];
  }
}

function lengthOf({ codes, latent_dim }: Model): number {
  return codes ? codes.rows * codes.columns : latent_dim;
}

/** How many numbers latents.bin has, and each of the vectors between the latents and the samples. */
function sizesOf(model: Model, { images, codes }: Facts): { vectors: number; whole: number } {
  const [length, count] = [lengthOf(model), images.points.length];
  if (model.codes && codes) return { vectors: codes.vector_size, whole: (count + codes.samples) * length + model.codes.count * codes.vector_size };
  const vectors = model.prior?.factor.length ? length : 0;
  return { vectors, whole: count * length + vectors ** 2 };
}

function inRows(data: Float32Array, length: number): Float32Array[] {
  return Array.from({ length: length && data.length / length }, (_, i) => data.subarray(i * length, (i + 1) * length));
}

async function fetched(name: string): Promise<Response> {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} is missing (${response.status}); publish the run again`);
  return response;
}
