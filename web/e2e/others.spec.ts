/** Runs of another kind: of 128 pixels; gray, of eight pixels, with classes, without a prior or with one that is a network. */

import { expect } from '@playwright/test';
import { difference, expected, link, open, pixels, quiet, tab, test } from './page';

const DIGITS = 'http://127.0.0.1:4310/digits/explorer/';
const VAMP = 'http://127.0.0.1:4310/vamp/explorer/';

test('an autoencoder of small gray pictures', async ({ watched: page }) => {
  const { latents, pictures, photo } = expected('digits');
  await open(page, `${DIGITS}${link(latents[0])}`);
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
  const { latents, pictures } = expected('large');
  await open(page, `http://127.0.0.1:4310/large/explorer/${link(latents[1])}`);
  expect(difference(await pixels(page, '#picked'), pictures[1]).largest).toBeLessThanOrEqual(2);
});

for (const [name, kind] of [['vamp', 'a mixture of posteriors'], ['flow', 'a flow'], ['fitted', 'a mixture that was fitted to the latents of an autoencoder']]) {
  test(`samples of ${kind} are those of its network`, async ({ watched: page }) => {
    const { drawn = [] } = expected(name);
    await open(page, `http://127.0.0.1:4310/${name}/explorer/`);
    const panel = page.locator('#panel-Samples');
    await expect(panel.locator('.hint')).toHaveText('Drawn at random from the prior. Click one to pick it.');
    await expect(panel.locator('.grid')).toHaveAttribute('data-seed', '0');
    const tiles = await panel.locator('.tile canvas').all();
    expect(tiles.length).toBe(drawn.length);
    for (const [i, tile] of tiles.entries()) expect(difference(await pixels(page, tile), drawn[i]).largest).toBeLessThanOrEqual(2);
    expect(difference(await pixels(page, tiles[0]), drawn[1]).largest).toBeGreaterThan(20); // or the comparison would say nothing
    await expect(page.locator('#caption')).toHaveText('sample 0');
    expect(difference(await pixels(page, '#picked'), drawn[0]).largest).toBeLessThanOrEqual(2);
    await panel.locator('.tile').nth(7).click();
    await expect(page.locator('#caption')).toHaveText('sample 7');
    await quiet(page, '#picked');
    expect(difference(await pixels(page, '#picked'), drawn[7]).largest).toBeLessThanOrEqual(2);
    await page.getByRole('button', { name: 'Draw others' }).click();
    await expect(panel.locator('.tile').first()).toHaveAttribute('title', 'sample 18');
    await expect(panel.locator('.grid')).toHaveAttribute('data-seed', '18');
  });
}

test('the sliders of a hierarchy are those of the chosen level, and keep their values', async ({ watched: page }) => {
  await open(page, 'http://127.0.0.1:4310/ladder/explorer/');
  const card = page.locator('#sliders details', { hasText: 'In standard deviations of the latents' });
  if (!(await card.evaluate((element) => (element as HTMLDetailsElement).open))) await card.locator('summary').first().click();
  const [level, rows] = [card.getByLabel('Level'), card.locator('label.slider:visible')];
  const options = await level.locator('option').allTextContents();
  expect(options[0]).toBe('Level 1, the top');
  expect(options.at(-1)).toBe(`Level ${options.length}, the finest`);
  const first = await rows.allTextContents();
  await level.selectOption({ index: options.length - 1 });
  const last = await rows.allTextContents();
  expect(last.filter((row) => first.includes(row))).toEqual([]);
  await rows.first().locator('input').fill('3');
  await expect(page.locator('#caption')).toHaveText(/^sample 0 \+ 3 z\d+$/);
  await level.selectOption({ index: 0 });
  expect(await rows.allTextContents()).toEqual(first);
  await level.selectOption({ index: options.length - 1 });
  await expect(rows.first().locator('input')).toHaveValue('3');
  await expect(card.getByPlaceholder('Find')).toHaveCount(0);
});

test('what a hierarchy decodes, encodes and moves is what PyTorch does, and finer levels keep their detail', async ({ watched: page }) => {
  const { latents, pictures, photo, moved = [] } = expected('ladder');
  await open(page, `http://127.0.0.1:4310/ladder/explorer/${link(latents[0])}`);
  expect(difference(await pixels(page, '#picked'), pictures[0]).largest).toBeLessThanOrEqual(2);
  const card = page.locator('#sliders details', { hasText: 'In standard deviations of the latents' });
  if (!(await card.evaluate((element) => (element as HTMLDetailsElement).open))) await card.locator('summary').first().click();
  await card.locator('label.slider:visible input').first().fill('2');
  await expect(page.locator('#caption')).toContainText('+ 2 z');
  await quiet(page, '#picked');
  expect(difference(await pixels(page, '#picked'), moved).largest).toBeLessThanOrEqual(2);
  await page.locator('#photo').setInputFiles('../build/web/photo.png');
  await expect(page.locator('#caption')).toHaveText('photo.png');
  await quiet(page, '#picked');
  expect(difference(await pixels(page, '#picked'), photo).mean).toBeLessThan(1);
});

