// From a slider's move to new pixels, and from nothing to a page that is ready, in a headless Chromium.
//     node latency.mjs URL    → one JSON object of milliseconds
import { existsSync } from 'node:fs';
import { chromium } from '@playwright/test';

const STARTS = 5;
const MOVES = 60;
const UNCOUNTED = 10;

const url = process.argv[2];
const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => path && existsSync(path),
);
const browser = await chromium.launch({
  ...(executablePath ? { executablePath } : {}),
  args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
});
const ready = [];
let page;
for (let i = 0; i < STARTS; i++) {
  await page?.context().close();
  page = await (await browser.newContext({ viewport: { width: 1280, height: 860 } })).newPage(); // nothing cached
  const before = performance.now();
  await page.goto(url);
  await page.waitForFunction(() => document.body.dataset.state === 'ready' && document.querySelector('#picked')?.dataset.drawn);
  ready.push(performance.now() - before);
}
await page.waitForFunction(() => document.querySelector('#panel-Samples .grid')?.dataset.seed === '0'); // all samples are drawn
const moves = await page.evaluate(async (count) => {
  const slider = document.querySelector('#sliders input[type=range]');
  const canvas = document.querySelector('#picked');
  const found = [];
  for (let i = 0; i < count; i++) {
    const drawn = new Promise((resolve) => new MutationObserver((_, observer) => {
      observer.disconnect();
      resolve(performance.now());
    }).observe(canvas, { attributes: true, attributeFilter: ['data-drawn'] }));
    slider.value = String(((i % 40) - 20) / 10);
    const before = performance.now();
    slider.dispatchEvent(new Event('input'));
    found.push((await drawn) - before);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return found;
}, MOVES + UNCOUNTED);
const isolated = await page.evaluate(() => crossOriginIsolated);
await browser.close();
const sorted = moves.slice(UNCOUNTED).sort((a, b) => a - b);
const at = (part) => Number(sorted[Math.floor(part * (sorted.length - 1))].toFixed(1));
console.log(
  JSON.stringify({
    has_threads: isolated,
    ready_milliseconds: ready.map(Math.round),
    slider_milliseconds: { median: at(0.5), tenth: at(0.1), ninetieth: at(0.9), moves: sorted.length },
  }),
);
