import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fitted, underlaid, withChannels } from '../src/photo';
import { type Pixels, resample } from '../src/resample';

/** Pictures and what Pillow makes of them: written by unit/make_scaled.py. */
const cases = JSON.parse(readFileSync(new URL('scaled.json', import.meta.url), 'utf-8')) as {
  name: string;
  given: Pixels;
  image: { channels: number; height: number; width: number; fit: 'crop' | 'pad' | 'stretch'; background: string };
  expected: number[];
}[];

describe('scaling', () => {
  test.each(cases)('is that of Pillow: $name', ({ given, image, expected }) => {
    const rgba = Uint8ClampedArray.from(given.data);
    const found = fitted(withChannels(rgba, given.width, given.height, image.channels), image);
    expect([found.width, found.height, found.channels]).toEqual([image.width, image.height, image.channels]);
    expect(found.data.length).toBe(expected.length);
    expect(Math.max(...expected.map((value, i) => Math.abs(value - found.data[i])))).toBeLessThanOrEqual(
      image.channels === 4 ? 4 : 1, // alpha rounds and clamps in each pass, whose order Pillow chooses by size
    );
  });

  test('what cannot be seen does not count', () => {
    const rgba = Uint8ClampedArray.from([255, 0, 0, 255, 9, 9, 9, 0, 255, 0, 0, 255, 9, 9, 9, 0]);
    const { data } = resample({ data: rgba, width: 4, height: 1, channels: 4 }, 2, 1);
    expect([...data.slice(0, 3)]).toEqual([255, 0, 0]);
    underlaid(rgba, '#102030');
    expect([...rgba.slice(0, 8)]).toEqual([255, 0, 0, 255, 16, 32, 48, 0]);
  });

  test('a plain picture stays plain', () => {
    const plain = { data: new Uint8ClampedArray(90).fill(77), width: 5, height: 6, channels: 3 };
    expect(new Set(resample(plain, 17, 3).data)).toEqual(new Set([77]));
  });

  test('a picture of the right size is left alone', () => {
    const some = { data: Uint8ClampedArray.from({ length: 12 }, (_, i) => 20 * i), width: 2, height: 2, channels: 3 };
    expect(resample(some, 2, 2)).toEqual(some);
  });
});
