/** Runs of another kind: of 128 pixels; grey, of eight pixels, with classes, without a prior. */

import { expect } from '@playwright/test';
import { difference, expected, link, open, pixels, quiet, tab, test } from './page';

const DIGITS = 'http://127.0.0.1:4310/digits/explorer/';

test('an autoencoder of small grey pictures', async ({ watched: page }) => {
  const { codes, pictures, photo } = expected('digits');
  await open(page, `${DIGITS}${link(codes[0])}`);
  expect(difference(await pixels(page, '#picked'), pictures[0]).largest).toBeLessThanOrEqual(2);
  await expect(page.locator('#panel-Samples')).toContainText('no prior');
  await page.locator('#photo').setInputFiles('../build/web/photo.png');
  await expect(page.locator('#caption')).toHaveText('photo.png');
  await quiet(page, '#picked');
  expect(difference(await pixels(page, '#picked'), photo).mean).toBeLessThan(1);
  await tab(page, 'Map');
  await expect(page.locator('.legend li')).toHaveCount(10);
});

test('larger pictures are those of PyTorch too', async ({ watched: page }) => {
  const { codes, pictures } = expected('large');
  await open(page, `http://127.0.0.1:4310/large/explorer/${link(codes[1])}`);
  expect(difference(await pixels(page, '#picked'), pictures[1]).largest).toBeLessThanOrEqual(2);
});
