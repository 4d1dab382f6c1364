import { readFileSync } from 'node:fs';
import AxeBuilder from '@axe-core/playwright';
import { expect } from '@playwright/test';
import { difference, expected, follow, link, open, pixels, quiet, RUNS, tab, test } from './page';

const TABS = ['Samples', 'Map', 'Walk', 'Sums', 'Neighbors', 'Training'];
const PHOTO = `${RUNS}/photo.png`;

test('it opens, with threads exactly where the host allows them', async ({ watched: page }, { project }) => {
  await open(page);
  await expect(page.getByRole('heading')).toHaveText('portraits');
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(project.name === 'isolated');
  const cores = await page.evaluate(() => navigator.hardwareConcurrency);
  await expect(page.locator('#foot')).toContainText(project.name === 'isolated' && cores > 1 ? /\d threads/ : 'one thread');
  await expect(page.locator('#panel-Samples .tile')).toHaveCount(18);
});

test('pixels are those of PyTorch', async ({ watched: page }) => {
  const { latents, pictures } = expected('portraits');
  for (const [i, latent] of latents.entries()) {
    await open(page, `./${link(latent)}`);
    await page.reload(); // an address that differs after the # alone opens nothing anew
    await quiet(page, '#picked');
    expect(difference(await pixels(page, '#picked'), pictures[i]).largest).toBeLessThanOrEqual(2);
  }
});

test('a slider changes the picture, and undoing changes it back', async ({ watched: page }) => {
  await open(page);
  const before = await pixels(page, '#picked');
  await page.getByRole('slider', { name: 'glasses' }).fill('1.5');
  await quiet(page, '#picked');
  await expect(page.locator('#caption')).toContainText('+ 1.5 glasses');
  expect(await pixels(page, '#picked')).not.toEqual(before);
  await page.getByRole('button', { name: 'Undo edits' }).click();
  await quiet(page, '#picked');
  expect(await pixels(page, '#picked')).toEqual(before);
  await expect(page.getByRole('slider', { name: 'glasses' })).toHaveValue('0');
  await page.getByText('Dimensions').click();
  await page.locator('.card').last().getByRole('slider').first().fill('3');
  await quiet(page, '#picked');
  expect(await pixels(page, '#picked')).not.toEqual(before);
});

test('sliders are found by what they are called', async ({ watched: page }) => {
  await open(page);
  const search = page.getByRole('searchbox', { name: 'Find among attributes' });
  await search.fill('hair l');
  await expect(page.locator('#sliders .slider:visible')).toHaveCount(1);
  await search.fill('auburn');
  await expect(page.getByRole('slider', { name: 'hair colour auburn' })).toBeVisible();
  await search.fill('');
  await expect(page.getByRole('slider', { name: 'glasses' })).toBeVisible();
  await expect(page.getByText('background', { exact: true })).toBeVisible();
});

test('samples are picked, and others drawn', async ({ watched: page }) => {
  await open(page);
  await page.locator('#panel-Samples .tile').nth(4).click();
  await expect(page.locator('#caption')).toHaveText('sample 4');
  await page.getByRole('button', { name: 'Draw others' }).click();
  await page.locator('#panel-Samples .tile').first().click();
  await expect(page.locator('#caption')).toHaveText('sample 18');
});

test('a photo is encoded as PyTorch encodes it', async ({ watched: page }) => {
  await open(page);
  await page.locator('#photo').setInputFiles(PHOTO);
  await expect(page.locator('#caption')).toHaveText('photo.png');
  await quiet(page, '#picked');
  await expect(page.locator('#original')).toContainText('stays on this device');
  const off = difference(await pixels(page, '#picked'), expected('portraits').photo);
  expect(off.mean).toBeLessThan(0.5);
  expect(off.largest).toBeLessThanOrEqual(8); // canvases round once more on the way in
  await page.locator('#panel-Samples .tile').first().click();
  await expect(page.locator('#original')).toHaveCount(0);
});

test('a photo is dropped anywhere', async ({ watched: page }) => {
  await open(page);
  const data = readFileSync(PHOTO).toString('base64');
  await page.evaluate((text) => {
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], 'me.png', { type: 'image/png' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }));
  }, data);
  await expect(page.locator('#caption')).toHaveText('me.png');
});

test('a file that is no picture is told in a sentence', async ({ watched: page }) => {
  await open(page);
  await page.locator('#photo').setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') });
  await expect(page.getByRole('alert')).toContainText('notes.txt is not a picture, or of a kind that this browser cannot read');
  await expect(page.locator('#caption')).toHaveText('sample 0');
  await page.getByRole('button', { name: 'Dismiss' }).click();
  await expect(page.getByRole('alert')).toBeEmpty();
});

