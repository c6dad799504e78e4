// npm run bench: messages per second on one core, in this Node and in Chromium.

import { existsSync } from "node:fs";
import { cpus } from "node:os";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const COUNT = 50_000;
const bundle = async (globalName) => {
  const options = {
    entryPoints: ["bench/entry.ts"],
    bundle: true,
    write: false,
    format: globalName ? "iife" : "esm",
    target: "es2022",
  };
  const { outputFiles } = await build(globalName ? { ...options, globalName } : options);
  return outputFiles[0].text;
};
const table = {};
const here = await import(`data:text/javascript;base64,${Buffer.from(await bundle()).toString("base64")}`);
table[`Node ${process.versions.node}`] = here.measure(here, here.record(here, COUNT));

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
if (existsSync(executablePath)) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage();
  await page.addScriptTag({ content: await bundle("bench") });
  table[`Chromium ${browser.version().split(".")[0]}`] = await page.evaluate(
    (count) => bench.measure(bench, bench.record(bench, count)),
    COUNT,
  );
  await browser.close();
}
console.log(`${new Date().toISOString().slice(0, 10)}, ${cpus().length} × ${cpus()[0].model}, messages per second:`);
console.table(table);
