/** Pictures of the page for the documents, to be looked at; SCREENSHOTS names the folder for them. */

import { expect } from '@playwright/test';
import { open, quiet, tab, test } from './page';

const FOLDER = process.env.SCREENSHOTS || 'test-results/screens';

for (const [name, scheme] of [['explorer', 'light'], ['explorer-map', 'dark'], ['explorer-sums', 'light'], ['explorer-training', 'dark']] as const) {
  test(`a picture of ${name}`, async ({ watched: page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await open(page);
    await page.locator('#panel-Samples .tile').nth(4).click();
    await page.getByRole('slider', { name: 'smiling' }).fill('1');
    await page.getByRole('slider', { name: 'hair length' }).fill('0.5');
    if (name !== 'explorer') await tab(page, { 'explorer-map': 'Map', 'explorer-sums': 'Sums', 'explorer-training': 'Training' }[name]);
    await quiet(page, '#picked');
    await page.mouse.move(0, 0);
    await page.waitForTimeout(500);
    const { width, height } = page.viewportSize() ?? { width: 0, height: 0 };
    expect([width, height]).toEqual([1280, 860]);
    await page.screenshot({ path: `${FOLDER}/${name}.png`, fullPage: name === 'explorer-training' });
  });
}

test('a picture of a phone', async ({ watched: page }) => {
  await page.setViewportSize({ width: 390, height: 780 });
  await open(page);
  await page.getByRole('slider', { name: 'glasses' }).fill('1');
  await quiet(page, '#picked');
  await page.evaluate(() => window.scrollTo(0, 90));
  await page.screenshot({ path: `${FOLDER}/explorer-phone.png` });
});
