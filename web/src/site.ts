/** What `vaekit publish` wrote beside the page. */

import { affine, type Latent, take, normals } from './latents';
import type { Engine } from './engine';

export interface Direction {
  vector: number[];
  accuracy: number | null;
}

/** model/model.json. */
export interface Model {
  image: { channels: number; height: number; width: number; fit: 'crop' | 'pad' | 'stretch'; background: string };
  latent_dim: number;
  /** A normal; or a network that makes latents of noise, and the normal with its mean and covariance; that of a hierarchy has no factor. */
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
  mean: number[];
  plane: { axes: [number[], number[]]; shares: [number, number] };
  images: { kind: 'images' | 'latents' | 'samples'; points: [number, number][]; names: string[] | null; labels: number[] | null };
  classes: string[];
  colors: string[];
  tiles: { columns: number; width: number; height: number };
  epochs: { epoch: number; reconstructions?: Picture; samples?: Picture }[];
}

const KNOWN_FORMAT = 2;

export class Site {
  /** Rows of the matrix that makes noise of latents. */
  private readonly whitening: Float32Array[];
  private known: Float32Array | null = null;

  private constructor(
    readonly model: Model,
    readonly facts: Facts,
    private readonly latents: Float32Array,
    whitening: Float32Array,
    readonly thumbnails: ImageBitmap,
  ) {
    const length = model.latent_dim;
    this.whitening = Array.from({ length }, (_, i) => whitening.subarray(i * length, (i + 1) * length));
  }

  /** Noise of the latents of all images: what distances are measured in. */
  get noises(): Float32Array {
    if (!this.known) {
      const length = this.model.latent_dim;
      this.known = new Float32Array(this.latents.length);
      for (let row = 0; row < this.count; row++) this.known.set(this.noiseOf(this.latent(row)), row * length);
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
    const numbers = new Float32Array(data);
    const count = facts.images.points.length * model.latent_dim;
    if (numbers.length !== count + model.latent_dim ** 2) throw new Error('latents.bin does not fit explorer.json; publish the run again');
    return new Site(model, facts, numbers.subarray(0, count), numbers.subarray(count), await createImageBitmap(picture));
  }

  /** How many images there are. */
  get count(): number {
    return this.facts.images.points.length;
  }

  /** The latent of an image. */
  latent(row: number): Latent {
    const length = this.model.latent_dim;
    return this.latents.slice(row * length, (row + 1) * length);
  }

  /** A latent as the noise that the prior makes it of; of an autoencoder as it is. */
  noiseOf(latent: ArrayLike<number>): Latent {
    return affine(Array.from(latent, (value, i) => value - this.origin[i]), this.whitening, new Float32Array(latent.length));
  }

  /** The latent that a noise stands for. */
  fromNoise(noise: ArrayLike<number>): Latent {
    const { prior } = this.model;
    return prior?.factor.length ? affine(noise, prior.factor, prior.mean) : Float32Array.from(noise);
  }

  /** Latents drawn at random, one per seed: from the prior, or where there is none those of images. */
  async draw(seeds: number[], engine: Pick<Engine, 'draw'>): Promise<{ latent: Latent; name: string }[]> {
    const { prior, latent_dim: length } = this.model;
    if (!prior) return this.anyImages(seeds);
    const names = seeds.map((seed) => `sample ${seed}`);
    const noises = seeds.map((seed) => take(normals(seed), prior.network ? length + 1 : length));
    const latents = prior.network ? await engine.draw(noises) : noises.map((noise) => this.fromNoise(noise));
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

  private get origin(): ArrayLike<number> {
    const { prior, latent_dim: length } = this.model;
    return prior?.factor.length ? prior.mean : new Float32Array(length);
  }
}

async function fetched(name: string): Promise<Response> {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} is missing (${response.status}); publish the run again`);
  return response;
}
