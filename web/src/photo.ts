/** A visitor's picture, brought to what the model was trained on; it does not leave the browser. */

import { type Pixels, resample } from './resample';
import type { Model } from './site';

const MOST_PIXELS = 1 << 24; // larger photos are first scaled down to so many

/** Float [C, H, W] in [0, 1]; raises an error with a sentence for the visitor if it is no picture. */
export async function opened(file: Blob & { name?: string }, image: Model['image']): Promise<Float32Array> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file); // upright, in sRGB
  } catch {
    const what = file.type.startsWith('image/') ? 'is damaged, or' : 'is not a picture, or';
    throw new Error(`${file.name ?? 'That'} ${what} of a kind that this browser cannot read; JPEG, PNG, WebP, GIF and AVIF files will do.`);
  }
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('This browser gives no canvas to read the picture with.');
  context.imageSmoothingQuality = 'high';
  if (image.channels < 4) {
    context.fillStyle = image.background;
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  if (image.channels === 4) underlaid(data, image.background);
  return toFloat(fitted(withChannels(data, width, height, image.channels), image));
}

/** What cannot be seen gets the color of the background: what a file says of it must not count. */
export function underlaid(rgba: Uint8ClampedArray, background: string): void {
  const paint = colorOf(background);
  for (let i = 0; i < rgba.length; i += 4) if (!rgba[i + 3]) paint.forEach((value, c) => (rgba[i + c] = value));
}

function colorOf(background: string): number[] {
  return [1, 3, 5].map((at) => Number.parseInt(background.slice(at, at + 2), 16));
}

/** RGBA as gray (as Pillow weighs colors: Rec. 601), RGB, or as it is. */
export function withChannels(rgba: Uint8ClampedArray, width: number, height: number, channels: number): Pixels {
  const data = new Uint8ClampedArray(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    if (channels === 1) data[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
    else for (let c = 0; c < channels; c++) data[channels * i + c] = rgba[4 * i + c];
  }
  return { data, width, height, channels };
}

/** Covered and cut, shown whole on the background, or stretched. */
export function fitted(pixels: Pixels, { height, width, fit, background }: Model['image']): Pixels {
  if (pixels.width === width && pixels.height === height) return pixels;
  if (fit === 'stretch') return resample(pixels, width, height);
  if (fit === 'pad') {
    const scale = Math.min(height / pixels.height, width / pixels.width);
    const [w, h] = [
      Math.max(1, Math.min(width, Math.round(pixels.width * scale))),
      Math.max(1, Math.min(height, Math.round(pixels.height * scale))),
    ];
    return padded(resample(pixels, w, h), width, height, background);
  }
  const scale = Math.max(height / pixels.height, width / pixels.width);
  const [w, h] = [Math.min(width / scale, pixels.width), Math.min(height / scale, pixels.height)];
  const [left, top] = [(pixels.width - w) / 2, (pixels.height - h) / 2];
  return resample(pixels, width, height, [left, top, left + w, top + h]);
}

function padded(inner: Pixels, width: number, height: number, background: string): Pixels {
  const { channels } = inner;
  const paint = withChannels(Uint8ClampedArray.from([...colorOf(background), 255]), 1, 1, channels).data;
  const data = new Uint8ClampedArray(width * height * channels).map((_, i) => paint[i % channels]);
  const [left, top] = [Math.floor((width - inner.width) / 2), Math.floor((height - inner.height) / 2)];
  const row = inner.width * channels;
  for (let y = 0; y < inner.height; y++) {
    data.set(inner.data.subarray(y * row, (y + 1) * row), ((top + y) * width + left) * channels);
  }
  return { data, width, height, channels };
}

function toFloat({ data, width, height, channels }: Pixels): Float32Array {
  const size = width * height;
  return Float32Array.from({ length: size * channels }, (_, i) => data[(i % size) * channels + Math.floor(i / size)] / 255);
}
