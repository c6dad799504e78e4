// examples/mdstream.mjs against a gateway that does as the test says, with a clock that does too. Run by test_examples.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, mock, test } from "node:test";

import { Book, Stream } from "../../examples/mdstream.mjs";

const sockets = [];

class FakeSocket {
  static OPEN = 1;
  readyState = 0;
  sent = [];

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    sockets.push(this);
  }

  send(text) {
    assert.equal(this.readyState, FakeSocket.OPEN);
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 2;
  }

  // ---- the gateway's side

  open() {
    this.readyState = FakeSocket.OPEN;
    this.onopen();
    this.say({ type: "welcome", version: 1, heartbeat_ms: 15_000 });
  }

  say(...messages) {
    for (const message of messages) this.onmessage({ data: JSON.stringify(message) });
  }

  end(code, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  /** The commands since the last look. */
  commands() {
    return this.sent.splice(0);
  }
}

globalThis.WebSocket = FakeSocket;

// The book of the contract's own example, and what is left when its best bid is gone.
const BID = ["64123.10", "0.51200000"];
const FULL = { bids: [BID, ["64123.00", "1.00000000"]], asks: [["64123.20", "0.07500000"]], crc: 1842065417 };
const WITHOUT = 3829307137;

const snapshot = (sub, seq, epoch = 1) => ({ type: "snapshot", sub, epoch, seq, ts: 1, ...FULL, reason: "subscribe" });
const added = (sub, first, last = first) => ({ type: "delta", sub, first, last, ts: 1, bids: [BID], asks: [], crc: FULL.crc });
const removed = (sub, first, last = first) =>
  ({ ...added(sub, first, last), bids: [[BID[0], "0.00000000"]], crc: WITHOUT });
const subscribed = (id, sub, resumed = false) =>
  ({ type: "subscribed", id, sub, price_exp: -2, size_exp: -8, resumed });

let random;

beforeEach(() => {
  sockets.length = 0;
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  random = 1;
  mock.method(Math, "random", () => random);
});

function start() {
  const stream = new Stream("ws://gateway/v1/stream");
  const states = [];
  const errors = [];
  stream.onstate = (state) => states.push(state);
  stream.onerror = (text) => errors.push(text);
  mock.timers.tick(1);
  return { stream, states, errors, socket: sockets[0] };
}

/** A book that is live at number 5, as sub 7. */
function live() {
  const started = start();
  const changes = [];
  const book = started.stream.book("SIM:BTC-USD", ({ state, seq }) => changes.push([state, seq]), { depth: 10 });
  started.socket.open();
  started.socket.say(subscribed(1, 7), snapshot(7, 5));
  started.socket.commands();
  changes.length = 0;
  return { ...started, book, changes };
}

const prices = (side) => side.map(({ price }) => price);

test("it subscribes when the connection is open, and applies a snapshot and deltas", () => {
  const { stream, socket, states } = start();
  const book = stream.book("SIM:BTC-USD", () => {}, { depth: 10, group: 5, intervalMs: 100 });
  assert.equal(book.state, "pending");
  socket.open();
  assert.equal(socket.protocol, "mdstream.v1.json");
  const view = { depth: 10, group: 5, interval_ms: 100 };
  assert.deepEqual(socket.commands(), [{ op: "subscribe", id: 1, channel: "book", instruments: ["SIM:BTC-USD"], ...view }]);
  socket.say(subscribed(1, 7), snapshot(7, 5));
  assert.deepEqual([book.state, book.seq], ["live", 5]);
  assert.deepEqual(prices(book.bids), ["64123.10", "64123.00"]);
  socket.say(removed(7, 6));
  assert.deepEqual(prices(book.bids), ["64123.00"]);
  socket.say(added(7, 7, 9));
  assert.deepEqual(book.bids[0], { price: "64123.10", size: "0.51200000", ticks: 6412310, lots: 51200000 });
  assert.deepEqual([book.state, book.seq], ["live", 9]);
  assert.deepEqual(states, ["connecting", "open"]);
});

