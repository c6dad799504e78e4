// node test/e2e/board.mjs URL FORMAT: follows a board of everything, and prints a line of JSON for each number, until a line comes
// on standard input.
import { board } from "../../dist/board.js";
import { connect, json, msgpack } from "../../dist/index.js";

const [url, format] = process.argv.slice(2);
const client = connect(url, { format: format === "json" ? json : msgpack });
const view = board(client, "*", { intervalMs: 100 });
const prices = ["bid", "ask", "last"];
view.on("change", () => {
  const rows = [...view.rows.values()].map((row) => [row.instrument, row.state, ...prices.map((name) => row.price(name))]);
  console.log(JSON.stringify({ seq: view.seq, state: view.state, rows: rows.sort() }));
});
view.on("end", (error) => console.log(JSON.stringify({ ended: String(error) })));
process.stdin.once("data", () => {
  client.close();
  process.exit(0);
});
