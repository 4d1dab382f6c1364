/** What the tests of the page share: it opens the page, watches it, and reads its canvases. */

import { readFileSync } from 'node:fs';
import { expect, type Locator, type Page, test as base } from '@playwright/test';

export const RUNS = '../build/web';

export interface Expected {
  latents: number[][];
  pictures: number[][][][];
  sum: number[][][];
  photo: number[][][];
  /** The first samples, of a run whose prior is a network. */
  drawn?: number[][][][];
  /** The first picture after the first slider of a hierarchy was moved by 2. */
  moved?: number[][][];
  /** From the first image to the nearest ones, of a run with discrete codes. */
  distances?: number[];
}

export function expected(name: string): Expected {
  return JSON.parse(readFileSync(`${RUNS}/${name}.json`, 'utf-8')) as Expected;
}

/** Fails a test whose page says something on the console, or asks for something that is not of its own origin. */
export const test = base.extend<{ watched: Page }>({
  baseURL: async ({ baseURL }, use, { project }) => {
    await use(project.name === 'isolated' ? addressIn(readFileSync(`${RUNS}/address.json`, 'utf-8')) : baseURL);
  },
  watched: async ({ page, baseURL }, use) => {
    const origin = new URL(baseURL ?? '').origin;
    const said: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) said.push(message.text());
    });
    page.on('pageerror', (error) => said.push(error.message));
    page.on('request', (request) => {
      const { protocol, origin: its } = new URL(request.url());
      if (!['data:', 'blob:'].includes(protocol) && its !== origin) said.push(`asked for ${request.url()}`);
    });
    await use(page);
    expect(said).toEqual([]);
  },
});

/** The address that `vaekit explore --json` prints; its path is new each time. */
export function addressIn(text: string): string {
  return (JSON.parse(text) as { explorer: string }).explorer;
}

export async function open(page: Page, address = './'): Promise<void> {
  await page.goto(address);
  await expect(page.locator('body')).toHaveAttribute('data-state', 'ready');
  await quiet(page, '#picked');
}

/** Waits until a canvas has been drawn, and nothing that was asked for is still to be drawn. */
export async function quiet(page: Page, canvas: string): Promise<void> {
  await expect(page.locator(`${canvas}[data-drawn]:not([data-busy])`)).toHaveCount(1);
}

/** RGBA values of a canvas, read from a copy: a canvas that is read often is kept elsewhere, and the browser says so. */
export function pixels(page: Page, canvas: string | Locator): Promise<number[]> {
  return (typeof canvas === 'string' ? page.locator(canvas) : canvas).evaluate((element) => {
    const { width, height } = element as HTMLCanvasElement;
    const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    copy?.drawImage(element as HTMLCanvasElement, 0, 0);
    return Array.from(copy?.getImageData(0, 0, width, height).data ?? []);
  });
}

/** The largest and the mean difference of a canvas from a picture [H][W][C]. */
export function difference(rgba: number[], picture: number[][][]): { largest: number; mean: number } {
  const wanted = picture.flatMap((row) => row.flatMap((pixel) => (pixel.length === 1 ? [0, 0, 0].map(() => pixel[0]) : pixel.slice(0, 3))));
  const found = rgba.filter((_, i) => i % 4 < 3);
  expect(found.length).toBe(wanted.length);
  const off = wanted.map((value, i) => Math.abs(value - found[i]));
  return { largest: Math.max(...off), mean: off.reduce((a, b) => a + b, 0) / off.length };
}

/** The address of a latent, as "Copy link" makes it. */
export function link(latent: number[]): string {
  return `#z=${Buffer.from(Float32Array.from(latent).buffer).toString('base64url')}`;
}

/** Opens a link of the page that is open, and waits until it has been read. */
export async function follow(page: Page, hash: string): Promise<void> {
  await page.evaluate(
    (to) =>
      new Promise((resolve) => {
        addEventListener('hashchange', resolve, { once: true });
        location.hash = to;
      }).then(() => undefined),
    hash,
  );
}

export async function tab(page: Page, name: string): Promise<void> {
  await page.getByRole('tab', { name }).click();
}