test("two instruments are not swapped when their answers are", () => {
  const { stream, socket } = start();
  const [btc, eth] = ["SIM:BTC-USD", "SIM:ETH-USD"].map((name) => stream.book(name, () => {}));
  socket.open();
  socket.say(subscribed(2, 8), snapshot(8, 50), subscribed(1, 7), snapshot(7, 5), removed(8, 51));
  assert.deepEqual([btc.seq, btc.bids.length, eth.seq, eth.bids.length], [5, 2, 51, 1]);
});

test("a gap is recovered once, and what arrives until the answer is passed over", () => {
  const { socket, book, changes } = live();
  socket.say(added(7, 8), removed(7, 9));
  assert.deepEqual([book.state, book.seq], ["recovering", 5]);
  mock.timers.tick(1);
  assert.deepEqual(socket.commands(), [{ op: "recover", id: "recover 1", sub: 7, from: 6 }]);
  socket.say(removed(7, 6, 9), added(7, 9), added(7, 10));
  assert.deepEqual([book.state, book.seq, book.bids.length], ["live", 10, 2]);
  assert.deepEqual(changes, [["recovering", 5], ["live", 9], ["live", 10]]);
  mock.timers.tick(60_000 - 1);
  assert.deepEqual(socket.commands(), []);
});

test("a book whose checksum differs is emptied, and comes back with a snapshot", () => {
  const { socket, book } = live();
  socket.say({ ...removed(7, 6), crc: 1 }, removed(7, 7));
  assert.deepEqual([book.state, book.bids, book.asks], ["recovering", [], []]);
  mock.timers.tick(1);
  assert.deepEqual(socket.commands().map(({ from }) => from), [0]);
  socket.say(snapshot(7, 8));
  assert.deepEqual([book.state, book.seq, book.bids.length], ["live", 8, 2]);
  socket.say({ ...removed(7, 9), crc: 1 });
  mock.timers.tick(999);
  assert.deepEqual(socket.commands(), [], "the second time in a row it waits");
  mock.timers.tick(1);
  assert.equal(socket.commands().length, 1);
});

test("a heartbeat tells of a tail that was lost", () => {
  const { socket, book } = live();
  socket.say({ type: "heartbeat", time: 1, seqs: [[7, 5], [99, 9]] });
  assert.equal(book.state, "live");
  socket.say({ type: "heartbeat", time: 1, seqs: [[7, 6]] });
  assert.equal(book.state, "recovering");
  mock.timers.tick(1);
  assert.deepEqual(socket.commands().map(({ op, from }) => [op, from]), [["recover", 6]]);
});

test("a recover that is refused or not answered is sent again", () => {
  const { socket } = live();
  socket.say(added(7, 8));
  mock.timers.tick(1);
  socket.say({ type: "error", id: "recover 1", code: "unavailable", message: "" });
  socket.commands();
  mock.timers.tick(2_000);
  assert.equal(socket.commands().length, 1);
  mock.timers.tick(9_999);
  socket.say({ type: "heartbeat", time: 1, seqs: [] });
  mock.timers.tick(1);
  assert.equal(socket.commands().length, 1);
});

test("nothing is asked for while the gateway has no book", () => {
  const { stream, socket } = start();
  const book = stream.book("SIM:BTC-USD", () => {});
  socket.open();
  socket.commands();
  const told = (state, code) => ({ type: "state", sub: 7, state, code });
  socket.say(subscribed(1, 7), told("recovering", "no_book"));
  for (let waited = 0; waited < 60_000; waited += 10_000) {
    mock.timers.tick(10_000);
    socket.say({ type: "heartbeat", time: 1, seqs: [[7, 0]] });
  }
  assert.deepEqual([socket.commands(), book.code], [[], "no_book"]);
  socket.say(told("live", null));
  mock.timers.tick(9_999);
  socket.say({ type: "heartbeat", time: 1, seqs: [] });
  mock.timers.tick(1);
  assert.deepEqual(socket.commands().map(({ op, from }) => [op, from]), [["recover", 0]], "the snapshot did not come");
  socket.say(snapshot(7, 1));
  assert.deepEqual([book.state, book.seq], ["live", 1]);
});

