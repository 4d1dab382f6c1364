import { cpSync, mkdirSync } from 'node:fs';
import { defaultClientConditions } from 'vite';
import { defineConfig } from 'vitest/config';

// What computes is taken as it comes from the package: its own threads load these two files by name.
const RUNTIME = ['ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'];

export default defineConfig({
  base: './', // a page for any folder of any host
  build: {
    outDir: '../src/vaekit/page',
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content security policy knows no data: scripts or styles
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  resolve: { conditions: ['onnxruntime-web-use-extern-wasm', ...defaultClientConditions] },
  worker: { format: 'es' },
  test: { include: ['unit/*.test.ts'] },
  plugins: [
    {
      name: 'runtime',
      apply: 'build',
      writeBundle: (options) => {
        mkdirSync(`${options.dir}/runtime`, { recursive: true });
        for (const name of RUNTIME) cpSync(`node_modules/onnxruntime-web/dist/${name}`, `${options.dir}/runtime/${name}`);
      },
    },
  ],
});
