/**
 * Bicubic scaling with antialiasing, as Pillow does it: a Keys (1981) kernel with a = −½, widened when an image shrinks,
 * along rows, then along columns, each to 8 bits (Pillow takes columns first for some sizes, which changes roundings).
 * The encoder was trained on images that were scaled so.
 */

export interface Pixels {
  data: Uint8ClampedArray | Uint8Array;
  width: number;
  height: number;
  channels: number;
}

const A = -0.5;
const SUPPORT = 2;

function kernel(x: number): number {
  const d = Math.abs(x);
  if (d < 1) return ((A + 2) * d - (A + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * A : 0;
}

interface Taps {
  first: number;
  weights: Float64Array;
}

function taps(from: number, to: number, start: number, end: number): Taps[] {
  const scale = (end - start) / to;
  const wide = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const center = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - SUPPORT * wide + 0.5));
    const last = Math.min(from, Math.trunc(center + SUPPORT * wide + 0.5));
    const weights = Float64Array.from({ length: last - first }, (_, k) => kernel((k + first - center + 0.5) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

function rounded(value: number): number {
  return Math.min(255, Math.max(0, Math.floor(value + 0.5)));
}

/**
 * As {@link scaled}; colors weigh as much as they can be seen: RGBA is multiplied by its alpha before, and divided after.
 */
export function resample(image: Pixels, width: number, height: number, box?: Box): Pixels {
  if (image.channels !== 4) return scaled(image, width, height, box);
  const data = image.data.slice();
  eachColor(data, (value, alpha) => Math.round((value * alpha) / 255));
  const made = scaled({ ...image, data }, width, height, box);
  eachColor(made.data, (value, alpha) => (alpha ? Math.min(255, Math.floor((255 * value) / alpha)) : value));
  return made;
}

function eachColor(data: Pixels['data'], change: (value: number, alpha: number) => number): void {
  for (let i = 0; i < data.length; i++) if (i % 4 < 3) data[i] = change(data[i], data[i - (i % 4) + 3]);
}

type Box = [left: number, top: number, right: number, bottom: number];

/** Part of an image ([left, top, right, bottom], fractions of pixels allowed) scaled to `width` × `height`. */
function scaled(image: Pixels, width: number, height: number, box?: Box): Pixels {
  const [left, top, right, bottom] = box ?? [0, 0, image.width, image.height];
  const { channels } = image;
  const isAcross = width !== image.width || left !== 0 || right !== width;
  const across = isAcross ? alongRows(image, taps(image.width, width, left, right)) : image;
  if (height === image.height && top === 0 && bottom === height) return across;
  const down = taps(image.height, height, top, bottom);
  const out = new Uint8ClampedArray(width * height * channels);
  const row = width * channels;
  down.forEach(({ first, weights }, y) => {
    for (let x = 0; x < row; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * across.data[(first + k) * row + x];
      out[y * row + x] = rounded(sum);
    }
  });
  return { data: out, width, height, channels };
}

function alongRows({ data, width, height, channels }: Pixels, columns: Taps[]): Pixels {
  const out = new Uint8ClampedArray(columns.length * height * channels);
  for (let y = 0; y < height; y++) {
    columns.forEach(({ first, weights }, x) => {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * data[(y * width + first + k) * channels + c];
        out[(y * columns.length + x) * channels + c] = rounded(sum);
      }
    });
  }
  return { data: out, width: columns.length, height, channels };
}