test("it comes back with growing delays, and resumes", () => {
  const { socket, book, states } = live();
  socket.end(1012, "draining");
  assert.equal(book.state, "disconnected");
  for (const delay of [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]) {
    const before = sockets.length;
    mock.timers.tick(delay - 1);
    assert.equal(sockets.length, before);
    mock.timers.tick(1);
    assert.equal(sockets.length, before + 1);
    sockets.at(-1).end(1006);
  }
  mock.timers.tick(20_000);
  const again = sockets.at(-1);
  again.open();
  assert.deepEqual(again.commands()[0].resume, { "SIM:BTC-USD": [1, 5] });
  again.say(subscribed(1, 3, true), removed(3, 6));
  assert.deepEqual([book.state, book.seq], ["live", 6]);
  assert.equal(states.at(-1), "open");
});

test("the delay is random, and short again after half a minute of health", () => {
  const { socket } = live();
  for (let i = 0; i < 4; i++) {
    mock.timers.tick(14_000);
    socket.say({ type: "heartbeat", time: 1, seqs: [] });
  }
  random = 0.5;
  socket.end(1006);
  mock.timers.tick(249);
  assert.equal(sockets.length, 1);
  mock.timers.tick(1);
  assert.equal(sockets.length, 2);
});

test("a gateway that is well makes a useful connection a success after a second", () => {
  const { socket } = live();
  socket.say({ type: "welcome", version: 1, heartbeat_ms: 15_000, healthy_ms: 1_000 });
  random = 0.99;
  socket.end(1006); // too soon: the next delay would be twice as long
  mock.timers.tick(500);
  const again = sockets.at(-1);
  again.open();
  again.say({ type: "welcome", version: 1, heartbeat_ms: 15_000, healthy_ms: 1_000 });
  again.say(subscribed(1, 8), snapshot(8, 6));
  mock.timers.tick(1_000);
  again.end(1006);
  mock.timers.tick(500);
  assert.equal(sockets.length, 3);
});

test("what ends for overload is asked for again later, from where it stands", () => {
  const { socket, book } = live();
  socket.say({ type: "unsubscribed", subs: [7], reason: "overload" });
  assert.equal(book.state, "disconnected");
  assert.deepEqual(socket.commands(), []);
  mock.timers.tick(1_000);
  assert.deepEqual(socket.commands()[0].resume, { "SIM:BTC-USD": [1, 5] });
});

test("after a close code that is final it does not come back, and says so", () => {
  const { socket, states, book } = live();
  socket.end(4400, "error budget spent");
  mock.timers.tick(60_000);
  assert.equal(sockets.length, 1);
  assert.deepEqual([states.at(-1), book.state], ["closed", "disconnected"]);
});

test("an error of the socket is told, also where no close follows", () => {
  const { socket, states, errors } = start();
  socket.onerror({ message: "refused" });
  mock.timers.tick(1);
  assert.deepEqual(errors, ["ws://gateway/v1/stream: refused"]);
  assert.equal(states.at(-1), "reconnecting");
});

test("silence of two heartbeats is a dead link", () => {
  const { states } = live();
  mock.timers.tick(30_000);
  assert.equal(states.at(-1), "open");
  mock.timers.tick(7_500);
  assert.equal(states.at(-1), "reconnecting");
});

test("a clock that is set back does not hide a dead link", () => {
  const { states } = live();
  const now = Date.now;
  const setBack = mock.method(Date, "now", () => now() - 3_600_000);
  mock.timers.tick(7_500);
  setBack.mock.restore();
  assert.equal(states.at(-1), "reconnecting");
});

test("it leaves a gateway that drains when it is told to, and resumes at once", () => {
  const { socket, changes } = live();
  socket.say({ type: "drain", reconnect_after_ms: 3_000, deadline_ms: 10_000 });
  mock.timers.tick(2_999);
  assert.equal(sockets.length, 1);
  mock.timers.tick(2);
  sockets[1].open();
  assert.deepEqual(sockets[1].commands()[0].resume, { "SIM:BTC-USD": [1, 5] });
  assert.deepEqual(changes, [["disconnected", 5]]);
});