test('sums are A − B + C', async ({ watched: page }) => {
  const { latents, sum } = expected('portraits');
  await open(page);
  for (const [i, slot] of ['A', 'B', 'C'].entries()) {
    await follow(page, link(latents[i]));
    await quiet(page, '#picked');
    await page.getByRole('button', { name: `Put in ${slot}` }).click();
  }
  await tab(page, 'Sums');
  await quiet(page, '#sum');
  expect(difference(await pixels(page, '#sum'), sum).largest).toBeLessThanOrEqual(2);
  await page.locator('#panel-Sums').getByRole('button', { name: 'Pick this' }).click();
  await quiet(page, '#picked');
  expect(difference(await pixels(page, '#picked'), sum).largest).toBeLessThanOrEqual(2);
});

test('a walk begins at A and ends at B, by hand and by itself', async ({ watched: page }) => {
  const { latents, pictures } = expected('portraits');
  await open(page);
  for (const [i, slot] of ['A', 'B'].entries()) {
    await follow(page, link(latents[i]));
    await page.getByRole('button', { name: `Put in ${slot}` }).click();
  }
  await tab(page, 'Walk');
  const scrubber = page.getByRole('slider', { name: 'From A to B' });
  for (const path of ['linear', 'spherical']) {
    await page.getByRole('combobox', { name: 'Path' }).selectOption(path);
    for (const [i, end] of ['0', '1'].entries()) {
      await scrubber.fill(end);
      await quiet(page, '#walked');
      expect(difference(await pixels(page, '#walked'), pictures[i]).largest).toBeLessThanOrEqual(2);
    }
  }
  await scrubber.fill('0.5');
  await quiet(page, '#walked');
  const drawn = Number(await page.locator('#walked').getAttribute('data-drawn'));
  await page.getByRole('button', { name: 'Play' }).click();
  await expect.poll(async () => Number(await page.locator('#walked').getAttribute('data-drawn'))).toBeGreaterThan(drawn + 3);
  await page.getByRole('button', { name: 'Stop' }).click();
  expect(await scrubber.inputValue()).not.toBe('0.5');
});

test('a click on the map decodes what lies there', async ({ watched: page }) => {
  await open(page);
  const before = await pixels(page, '#picked');
  await tab(page, 'Map');
  await page.locator('#map').click({ position: { x: 200, y: 150 } });
  await expect(page.locator('#caption')).toContainText('map at');
  await quiet(page, '#picked');
  expect(await pixels(page, '#picked')).not.toEqual(before);
  await expect(page.locator('#there')).toContainText('Nearest there:');
  await page.getByRole('button', { name: 'Pick the nearest image' }).click();
  await expect(page.locator('#caption')).not.toContainText('map at');
  const drawn = (): Promise<string> => page.locator('#map').evaluate((canvas) => (canvas as HTMLCanvasElement).toDataURL());
  const whole = await drawn();
  await page.getByRole('button', { name: 'Zoom in' }).click();
  expect(await drawn()).not.toBe(whole);
  const box = (await page.locator('#map').boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 };
  await page.mouse.move(box.x + 20, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width - 20, box.y + box.height - 20, { steps: 5 });
  await page.mouse.up();
  expect(await drawn()).not.toBe(whole);
  await page.getByRole('button', { name: 'Whole map' }).click();
  expect(await drawn()).toBe(whole);
});

test('neighbors of an image begin with itself', async ({ watched: page }) => {
  await open(page);
  await tab(page, 'Neighbors');
  const tiles = page.locator('#panel-Neighbors .tile');
  await expect(tiles).toHaveCount(12);
  const name = await tiles.nth(3).getAttribute('title');
  await tiles.nth(3).click();
  await expect(page.locator('#caption')).toHaveText(name ?? '');
  await expect(tiles.first()).toHaveAttribute('title', name ?? '');
  await expect(tiles.first()).toContainText('0.00');
});

test('training shows numbers, curves and every epoch', async ({ watched: page }) => {
  await open(page);
  await tab(page, 'Training');
  await expect(page.getByRole('rowheader', { name: 'PSNR' })).toBeVisible();
  await expect(page.locator('.curves svg').first()).toBeVisible();
  const picture = page.locator('#epoch-reconstructions');
  const last = await picture.getAttribute('src');
  await page.getByRole('slider', { name: 'Epoch' }).fill('0');
  await expect(picture).not.toHaveAttribute('src', last ?? '');
  await expect.poll(() => picture.evaluate((element) => {
    const image = element as HTMLImageElement;
    return image.complete && image.currentSrc === image.src && image.naturalWidth > 0;
  })).toBe(true);
});

