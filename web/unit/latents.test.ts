import { describe, expect, test } from 'vitest';
import { affine, fromText, linear, moved, nearest, normals, pooled, spherical, take, toText } from '../src/latents';

const latent = (...values: number[]): Float32Array => Float32Array.from(values);

describe('latents', () => {
  test('move along what they are given', () => {
    expect([...moved(latent(1, 2), [[2, [1, 0]], [-1, [0, 4]]])]).toEqual([3, -2]);
  });

  test('an affine map is noise times factor plus mean, rows first', () => {
    expect([...affine([1, 2], [[1, 10], [0, 3]], [0.5, 0])]).toEqual([1.5, 16]);
  });

  test('both paths meet their ends', () => {
    const [a, b] = [latent(3, 0), latent(0, 1)];
    for (const path of [linear, spherical]) {
      for (const [t, end] of [[0, a], [1, b]] as const) path(a, b, t).forEach((value, i) => expect(value).toBeCloseTo(end[i], 6));
    }
  });

  test('half of a great circle has the mean length and direction', () => {
    const half = spherical(latent(3, 0), latent(0, 1), 0.5);
    expect(Math.hypot(...half)).toBeCloseTo(2, 6);
    expect(half[0]).toBeCloseTo(half[1], 6);
  });

  test('where there is no circle the way is straight', () => {
    expect([...spherical(latent(1, 0), latent(-1, 0), 0.5)]).toEqual([0, 0]);
    expect([...spherical(latent(0, 0), latent(2, 0), 0.5)]).toEqual([1, 0]);
  });

  test('neighbors come by distance, of equal ones the first row first', () => {
    const table = latent(0, 0, 3, 4, 1, 0, 1, 0);
    expect(nearest(table, [0, 0], 3)).toEqual([{ row: 0, distance: 0 }, { row: 2, distance: 1 }, { row: 3, distance: 1 }]);
  });

  test('random numbers are normal, and follow from the seed', () => {
    const numbers = take(normals(7), 20_000);
    const mean = numbers.reduce((a, b) => a + b) / numbers.length;
    const variance = numbers.reduce((a, b) => a + (b - mean) ** 2, 0) / numbers.length;
    expect(Math.abs(mean)).toBeLessThan(0.03);
    expect(Math.abs(variance - 1)).toBeLessThan(0.05);
    const far = numbers.filter((x) => Math.abs(x) > 1.96).length / numbers.length;
    expect(Math.abs(far - 0.05)).toBeLessThan(0.006);
    expect(take(normals(7), 5)).toEqual(numbers.slice(0, 5));
    expect(take(normals(8), 5)).not.toEqual(numbers.slice(0, 5));
  });

  test('a latent survives an address; what is none is refused', () => {
    const all = latent(0, -1.5, 3e-20, 1e30);
    expect(fromText(toText(all), 4)).toEqual(all);
    expect(toText(all)).toMatch(/^[\w-]+$/);
    for (const text of ['', '***', toText(latent(1)), toText(latent(1, 2, 3, Number.NaN))]) expect(fromText(text, 4)).toBeNull();
  });
});

test('a grid is averaged down to four parts along each side, which may share cells', () => {
  const vectors = Array.from({ length: 10 }, (_, i) => latent(i, -i));
  const codes = Array.from({ length: 10 }, (_, i) => i); // 2 × 5: parts of the second side are cells 0 to 1, 1 to 2, 2 to 3, 3 to 4
  const means = [0.5, 1.5, 2.5, 3.5, 5.5, 6.5, 7.5, 8.5];
  expect([...pooled(2, 5, 2, (cell, k) => vectors[codes[cell]][k])]).toEqual([...means, ...means.map((mean) => -mean)]);
});