test("a subscription that the gateway ends is asked for again, from the beginning", () => {
  const { socket, book } = live();
  socket.say({ type: "unsubscribed", subs: [7], reason: "rescaled" });
  assert.deepEqual([book.state, book.bids], ["pending", []]);
  const [command] = socket.commands();
  assert.deepEqual([command.op, command.resume], ["subscribe", undefined]);
  const thousands = { ...subscribed(1, 8), price_exp: 3, size_exp: 0 };
  // CRC-32 of "12:5:13:6"
  socket.say(thousands, { ...snapshot(8, 1, 2), bids: [["12000", "5"]], asks: [["13000", "6"]], crc: 792188919 });
  assert.deepEqual([book.state, book.bids[0].ticks], ["live", 12]);
});

test("unsubscribing, before and after the gateway's answer", () => {
  const { stream, socket, book } = live();
  const early = stream.book("SIM:ETH-USD", () => {});
  stream.unsubscribe(early);
  stream.unsubscribe(book);
  assert.throws(() => stream.book("SIM:SOL-USD", () => {}) && stream.book("SIM:SOL-USD", () => {}), /already/);
  socket.commands();
  socket.say(subscribed(2, 8), { type: "unsubscribed", subs: [7], reason: "requested" }, added(7, 6));
  assert.deepEqual(socket.commands(), [{ op: "unsubscribe", subs: [8] }]);
  socket.end(1006);
  mock.timers.tick(500);
  sockets[1].open();
  assert.deepEqual(sockets[1].commands().flatMap(({ instruments }) => instruments), ["SIM:SOL-USD"]);
});

test("what the gateway refuses is told; what it cannot do now is asked for again", () => {
  const { stream, socket, book, errors } = live();
  const changes = [];
  const refused = stream.book("SIM:NOPE", ({ state }) => changes.push(state));
  const later = stream.book("SIM:LATER", () => {});
  socket.commands();
  socket.say({ type: "error", id: 2, code: "unknown_instrument", message: "no" });
  socket.say({ type: "error", id: 3, code: "unavailable", message: "wait" }, { type: "error", code: "bad_command", message: "?" });
  assert.deepEqual([refused.state, changes, later.state, book.state], ["ended", ["ended"], "pending", "live"]);
  assert.deepEqual(errors, ["SIM:NOPE: unknown_instrument: no", "bad_command: ?"]);
  mock.timers.tick(1_000);
  assert.deepEqual(socket.commands().flatMap(({ instruments }) => instruments), ["SIM:LATER"]);
});

test("the state of the venue shows, with its reason", () => {
  const { socket, book } = live();
  socket.say({ type: "state", sub: 7, state: "halted", since: 1, reason: "auction" });
  assert.deepEqual([book.state, book.reason], ["halted", "auction"]);
  socket.say({ type: "state", sub: 7, state: "stale", since: 1, code: "silent", age_ms: 30_250, reason: "nothing comes" });
  assert.deepEqual([book.state, book.code, book.ageMs], ["stale", "silent", 30_250]);
});

test("reference data comes with the subscription, and its changes show", () => {
  const { stream, socket, changes } = live();
  const other = stream.book("SIM:ETH-USD", () => changes.push("told"));
  socket.say({ ...subscribed(2, 8), ref: { tick: 1, lot: 1 } });
  changes.length = 0;
  socket.say({ type: "ref", sub: 8, ref: { tick: 5, lot: 1 } });
  assert.deepEqual([other.ref, changes], [{ tick: 5, lot: 1 }, ["told"]]);
});

