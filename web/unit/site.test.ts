import { afterEach, describe, expect, test, vi } from 'vitest';
import { affine, normals, take } from '../src/latents';
import { type Model, Site } from '../src/site';

const LATENTS = [[1, 2], [3, 4], [5, 6]];
const NORMAL = { mean: [0.5, -1], factor: [[2, 0], [1, 3]] };

/** A site of three images with latents of two numbers, as it comes from a host. */
async function siteWith(prior: Model['prior'], more: object = {}): Promise<Site> {
  const files: Record<string, BodyInit> = {
    'model/model.json': JSON.stringify({ latent_dim: 2, prior, directions: {} }),
    'explorer.json': JSON.stringify({ of: { format_version: 4 }, images: { kind: 'images', points: LATENTS, names: ['a', 'b', 'c'], labels: null }, ...more }),
    'latents.bin': Float32Array.from([...LATENTS.flat(), ...(prior?.factor.length ? [1, 0, 0, 1] : [])]).buffer,
    'images.webp': '',
  };
  vi.stubGlobal('fetch', (name: string) => Promise.resolve(new Response(files[name])));
  vi.stubGlobal('createImageBitmap', () => Promise.resolve({}));
  return Site.load();
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('what is drawn at random', () => {
  const engine = () => ({ draw: vi.fn((noises: Float32Array[]) => Promise.resolve(noises.map((noise) => noise.slice(0, 2).map((x) => 10 * x)))) });

  test.each([{ ...NORMAL, network: null }, NORMAL])('is noise of the seed through a normal prior, without a network', async (prior) => {
    const asked = engine();
    const drawn = await (await siteWith(prior)).draw([7, 8], asked);
    expect(asked.draw).not.toHaveBeenCalled();
    expect(drawn.map(({ name }) => name)).toEqual(['sample 7', 'sample 8']);
    expect(drawn.map(({ latent }) => latent)).toEqual([7, 8].map((seed) => affine(take(normals(seed), 2), NORMAL.factor, NORMAL.mean)));
  });

  test('is what the network of a prior makes of noise that is one number longer than a latent', async () => {
    const asked = engine();
    const drawn = await (await siteWith({ ...NORMAL, network: 'prior.onnx' })).draw([7, 8], asked);
    expect(asked.draw).toHaveBeenCalledExactlyOnceWith([take(normals(7), 3), take(normals(8), 3)]);
    expect(drawn).toEqual([7, 8].map((seed) => ({ name: `sample ${seed}`, latent: take(normals(seed), 2).map((x) => 10 * x) })));
  });

  test('of a hierarchy is noise, of which its network makes latents when they are decoded', async () => {
    const asked = engine();
    const site = await siteWith({ mean: NORMAL.mean, factor: [], network: 'prior.onnx' }, { compared: 1 });
    const drawn = await site.draw([7], asked);
    expect(asked.draw).not.toHaveBeenCalled();
    expect(drawn.map(({ latent }) => latent)).toEqual([take(normals(7), 2)]);
    expect([...site.noiseOf(LATENTS[1])]).toEqual(LATENTS[1]);
    expect([...site.fromNoise(LATENTS[1])]).toEqual(LATENTS[1]);
    expect([...site.summaryOf(Float32Array.from(LATENTS[1]))]).toEqual([3]); // the top level
    expect([...site.summaries]).toEqual([1, 3, 5]);
  });

  test('of a grid is noise, and it is compared by its parts', async () => {
    const site = await siteWith({ mean: NORMAL.mean, factor: [] }, { grid: [1, 1, 2] });
    expect([...site.summaryOf(Float32Array.from(LATENTS[1]))]).toEqual(LATENTS[1]);
    expect([...site.summaries]).toEqual(LATENTS.flat());
  });

  test('fails where the network does', async () => {
    const site = await siteWith({ ...NORMAL, network: 'prior.onnx' });
    await expect(site.draw([0], { draw: () => Promise.reject(new Error('prior.onnx is missing')) })).rejects.toThrow('prior.onnx is missing');
  });

  test('is an image of the map where there is no prior', async () => {
    const asked = engine();
    const drawn = await (await siteWith(null)).draw([0, 1, 2, 3, 4, 5, 6, 7], asked);
    expect(asked.draw).not.toHaveBeenCalled();
    for (const { latent, name } of drawn) expect([...latent]).toEqual(LATENTS[['a', 'b', 'c'].indexOf(name)]);
    expect(new Set(drawn.map(({ name }) => name)).size).toBeGreaterThan(1);
  });
});

test('codes are compared by the vectors of parts of the grid, and samples are those of the file', async () => {
  const codes = { rows: 1, columns: 2, count: 3 };
  const [images, vectors, samples] = [[[0, 1], [2, 2]], [[1, 0], [0, 1], [5, 5]], [[2, 1], [1, 0]]];
  const files: Record<string, BodyInit> = {
    'model/model.json': JSON.stringify({ latent_dim: 4, prior: null, directions: {}, codes }),
    'explorer.json': JSON.stringify({ of: { format_version: 4 }, codes: { vector_size: 2, samples: 2 }, images: { kind: 'images', points: images, names: ['a', 'b'], labels: null } }),
    'latents.bin': Float32Array.from([images, vectors, samples].flat(2)).buffer,
    'images.webp': '',
  };
  vi.stubGlobal('fetch', (name: string) => Promise.resolve(new Response(files[name])));
  vi.stubGlobal('createImageBitmap', () => Promise.resolve({}));
  const site = await Site.load();
  expect([...site.latent(1)]).toEqual([2, 2]);
  expect([...site.summaryOf(Float32Array.of(0, 1))]).toEqual([1, 0, 0, 1]); // first numbers of both cells, then second ones
  expect([...site.summaries]).toEqual([1, 0, 0, 1, 5, 5, 5, 5]);
  const drawn = await site.draw([0, 1, 2], { draw: vi.fn() });
  expect(drawn.map(({ latent }) => [...latent])).toEqual([[2, 1], [1, 0], [2, 1]]);
});
