/** A service worker that another page has left in the browser answers for nothing that `vaekit explore` serves. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import { expect, type Page } from '@playwright/test';
import { addressIn, open, RUNS, test } from './page';

const WORKER = `
  addEventListener('install', () => skipWaiting());
  addEventListener('activate', (event) => event.waitUntil(clients.claim()));
  addEventListener('fetch', (event) => event.respondWith(new Response('<p id="evil">evil</p>', { headers: { 'Content-Type': 'text/html' } })));
`;
const EVIL = '#evil';

/** Leaves a worker for a whole port in the browser; returns the port. */
async function plant(page: Page): Promise<number> {
  const server: Server = createServer(({ url }, answer) => {
    answer.setHeader('Content-Type', url === '/sw.js' ? 'text/javascript' : 'text/html');
    answer.end(url === '/sw.js' ? WORKER : '<p>hello</p>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.evaluate(async () => {
    await navigator.serviceWorker.register('/sw.js');
    await navigator.serviceWorker.ready;
  });
  await page.goto(`http://127.0.0.1:${port}/any/path/`);
  await expect(page.locator(EVIL)).toBeVisible();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function explored(options: string[], use: (address: string) => Promise<void>): Promise<void> {
  const python = process.env.PYTHON ?? '../.venv/bin/python';
  const command: ChildProcess = spawn(python, ['-m', 'vaekit', 'explore', `${RUNS}/portraits`, '--no-browser', '--json', ...options]);
  try {
    await use(await new Promise<string>((resolve) => command.stdout?.once('data', (data: Buffer) => resolve(addressIn(data.toString())))));
  } finally {
    command.kill();
  }
}

test('a planted worker does not answer for a page that is started after it', async ({ page }) => {
  const port = await plant(page);
  await explored([], async (address) => {
    expect(new URL(address).port).not.toBe(String(port));
    await open(page, address);
    await expect(page.getByRole('heading')).toHaveText('portraits');
    expect(await page.evaluate(() => navigator.serviceWorker.getRegistrations().then(({ length }) => length))).toBe(0);
  });
});

test('on a port that is named, a planted worker is removed', async ({ page }) => {
  const port = await plant(page);
  await explored(['--port', String(port)], async (address) => {
    // The worker answers until the browser asks for its script again, soon after the first visit.
    await expect(async () => {
      await page.goto(address);
      await expect(page.locator(EVIL)).toHaveCount(0);
    }).toPass();
    await open(page, address);
    expect(await page.evaluate(() => navigator.serviceWorker.getRegistrations().then(({ length }) => length))).toBe(0);
  });
});

test('nothing that is served registers a worker', async ({ page }) => {
  await explored([], async (address) => {
    await open(page, address);
    const said = await page.evaluate(() => navigator.serviceWorker.register('./runtime/ort-wasm-simd-threaded.mjs').then(() => 'registered', String));
    expect(said).toContain('Failed to register');
  });
});
