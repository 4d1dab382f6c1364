/** Pictures of the model on canvases, and as files. */

import type { Model } from './site';

/** Float [C, H, W] in [0, 1] → 8-bit RGBA; the array that takes the values clamps them, and rounds as vaekit does. */
export function toImageData(picture: Float32Array, { channels, height, width }: Model['image']): ImageData {
  const data = new ImageData(width, height);
  const size = height * width;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = 255 * picture[(channels < 3 ? 0 : c) * size + i];
    data.data[4 * i + 3] = channels === 4 ? 255 * picture[3 * size + i] : 255;
  }
  return data;
}

/** A canvas of the size of the model's images. */
export function canvasFor({ height, width }: Model['image'], label: string): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', label);
  if (Math.max(height, width) <= 32) canvas.classList.add('pixelated');
  return canvas;
}

export function show(canvas: HTMLCanvasElement, picture: Float32Array, image: Model['image']): void {
  canvas.getContext('2d')?.putImageData(toImageData(picture, image), 0, 0);
}

/** Hands a canvas to the visitor as a PNG file. */
export function download(canvas: HTMLCanvasElement, name: string): void {
  canvas.toBlob((blob) => {
    if (!blob) return;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = `${name.replaceAll(/[^\p{L}\p{N}._-]+/gu, '-')}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}
