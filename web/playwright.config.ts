import { existsSync } from 'node:fs';
import { defineConfig } from '@playwright/test';

// What the system has comes first; else what `npx playwright install chromium` brought.
const SYSTEM = [process.env.CHROMIUM ?? '', '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = SYSTEM.find((path) => path && existsSync(path));
const RUNS = '../build/web';
const PYTHON = process.env.PYTHON ?? '../.venv/bin/python';

export default defineConfig({
  testDir: 'e2e',
  outputDir: 'test-results',
  timeout: 60_000,
  expect: { timeout: 10_000 },
  fullyParallel: false,
  workers: 1,
  reporter: 'list',
  retries: process.env.CI ? 1 : 0, // a shared machine stands still for seconds; what passed only then is listed as flaky
  use: {
    viewport: { width: 1280, height: 860 },
    launchOptions: { ...(executablePath ? { executablePath } : {}), args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] },
  },
  projects: [
    { name: 'plain', use: { baseURL: 'http://127.0.0.1:4310/portraits/explorer/' } },
    { name: 'isolated', testIgnore: ['others.spec.ts', 'screens.spec.ts', 'planted.spec.ts'] }, // e2e/page.ts reads its address
  ],
  webServer: [
    { command: `${PYTHON} -m http.server 4310 --bind 127.0.0.1 --directory ${RUNS}`, url: 'http://127.0.0.1:4310/' },
    { command: `${PYTHON} -m vaekit explore ${RUNS}/portraits --port 4311 --no-browser --json > ${RUNS}/address.json`, port: 4311 },
  ].map((server) => ({ ...server, reuseExistingServer: false, timeout: 60_000, stdout: 'ignore' as const, stderr: 'ignore' as const })),
});
