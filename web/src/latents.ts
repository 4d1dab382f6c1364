/** Arithmetic of latents: plain arrays of numbers, one latent each. */

/** For discrete codes, their numbers, row by row; for a hierarchy, the noise that its prior maps to the latent. */
export type Latent = Float32Array;

const MOST_PARTS = 4; // of a grid that is compared, along each side

/** start + Σ weight · step. */
export function moved(start: Latent, steps: Iterable<readonly [number, ArrayLike<number>]>): Latent {
  const sum = Float64Array.from(start);
  for (const [weight, step] of steps) for (let i = 0; i < sum.length; i++) sum[i] += weight * step[i];
  return Float32Array.from(sum);
}

/** noise @ factor + mean, as the artifact describes its prior. */
export function affine(noise: ArrayLike<number>, factor: ArrayLike<ArrayLike<number>>, mean: ArrayLike<number>): Latent {
  const sum = Float64Array.from(mean);
  for (let i = 0; i < noise.length; i++) for (let j = 0; j < sum.length; j++) sum[j] += noise[i] * factor[i][j];
  return Float32Array.from(sum);
}

/** The straight line from one latent to another, at `t` of its length. */
export function linear(from: Latent, to: Latent, t: number): Latent {
  return from.map((value, i) => value + t * (to[i] - value));
}

/**
 * Shoemake (1985): on the great circle between both directions; lengths change in equal steps. Straight where the
 * directions are the same or opposite, or one has no length.
 */
export function spherical(from: Latent, to: Latent, t: number): Latent {
  const lengths = [from, to].map((latent) => Math.hypot(...latent));
  if (!lengths[0] || !lengths[1]) return linear(from, to, t);
  let cosine = 0;
  for (let i = 0; i < from.length; i++) cosine += (from[i] / lengths[0]) * (to[i] / lengths[1]);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (Math.sin(angle) < 1e-3) return linear(from, to, t);
  const length = lengths[0] + t * (lengths[1] - lengths[0]);
  const weights = [Math.sin((1 - t) * angle), Math.sin(t * angle)].map((weight) => (weight / Math.sin(angle)) * length);
  return from.map((value, i) => (weights[0] * value) / lengths[0] + (weights[1] * to[i]) / lengths[1]);
}

/** A grid of vectors, averaged down to at most 4×4 cells, as `summary` in vaekit does; `valueAt(cell, k)` is number k of a cell. */
export function pooled(rows: number, columns: number, size: number, valueAt: (cell: number, k: number) => number): Latent {
  const [down, across] = [rows, columns].map((side) => partsOf(side));
  const sum = new Float64Array(size * down.length * across.length);
  down.forEach(([top, bottom], i) => across.forEach(([left, right], j) => {
    const share = 1 / ((bottom - top) * (right - left));
    for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) {
      for (let k = 0; k < size; k++) sum[(k * down.length + i) * across.length + j] += share * valueAt(y * columns + x, k);
    }
  }));
  return Float32Array.from(sum);
}

/** A side in at most four parts, each from its first cell to before another, as torch.nn.AdaptiveAvgPool2d cuts it. */
function partsOf(side: number): [number, number][] {
  const parts = Math.min(side, MOST_PARTS);
  return Array.from({ length: parts }, (_, i) => [Math.floor((i * side) / parts), Math.ceil(((i + 1) * side) / parts)]);
}

/** The `count` rows of a table of latents that are nearest to one, nearest first, with their distances. */
export function nearest(table: Float32Array, to: ArrayLike<number>, count: number): { row: number; distance: number }[] {
  const length = to.length;
  const found = Array.from({ length: table.length / length }, (_, row) => {
    let square = 0;
    for (let i = 0; i < length; i++) square += (table[row * length + i] - to[i]) ** 2;
    return { row, distance: Math.sqrt(square) };
  });
  return found.sort((a, b) => a.distance - b.distance || a.row - b.row).slice(0, count);
}

/** Standard normal numbers that follow from a seed: mulberry32, and Box & Muller (1958). */
export function* normals(seed: number): Generator<number, never> {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  for (;;) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    yield radius * Math.cos(angle);
    yield radius * Math.sin(angle);
  }
}

/** `count` numbers of a generator. */
export function take(numbers: Generator<number, never>, count: number): Float32Array {
  return Float32Array.from({ length: count }, () => numbers.next().value);
}

/** A latent as text for an address, and back; null if it is not one of this length with finite numbers. */
export function toText(latent: Latent): string {
  const bytes = new Uint8Array(latent.buffer, latent.byteOffset, latent.byteLength);
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

export function fromText(text: string, length: number): Latent | null {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    if (bytes.length !== 4 * length) return null;
    const latent = new Float32Array(bytes.buffer);
    return latent.every(Number.isFinite) ? latent : null;
  } catch {
    return null;
  }
}
