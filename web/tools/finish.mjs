// After the build: compresses what compresses, and puts the notices of what is inside next to it.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const OUT = new URL("../../mdstream/web/", import.meta.url).pathname;
const PACKAGES = ["lightweight-charts", "fancy-canvas", "preact", "uplot"];
const LEAST = 512;

function notice(name) {
  const folder = new URL(`../node_modules/${name}/`, import.meta.url).pathname;
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const texts = readdirSync(folder).filter((file) => /^(licen[cs]e|notice)/i.test(file));
  const said = texts.map((file) => readFileSync(join(folder, file), "utf8").trim());
  return [`${name} ${version}, ${license}`, ...said].join("\n\n");
}

function* files(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* files(path);
    else yield path;
  }
}

const head = `This page contains parts of others.

Charts: TradingView Lightweight Charts, Copyright (c) 2025 TradingView, Inc. https://www.tradingview.com/
`;
writeFileSync(join(OUT, "notices.txt"), `${[head, ...PACKAGES.map(notice)].join(`\n\n${"-".repeat(72)}\n\n`)}\n`);

for (const path of [...files(OUT)]) {
  if (/\.(br|gz)$/.test(path) || statSync(path).size < LEAST) continue;
  const data = readFileSync(path);
  const best = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: data.length };
  writeFileSync(`${path}.br`, brotliCompressSync(data, { params: best }));
  writeFileSync(`${path}.gz`, gzipSync(data, { level: 9 }));
  console.log(`${path.slice(OUT.length).padEnd(40)} ${data.length} bytes, br ${statSync(`${path}.br`).size}`);
}
