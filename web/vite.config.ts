import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// The server sends `script-src 'self'`: nothing is put inline, and no polyfill is needed.
export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    outDir: '../src/antiphon/web',
    emptyOutDir: true,
    target: 'es2023',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    sourcemap: false,
  },
  server: { proxy: { '/v1': { target: 'http://127.0.0.1:7117', ws: true } } },
})
