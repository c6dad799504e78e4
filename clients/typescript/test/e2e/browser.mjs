// node test/e2e/browser.mjs PATH [TABS]: opens a page of this package in Chromium, in so many tabs, and prints what they log,
// until a line comes on standard input. A line of JSON `{"offline": true}` or `{"eval": "…"}` does that first.
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const ROOT = new URL("../..", import.meta.url).pathname;
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json" };

const server = createServer((request, response) => {
  const path = join(ROOT, normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname)));
  if (!path.startsWith(ROOT) || !existsSync(path)) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream" });
  createReadStream(path).pipe(response);
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({
  executablePath,
  handleSIGTERM: false,
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});
process.on("SIGTERM", () => browser.close().finally(() => process.exit(0)));
const context = await browser.newContext();
const pages = [];
const [path, tabs = "1"] = process.argv.slice(2);
for (let tab = 0; tab < Number(tabs); tab++) {
  const page = await context.newPage();
  page.on("console", (message) => console.log(message.text()));
  page.on("pageerror", (error) => console.log(JSON.stringify({ error: String(error) })));
  await page.goto(`http://127.0.0.1:${server.address().port}/${path}`);
  pages.push(page);
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line === "") break;
  const { offline, eval: script } = JSON.parse(line);
  if (offline !== undefined) await context.setOffline(offline);
  if (script !== undefined) for (const page of pages) console.log(JSON.stringify({ value: await page.evaluate(script) }));
}
await browser.close();
server.close();