test("the page draws a ladder of each instrument", async () => {
  const examples = new URL("../../examples/", import.meta.url);
  const [, code] = /<script type="module">(.*)<\/script>/s.exec(readFileSync(new URL("browser.html", examples), "utf8"));
  const sections = [1, 2].map(() => ({ firstChild: {}, children: [{}, {}] }));
  const connection = {};
  globalThis.location = { search: "?url=ws://gateway/v1/stream" };
  globalThis.document = { querySelector: () => connection, querySelectorAll: () => sections };
  await import(`data:text/javascript,${encodeURIComponent(code.replace("./", examples))}`);
  mock.timers.tick(1);
  sockets[0].open();
  assert.equal(connection.textContent, "open: ws://gateway/v1/stream");
  sockets[0].say(subscribed(2, 8), snapshot(8, 50), subscribed(1, 7), snapshot(7, 5));
  assert.deepEqual(sections.map(({ firstChild }) => firstChild.textContent), ["SIM:BTC-USD", "SIM:ETH-USD"]);
  assert.deepEqual(sections.map(({ children }) => children[1].textContent), ["live seq 5", "live seq 50"]);
  assert.match(sections[0].innerHTML, /class="ask"><td>64123.20<td>0.07500000<.*class="bid"><td>64123.10</);
});

test("it keeps to the golden vectors", () => {
  const { views } = JSON.parse(readFileSync(new URL("../vectors/views.json", import.meta.url), "utf8"));
  assert.ok(views.length > 0);
  const flat = (side) => side.flatMap(({ ticks, lots }) => [ticks, lots]);
  for (const { name, price_exp, size_exp, steps } of views) {
    const book = Object.assign(new Book("SIM:BTC-USD"), { priceExp: price_exp, sizeExp: size_exp });
    for (const { json, outcome, then } of steps) {
      book.apply(JSON.parse(json));
      assert.equal(book.seq, then.seq, name);
      assert.equal(book.missing, { apply: null, gap: then.seq + 1, mismatch: 0 }[outcome], name);
      if (outcome !== "mismatch") assert.deepEqual([flat(book.bids), flat(book.asks)], [then.bids, then.asks], name);
    }
  }
});

test("a stream that is closed stays closed, also from a callback", () => {
  const { stream, socket, states } = live();
  stream.onstate = (state) => states.push(state) && state === "reconnecting" && stream.close();
  socket.end(1006);
  mock.timers.tick(60_000);
  assert.equal(sockets.length, 1);
  assert.equal(states.at(-1), "closed");
});

// ---- tokens

const turns = async () => { for (let i = 0; i < 10; i++) await null; };

async function startWith(...tokens) {
  const asked = [];
  const stream = new Stream("ws://gateway/v1/stream", { token: async () => { asked.push(1); return tokens.shift(); } });
  const states = [];
  stream.onstate = (state) => states.push(state);
  stream.onerror = () => {};
  mock.timers.tick(1);
  await turns();
  return { stream, states, asked, socket: sockets[0] };
}

test("a token travels as a subprotocol, and a fresh one goes out before it expires", async () => {
  const { socket, asked, states } = await startWith("a.b.c", "d.e.f");
  assert.deepEqual(socket.protocol, ["mdstream.v1.json", "bearer.a.b.c"]);
  assert.equal(socket.url, "ws://gateway/v1/stream?reject=close");
  socket.open();
  socket.say({ type: "token_expiring", expires: 1 });
  await turns();
  assert.deepEqual(socket.commands(), [{ op: "auth", id: "auth", token: "d.e.f" }]);
  assert.deepEqual([asked.length, states.at(-1)], [2, "open"]);
});

test("after 4401 it comes back once, with another token alone", async () => {
  const { socket, states } = await startWith("a", "b", "b");
  socket.open();
  socket.end(4401, "expired");
  mock.timers.tick(500);
  await turns();
  assert.deepEqual(sockets[1].protocol[1], "bearer.b");
  sockets[1].end(4401);
  assert.equal(states.at(-1), "closed");
  mock.timers.tick(100_000);
  await turns();
  assert.equal(sockets.length, 2);
});

test("the same token is not tried again", async () => {
  const { socket, states } = await startWith("a", "a");
  socket.open();
  socket.end(4401);
  mock.timers.tick(500);
  await turns();
  assert.deepEqual([sockets.length, states.at(-1)], [1, "closed"]);
});
