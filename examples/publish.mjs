// A publisher in Node: npm install nats @msgpack/msgpack && node publish.mjs [nats://127.0.0.1:4222]
// It keeps to part 1 of docs/protocol.md. A gateway creates the two JetStream streams when it starts.

import { connect } from "nats";
import { decode, encode } from "@msgpack/msgpack";

const SUBJECT = "md.NODE.BTC-USD";
const nc = await connect({ servers: process.argv[2] ?? "nats://127.0.0.1:4222", maxReconnectAttempts: -1 });
const jetstream = nc.jetstream();
const live = (kind, value) => nc.publish(`${SUBJECT}.${kind}`, encode(value));
const stored = (kind, value) => jetstream.publish(`${SUBJECT}.${kind}`, encode(value)); // JetStream confirms it
const now = () => Date.now() * 1000; // µs

// A new life of this writer: greater than the last one, even if the clock went back.
const streams = (await nc.jetstreamManager()).streams;
const last = await streams.getMessage("MD_STATE", { last_by_subj: `${SUBJECT}.snap` }).catch(() => null);
const epoch = Math.max(now(), last === null ? 0 : decode(last.data)[1] + 1);

const book = { bids: new Map(), asks: new Map() }; // ticks → lots
let seq = 0;
let trades = 0;
let state = "trading";

/** One atomic change of the book; levels flat, [ticks, lots, …], lots 0 deletes. */
function update(bids, asks) {
  for (const [side, flat] of [[book.bids, bids], [book.asks, asks]])
    for (let i = 0; i < flat.length; i += 2)
      if (flat[i + 1] === 0) side.delete(flat[i]);
      else side.set(flat[i], flat[i + 1]);
  seq += 1;
  live("book", [1, epoch, seq, seq, now(), bids, asks]);
}

function trade(ticks, lots, side) {
  trades += 1;
  live("trade", [3, epoch, trades, now(), ticks, lots, side, `n${trades}`]);
}

const sorted = (side, sign) => [...side].sort((a, b) => sign * (a[0] - b[0])).flat(); // best first
const snap = () => stored("snap", [2, epoch, seq, now(), sorted(book.bids, -1), sorted(book.asks, 1)]);
const status = () => stored("status", [5, epoch, now(), state, ""]);

async function announce() {
  await stored("ref", { price_exp: -2, size_exp: -8, tick: 1, lot: 1, name: "Bitcoin" });
  await snap();
  await status();
}

async function announceAfterReconnects() {
  for await (const change of nc.status()) if (change.type === "reconnect") await announce().catch(console.error);
}

await announce();
announceAfterReconnects();
update([6412310, 50000000, 6412300, 100000000], [6412320, 125000000, 6412330, 80000000]);

const timers = [
  setInterval(() => update([6412310, 1 + Math.floor(Math.random() * 1e8)], []), 100),
  setInterval(() => trade(6412320, 1000000, 1), 1000), // 1: the taker bought
  setInterval(() => Promise.all([snap(), status()]).catch(console.error), 5000), // at most 5 s or 1,000 updates apart
];
for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, async () => {
    timers.forEach(clearInterval);
    state = "feed_down";
    await announce();
    await nc.close();
  });
