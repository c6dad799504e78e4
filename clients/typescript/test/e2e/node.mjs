// node test/e2e/node.mjs WANTED: follows books and prints a line of JSON for each change, until a line comes on standard input.
import * as core from "../../dist/index.js";
import { connect as connectLines } from "../../dist/lines.js";
import { follow } from "./follow.mjs";

const wanted = JSON.parse(process.argv[2]);
const say = (line) => console.log(JSON.stringify(line));
const { client, stats } = follow({ ...core, ...(wanted.lines > 1 ? { connect: connectLines } : {}) }, wanted, say);
process.stdin.once("data", () => {
  stats();
  client.close();
  process.exit(0);
});
