import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// The client comes from its sources next door, so that nothing else needs to be built first.
export default defineConfig({
  base: "./",
  publicDir: false,
  resolve: {
    alias: [
      { find: /^@mdstream\/client$/, replacement: here("../clients/typescript/src/index.ts") },
      { find: /^@mdstream\/client\/(.*)$/, replacement: here("../clients/typescript/src/$1.ts") },
    ],
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: here("../mdstream/web"),
    emptyOutDir: true,
    target: "es2022",
    // Nothing goes inline: the gateway's policy allows what it serves, and nothing else.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        // A gateway gives each answer two seconds: several middling files suit a slow line better than a large one.
        codeSplitting: {
          groups: [
            { name: "charts", test: /node_modules[\\/](lightweight-charts|fancy-canvas)/ },
            { name: "plots", test: /node_modules[\\/]uplot/ },
            { name: "client", test: /clients[\\/]typescript|node_modules[\\/]preact/ },
          ],
        },
      },
    },
  },
});
