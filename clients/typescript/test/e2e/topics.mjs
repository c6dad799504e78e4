// node test/e2e/topics.mjs URL FORMAT COUNT: publishes so many events, and adds as much to a number of a map, each time only if
// nobody was faster; prints a line of JSON for each event that comes back, for each that is stored, and for each that was added.
import { events, publish } from "../../dist/events.js";
import { connect, json, msgpack } from "../../dist/index.js";
import { Conflict, map } from "../../dist/map.js";

const [url, format, count] = process.argv.slice(2);
const policy = { backoffBaseMs: 10, backoffCapMs: 50 };
const client = connect(url, { format: format === "json" ? json : msgpack, policy });
const say = (line) => console.log(JSON.stringify(line));
const log = events(client, "desk.log", { since: 0 });
log.on("event", ({ seq, data, redelivered }) => say({ event: data.n, seq, redelivered }));
log.on("lost", (first, last) => say({ lost: [first, last] }));
const numbers = map(client, "desk.numbers");
for (const view of [log, numbers]) view.on("end", (error) => say({ ended: String(error) }));

async function add() {
  let [value, rev] = [numbers.get("sum") ?? 0, numbers.rev("sum")];
  for (;;) {
    try {
      await numbers.put("sum", value + 1, { expect: rev });
      return say({ added: value + 1 });
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      ({ value, rev } = error.current.sum);
    }
  }
}

await Promise.all([log.ready(), numbers.ready()]);
const published = Array.from({ length: Number(count) }, (_, n) =>
  publish(client, "desk.log", "note", { n }).then(({ seq, duplicate }) => say({ stored: n, seq, duplicate })),
);
for (let n = 0; n < Number(count); n++) await add();
await Promise.all(published);
say({ done: true });
process.stdin.once("data", () => {
  client.close();
  process.exit(0);
});
