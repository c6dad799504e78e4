// A publisher in Node: npm install nats @msgpack/msgpack && node publish.mjs [nats://127.0.0.1:4222]
// It keeps to part 1 of docs/protocol.md.

import { connect, nanos } from "nats";
import { decode, encode } from "@msgpack/msgpack";

const SUBJECT = "md.NODE.BTC-USD";
const url = new URL(process.argv[2] ?? "nats://127.0.0.1:4222");
const login = url.username ? { user: url.username, pass: decodeURIComponent(url.password) } : {};
const nc = await connect({ servers: url.host, ...login, maxReconnectAttempts: -1 });
const jetstream = nc.jetstream({ timeout: 2000 });
const live = (stream, value) => nc.publish(`${SUBJECT}.${stream}`, encode(value));
const now = () => Date.now() * 1000; // µs

// ---- the streams: whoever comes first creates them, a writer or a gateway, and nobody changes them

const { streams } = await nc.jetstreamManager({ checkAPI: false });
const STREAMS = [
  { name: "MD_STATE", subjects: ["md.*.*.snap", "md.*.*.ref", "md.*.*.status"], max_msgs_per_subject: 8, allow_direct: true },
  { name: "MD_LOG", subjects: ["md.*.*.book", "md.*.*.trade"], max_age: nanos(600_000), max_bytes: 2 ** 30, allow_direct: true },
];

// ---- the epoch of this writer: greater than all that the bus knows, and claimed, so that no two writers share one

const read = (stream) =>
  streams.getMessage("MD_STATE", { last_by_subj: `${SUBJECT}.${stream}` }).catch(() => null);
const epochOf = (message) => {
  if (message === null) return 0;
  const value = decode(message.data);
  return value.epoch ?? value[1] ?? 0; // `ref` is a map, the others are arrays
};
const reference = () => ({ epoch, price_exp: -2, size_exp: -8, tick: 1, lot: 1, depth: 0, name: "Bitcoin" });
const greaterThan = (known) => Math.max(now(), known + 1) + Math.floor(Math.random() * 1e6);

let epoch = 0;

async function claim() {
  for (;;) {
    const [ref, snap, status] = await Promise.all(["ref", "snap", "status"].map(read));
    epoch = greaterThan(Math.max(...[ref, snap, status].map(epochOf)));
    try {
      // Stored only if no other writer has stored its own meanwhile.
      const expect = { lastSubjectSequence: ref?.seq ?? 0 };
      await jetstream.publish(`${SUBJECT}.ref`, encode(reference()), { expect });
      return;
    } catch (error) {
      if (error.api_error?.err_code !== 10071) throw error; // 10071: another writer was faster
    }
  }
}

try {
  for (const config of STREAMS) await streams.info(config.name).catch(() => streams.add(config));
  await claim();
} catch (error) {
  // Live data does not wait for JetStream.
  console.error(`JetStream does not store ${SUBJECT}.* (${error.message}): gateways that start later cannot open it. Is it on (nats-server -js)?`);
  epoch = greaterThan(0);
  live("ref", reference());
}

// ---- market data

const book = { bids: new Map(), asks: new Map() }; // ticks → lots
let seq = 0;
let trades = 0;
let state = "trading";
let heard = performance.now(); // when the venue last said something: a clock that nobody sets

/** One atomic change of the book; levels flat, [ticks, lots, …], lots 0 deletes. */
function update(bids, asks) {
  heard = performance.now();
  for (const [side, flat] of [[book.bids, bids], [book.asks, asks]])
    for (let i = 0; i < flat.length; i += 2)
      if (flat[i + 1] === 0) side.delete(flat[i]);
      else side.set(flat[i], flat[i + 1]);
  seq += 1;
  live("book", [1, epoch, seq, seq, now(), bids, asks]);
}

function trade(ticks, lots, side) {
  heard = performance.now();
  trades += 1;
  live("trade", [3, epoch, trades, now(), ticks, lots, side, `n${trades}`]);
}

// ---- state: JetStream stores what is published on these subjects; nothing here waits for it

const sorted = (side, sign) => [...side].sort((a, b) => sign * (a[0] - b[0])).flat(); // best first
const snap = () => live("snap", [2, epoch, seq, now(), sorted(book.bids, -1), sorted(book.asks, 1)]);

function status() {
  const ts = now();
  const age = Math.round((performance.now() - heard) * 1000); // µs
  live("status", [5, epoch, ts, state, "", seq, trades, ts - age]);
}

function announce() {
  live("ref", reference());
  status();
  snap();
}

async function announceAfterReconnects() {
  for await (const change of nc.status()) if (change.type === "reconnect") announce();
}

status();
snap();
announceAfterReconnects();
update([6412310, 50000000, 6412300, 100000000], [6412320, 125000000, 6412330, 80000000]);

const timers = [
  setInterval(() => update([6412310, 1 + Math.floor(Math.random() * 1e8)], []), 100),
  setInterval(() => trade(6412320, 1000000, 1), 1000), // 1: the taker bought
  setInterval(snap, 4500), // at most 5 s or 1,000 updates apart
  setInterval(status, 5000), // at least every 10 s
  setInterval(announce, 50000), // at least every 60 s
];
for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, async () => {
    timers.forEach(clearInterval);
    state = "feed_down";
    snap();
    status();
    await nc.drain();
  });
