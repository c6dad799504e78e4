// What an application loads, minified and gzipped. Fails if a part is larger than it may be.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MOST = [
  ["all of the package", 'export * from "./dist/index.js"', 12_600],
  ["connect alone", 'export { connect } from "./dist/index.js"', 11_800],
  ["decimals alone", 'export { formatDecimal } from "./dist/index.js"', 500],
  ["lines", 'export { connect } from "./dist/lines.js"', 14_500],
  ["shared, the page", 'export { connect } from "./dist/shared.js"', 14_500],
  ["worker", 'import "./dist/worker.js"', 22_200],
  ["board", 'export { board } from "./dist/board.js"', 4_200],
  ["candles", 'export { candles } from "./dist/candles.js"', 4_000],
  ["instruments", 'export { instruments } from "./dist/instruments.js"', 4_000],
  ["events", 'export * from "./dist/events.js"', 7_500],
  ["map", 'export * from "./dist/map.js"', 7_200],
  ["presence", 'export * from "./dist/presence.js"', 3_500],
  ["react", 'export * from "./dist/react.js"', 1_600],
];

let tooLarge = false;
for (const [name, contents, most] of MOST) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: "." },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    external: ["react"],
  });
  const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  tooLarge ||= bytes > most;
  console.log(`${name.padEnd(20)} ${String(bytes).padStart(6)} bytes, at most ${most}${bytes > most ? "  TOO LARGE" : ""}`);
}
process.exit(tooLarge ? 1 : 0);
