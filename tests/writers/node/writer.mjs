// A small writer in Node that keeps to part 1 of docs/protocol.md: npm install && node writer.mjs nats://127.0.0.1:4222 NODE:BTC-USD

import { connect, nanos } from "nats";
import { decode, encode } from "@msgpack/msgpack";

const WRONG_LAST_SEQUENCE = 10071;
const HOUR_US = 3_600_000_000; // an epoch further ahead of the clock counts for nobody
const STREAMS = [
  { name: "MD_STATE", subjects: ["md.*.*.snap", "md.*.*.ref", "md.*.*.status"], max_msgs_per_subject: 8, allow_direct: true },
  { name: "MD_LOG", subjects: ["md.*.*.book", "md.*.*.trade"], max_age: nanos(600_000), max_bytes: 2 ** 30, allow_direct: true },
];

const [url, instrument] = process.argv.slice(2);
const [venue, symbol] = instrument.split(/:(.*)/s);
const token = (text) =>
  text.replace(/[\x00-\x20.*>%\x7f-\x9f]/g, (character) =>
    [...new TextEncoder().encode(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""));
const SUBJECT = `md.${token(venue)}.${token(symbol)}`;

const { host, username, password } = new URL(url);
const login = username ? { user: username, pass: decodeURIComponent(password) } : {};
const nc = await connect({ servers: host, ...login, maxReconnectAttempts: -1 });
const jetstream = nc.jetstream({ timeout: 2000 });
const manager = await nc.jetstreamManager({ timeout: 2000, checkAPI: false });
const now = () => Date.now() * 1000; // µs

const book = { bids: new Map(), asks: new Map() }; // ticks → lots
let epoch = 0;
let seq = 0; // of the book
let trades = 0;
let unsnapped = 0;
let state = "trading";
let heardMs = performance.now(); // when the venue said something last; by a clock that nobody sets
let stored = true;

// ---- sending

const live = (kind, value) => nc.publish(`${SUBJECT}.${kind}`, encode(value));

/** JetStream stores it; nothing waits for its confirmation. */
function store(kind, value) {
  const told = (now, why) => {
    if (stored !== now) console.error(now ? "stored again" : `${kind} is not stored: ${why}`);
    stored = now;
  };
  jetstream.publish(`${SUBJECT}.${kind}`, encode(value)).then(() => told(true), (error) => told(false, error.message));
}

const ref = () => ({ epoch, price_exp: -2, size_exp: -8, tick: 1, lot: 1, depth: 0, name: "Bitcoin" });

function status() {
  const ts = now();
  const ageUs = Math.round((performance.now() - heardMs) * 1000);
  store("status", [5, epoch, ts, state, "", seq, trades, ts - ageUs]);
}

function snap() {
  const flat = (side, sign) => [...side].sort((a, b) => sign * (a[0] - b[0])).flat(); // best first
  store("snap", [2, epoch, seq, now(), flat(book.bids, -1), flat(book.asks, 1)]);
  unsnapped = 0;
}

function announce() {
  store("ref", ref());
  status();
  snap();
}

// ---- what the venue says

/** One atomic change; levels flat, [ticks, lots, …], lots 0 deletes. Throws for a book that would cross, and publishes nothing. */
function update(bids, asks) {
  const next = [new Map(book.bids), new Map(book.asks)];
  [bids, asks].forEach((flat, side) => {
    for (let i = 0; i < flat.length; i += 2)
      if (flat[i + 1] === 0) next[side].delete(flat[i]);
      else next[side].set(flat[i], flat[i + 1]);
  });
  if (Math.max(...next[0].keys()) >= Math.min(...next[1].keys())) throw new RangeError(`${instrument}: ${bids} | ${asks} cross the book`);
  [book.bids, book.asks] = next;
  heardMs = performance.now();
  seq += 1;
  live("book", [1, epoch, seq, seq, now(), bids, asks]);
  unsnapped += 1;
  if (unsnapped >= 1000) snap();
}

function trade(ticks, lots, side) {
  heardMs = performance.now();
  trades += 1;
  live("trade", [3, epoch, trades, now(), ticks, lots, side, trades]); // a venue without ids: the trade's own number
}

// ---- a life of this writer

/** Takes an epoch above the stored one, and stores `ref` with it unless another writer was faster. */
async function claim() {
  for (;;) {
    const last = await manager.streams.getMessage("MD_STATE", { last_by_subj: `${SUBJECT}.ref` }).catch(() => null);
    epoch = Math.max(now(), last === null ? 0 : decode(last.data).epoch + 1) + Math.floor(Math.random() * 1e6);
    try {
      await jetstream.publish(`${SUBJECT}.ref`, encode(ref()), { expect: { lastSubjectSequence: last?.seq ?? 0 } });
      return;
    } catch (error) {
      if (error.api_error?.err_code !== WRONG_LAST_SEQUENCE) throw error;
    }
  }
}

/** A writer with a greater epoch has taken over. */
async function leaveToOthers() {
  for await (const message of nc.subscribe(`${SUBJECT}.status`)) {
    const greater = decode(message.data)[1];
    if (greater > epoch && greater < now() + HOUR_US) {
      console.error(`another writer has taken over with epoch ${greater}`);
      process.exit(1);
    }
  }
}

async function announceAfterReconnects() {
  for await (const change of nc.status()) if (change.type === "reconnect") announce();
}

try {
  for (const config of STREAMS) await manager.streams.info(config.name).catch(() => manager.streams.add(config));
  await claim();
} catch (error) {
  console.error(`nothing is stored: ${error.message}`); // live data goes out all the same
  epoch = now() + Math.floor(Math.random() * 1e6);
  live("ref", ref());
}
leaveToOthers();
announceAfterReconnects();
status();
snap();
update([6412310, 50000000, 6412300, 100000000], [6412320, 125000000, 6412330, 80000000]);
console.log(`publishing ${instrument}`);

const timers = [
  setInterval(() => update([6412310, 1 + Math.floor(Math.random() * 1e8)], []), 50),
  setInterval(() => trade(6412320, 1000000, 1), 500), // 1: the taker bought
  setInterval(() => unsnapped > 0 && snap(), 4000), // at most 5 s after a change
  setInterval(status, 5000),
  setInterval(announce, 55000),
];
for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, async () => {
    timers.forEach(clearInterval);
    state = "feed_down";
    status();
    snap();
    await nc.drain();
  });