test('what is seen is downloaded, and its link opens it again', async ({ watched: page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await open(page);
  await page.getByRole('slider', { name: 'smiling' }).fill('1');
  await quiet(page, '#picked');
  const seen = await pixels(page, '#picked');
  const [file] = await Promise.all([page.waitForEvent('download'), page.locator('#stage').getByRole('button', { name: 'Download' }).click()]);
  expect(file.suggestedFilename()).toMatch(/^sample-0.*smiling\.png$/);
  await page.getByRole('button', { name: 'Copy link' }).click();
  await expect(page.locator('#said')).toContainText('link');
  await open(page, await page.evaluate(() => navigator.clipboard.readText()));
  expect(await pixels(page, '#picked')).toEqual(seen);
  await page.locator('#panel-Samples .tile').first().click();
  expect(new URL(page.url()).hash).toBe(''); // the address is of nothing else than what is seen
});

test('a link of another model is told', async ({ watched: page }) => {
  await open(page, './#z=AAAA');
  await expect(page.getByRole('alert')).toContainText('does not belong to this model');
  await expect(page.locator('#caption')).toHaveText('sample 0');
});

test('everything is reached with the keyboard', async ({ watched: page }) => {
  await open(page);
  const focused = (): Promise<string> => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '');
  const until = async (wanted: (name: string) => boolean): Promise<void> => {
    for (let i = 0; i < 80; i++) {
      await page.keyboard.press('Tab');
      if (wanted(await focused())) return;
    }
    throw new Error('not reached');
  };
  await until((name) => name === 'glasses');
  await page.keyboard.press('ArrowRight');
  await expect(page.locator('#caption')).toContainText('+ 0.05 glasses');
  await until((name) => name === 'Samples');
  await page.keyboard.press('ArrowRight');
  await expect(page.getByRole('tab', { name: 'Map' })).toHaveAttribute('aria-selected', 'true');
  await until((name) => name.startsWith('Map of images'));
  await page.keyboard.press('ArrowUp');
  await expect(page.locator('#caption')).toContainText('map at');
  await page.keyboard.press('Enter');
  await expect(page.locator('#caption')).not.toContainText('map at');
});

for (const scheme of ['light', 'dark'] as const) {
  test(`nothing hinders anyone, ${scheme}`, async ({ watched: page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await open(page);
    await page.locator('#photo').setInputFiles(PHOTO);
    await page.getByText('Dimensions').click();
    for (const name of TABS) {
      await tab(page, name);
      await page.waitForTimeout(300);
      const { violations } = await new AxeBuilder({ page }).analyze();
      expect(violations.map(({ id, nodes }) => `${name}: ${id} ${nodes[0].html}`)).toEqual([]);
    }
  });
}

test('colors follow the system, unless they are chosen', async ({ watched: page }) => {
  await page.emulateMedia({ colorScheme: 'dark' });
  await open(page);
  const paper = (): Promise<string> => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await page.locator('#theme').selectOption('light');
  expect(await paper()).not.toBe(dark);
  await page.reload();
  expect(await paper()).not.toBe(dark); // it is kept
});

test('on a phone the picture stays in sight beside the sliders', async ({ watched: page }) => {
  await page.setViewportSize({ width: 390, height: 780 });
  await open(page);
  for (const name of TABS) {
    await tab(page, name);
    await page.waitForTimeout(200);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  }
  await page.getByRole('slider', { name: 'smiling' }).scrollIntoViewIfNeeded();
  await expect(page.locator('#picked')).toBeInViewport({ ratio: 0.9 });
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id }) => id)).toEqual([]);
});

test('a browser without WebAssembly is told so', async ({ page }) => {
  await page.addInitScript(() => Reflect.deleteProperty(window, 'WebAssembly'));
  await page.goto('./');
  await expect(page.getByRole('alert')).toContainText('no WebAssembly');
});

test('a network that could not be loaded is asked for again', async ({ page }) => {
  let isDown = true;
  await page.route('**/decoder.onnx', (route) => (isDown ? route.abort() : route.continue()));
  await page.goto('./');
  await expect(page.getByRole('alert')).toContainText('model/decoder.onnx');
  isDown = false;
  await page.locator('#panel-Samples .tile').first().click();
  await quiet(page, '#picked');
});

test('what is missing is named', async ({ page }) => {
  await page.route('**/latents.bin', (route) => route.fulfill({ status: 404 }));
  await page.goto('./');
  await expect(page.getByRole('alert')).toContainText('latents.bin is missing');
});