test('a grid is decoded as in PyTorch, and compared by its parts as in vaekit', async ({ watched: page }) => {
  const { latents, pictures, distances = [] } = expected('grid');
  await open(page, `http://127.0.0.1:4310/grid/explorer/${link(latents[0])}`);
  expect(difference(await pixels(page, '#picked'), pictures[0]).largest).toBeLessThanOrEqual(2);
  await tab(page, 'Neighbors');
  await expect(page.locator('#panel-Neighbors .tile span')).toHaveText(distances.map((distance) => distance.toFixed(2)));
  await expect(page.locator('#panel-Neighbors .hint')).toContainText('the units of the latents, averaged over parts of the image');
  await tab(page, 'Map');
  await page.locator('#map').click({ position: { x: 100, y: 100 } });
  await expect(page.locator('#caption')).toContainText('map at');
});

test('discrete codes are decoded, sampled and compared as in vaekit, and have no sliders', async ({ watched: page }) => {
  const site = 'http://127.0.0.1:4310/codes/explorer/';
  const { latents, pictures, drawn = [], distances = [] } = expected('codes');
  await open(page, `${site}${link(latents[0])}`);
  expect(difference(await pixels(page, '#picked'), pictures[0]).largest).toBeLessThanOrEqual(2);
  expect(difference(pictures[0].flat(2).flatMap((x) => [x, x, x, 255]), pictures[1]).largest).toBeGreaterThan(20); // or the comparison would say nothing
  await tab(page, 'Neighbors');
  await expect(page.locator('#panel-Neighbors .tile span')).toHaveText(distances.map((distance) => distance.toFixed(2)));
  await tab(page, 'Samples');
  await expect(page.locator('#panel-Samples .hint')).toHaveText('Drawn at random from the prior when this page was made. Click one to pick it.');
  await expect(page.locator('#panel-Samples .grid')).toHaveAttribute('data-seed', '0');
  for (const [i, tile] of (await page.locator('#panel-Samples .tile canvas').all()).entries()) expect(difference(await pixels(page, tile), drawn[i]).largest).toBeLessThanOrEqual(2);
  await expect(page.getByRole('tab')).toHaveText(['Samples', 'Map', 'Neighbors', 'Training']);
  await expect(page.getByRole('slider')).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Put in A' })).toHaveCount(0);
  await expect(page.locator('#sliders')).toContainText('8 × 8 discrete codes, each one of 32');
  await page.locator('#photo').setInputFiles('../build/web/photo.png');
  await expect(page.locator('#caption')).toHaveText('photo.png');
  await quiet(page, '#picked');
  await tab(page, 'Map');
  await page.locator('#map').click({ position: { x: 100, y: 100 } });
  await expect(page.locator('#caption')).toHaveText(/^\d+$/); // the name of the nearest image
});

test('without the network of its prior the page shows images, says what is missing, and asks again', async ({ page }) => {
  const said: string[] = [];
  page.on('pageerror', (error) => said.push(error.message));
  let isDown = true;
  await page.route('**/prior.onnx', (route) => (isDown ? route.fulfill({ status: 404 }) : route.continue()));
  await open(page, VAMP);
  await expect(page.getByRole('alert')).toContainText('model/prior.onnx');
  await expect(page.locator('#caption')).toHaveText(/^\d+$/); // the name of an image
  expect(Math.max(...(await pixels(page, '#picked')).filter((_, i) => i % 4 < 3))).toBeGreaterThan(50);
  for (const slot of ['A', 'B', 'C']) await expect(page.getByRole('button', { name: `pick what is in slot ${slot}: ` })).toBeVisible();
  await page.setViewportSize({ width: 390, height: 780 });
  const dismiss = page.getByRole('button', { name: 'Dismiss' });
  await expect(dismiss).toBeInViewport({ ratio: 1 });
  expect((await dismiss.boundingBox())?.height).toBeLessThan(50); // one line
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  await tab(page, 'Map');
  await page.getByRole('button', { name: 'Pick the nearest image' }).click();
  await tab(page, 'Samples');
  isDown = false;
  await page.getByRole('button', { name: 'Draw others' }).click();
  await expect(page.locator('#panel-Samples .tile')).toHaveCount(18);
  expect(said).toEqual([]);
});
