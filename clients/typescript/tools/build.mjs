// Builds dist/: the modules and their types, and one file of everything for pages without a bundler.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { build } from "esbuild";

rmSync("dist", { recursive: true, force: true });
execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], { stdio: "inherit" });
const options = { bundle: true, format: "esm", target: "es2022", minify: true, sourcemap: true, logLevel: "warning" };
await build({ ...options, entryPoints: ["src/index.ts"], outfile: "dist/mdstream.min.js" });
await build({ ...options, entryPoints: ["src/shared.ts"], outfile: "dist/mdstream-shared.min.js" });
await build({ ...options, entryPoints: ["src/worker.ts"], outfile: "dist/mdstream-worker.min.js" });
