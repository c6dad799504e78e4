// Live order books in plain JavaScript, for browsers, Node >= 22, and Node 20 with --experimental-websocket.
// One file without dependencies: copy it. It does what docs/protocol.md asks of a client.

const FINAL_CLOSE_CODES = new Set([1003, 1007, 1009, 4400, 4401, 4403]); // the next connection would end the same way
const HEALTHY_MS = 30_000; // a connection that lasted so long and brought data counts as a success; the gateway may ask for less
const ANSWER_TIMEOUT_MS = 10_000;
const MOST_REPLACED = 3; // so often within a minute may a newer session of the same user take our place; then it is left to that one

const delayOf = (attempt) => Math.random() * Math.min(20_000, 500 * 2 ** attempt);

/** One view of one instrument's order book. */
export class Book {
  bids = []; // [{ price, size, ticks, lots }, …], best first; price and size are exact decimal strings
  asks = [];
  epoch = null; // which life of the publisher `seq` belongs to
  seq = null; // number of the last update in the book; null before the first snapshot
  sub = null; // the gateway's number for this view, on this connection only
  missing = 0; // the first seq that is missing; 0: a whole snapshot; null: nothing
  venueState = "live"; // what the gateway says
  code = null; // why it is not live, one of the state codes of docs/protocol.md
  ageMs = null; // how old the venue's last word was when the gateway said so
  reason = null; // the same for people
  ref = {}; // tick, lot, name, depth and what else the publisher says of the instrument
  error = null; // why the gateway refused the subscription

  constructor(instrument, { depth = 0, group = 1, intervalMs = 0 } = {}) {
    this.instrument = instrument;
    this.view = { depth, group, interval_ms: intervalMs };
  }

  /** pending, live, recovering, stale, halted, closed, disconnected or ended. Trade only on live. */
  get state() {
    if (this.error !== null) return "ended";
    if (this.seq === null) return "pending";
    if (this.sub === null) return "disconnected";
    return this.missing === null ? this.venueState : "recovering";
  }

  clear() {
    this.bids = [];
    this.asks = [];
    this.missing = 0;
  }

  /** Applies a snapshot or a delta. What it cannot apply shows in `missing`. Returns whether the book changed. */
  apply(message) {
    if (message.type === "snapshot") {
      this.clear();
      this.epoch = message.epoch;
    } else if (this.missing === 0 || message.last <= this.seq) {
      return false; // wait for the snapshot; or it is in the book already
    } else if (message.first !== this.seq + 1) {
      this.missing ??= this.seq + 1; // a gap: the answer to `recover` covers what arrives until then
      return false;
    }
    this.seq = message.seq ?? message.last;
    this.missing = null;
    for (const level of message.bids) this.#set(this.bids, level, -1);
    for (const level of message.asks) this.#set(this.asks, level, 1);
    if (this.#checksum() !== message.crc) this.clear(); // never show a wrong price
    return true;
  }

  #set(side, [price, size], sign) {
    const ticks = toInteger(price, this.priceExp);
    const lots = toInteger(size, this.sizeExp);
    let low = 0;
    for (let high = side.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (sign * (side[middle].ticks - ticks) < 0) low = middle + 1;
      else high = middle;
    }
    const found = side[low]?.ticks === ticks ? 1 : 0;
    if (lots === 0) side.splice(low, found);
    else side.splice(low, found, { price, size, ticks, lots });
  }

  #checksum() {
    const numbers = [];
    for (let i = 0; i < 10; i++)
      for (const level of [this.bids[i], this.asks[i]]) if (level) numbers.push(level.ticks, level.lots);
    return crc32(numbers.join(":"));
  }
}

/** A connection that stays: it comes back after a loss, and its books with it. */
export class Stream {
  onstate = () => {}; // (state, why): connecting, open, reconnecting, closed
  onerror = console.error; // (text)
  #books = new Map(); // our number → book
  #subs = new Map(); // the gateway's number → book
  #getToken;
  #renewable;
  #wrongToken = false; // the last one was refused: it must not be used again
  #lastToken = null;
  #count = 0;
  #attempt = 0;
  #replaced = []; // when
  #closed = false;
  #ws = null;
  #openedAt = null;
  #healthyMs = HEALTHY_MS;
  #useful = false; // data came on this connection
  #heardAt = null;
  #timers = { connect: null, watchdog: null, drain: null };

  /** `token`: a string, or a function that gives a fresh one each time it is called, or a promise of one. */
  constructor(url, { token = null } = {}) {
    this.url = url;
    this.#getToken = typeof token === "function" ? token : token && (() => token);
    this.#renewable = typeof token === "function";
    this.#timers.connect = setTimeout(() => this.#connect(), 0); // after the caller has set its callbacks
  }

  /** Subscribes. `onchange(book)` is called after each change of the book or of its state. */
  book(instrument, onchange, view) {
    const book = Object.assign(new Book(instrument, view), { onchange, number: ++this.#count, tries: 0, timer: null });
    for (const other of this.#books.values()) {
      if (other.instrument !== instrument || JSON.stringify(other.view) !== JSON.stringify(book.view)) continue;
      if (other.unwanted) return Object.assign(other, { unwanted: false, onchange });
      throw new Error(`${instrument} is subscribed with this view already`);
    }
    this.#books.set(book.number, book);
    if (this.#ws?.readyState === WebSocket.OPEN) this.#subscribe(book);
    return book;
  }

  /** Ends a subscription. A view that the gateway has not confirmed yet ends when it is. */
  unsubscribe(book) {
    book.onchange = () => {};
    book.unwanted = true;
    if (book.sub !== null) this.#send({ op: "unsubscribe", subs: [book.sub] });
    if (book.sub !== null || this.#ws?.readyState !== WebSocket.OPEN) this.#forget(book);
  }

  close() {
    this.#closed = true;
    this.#drop();
    this.onstate("closed", "by its user");
  }

  // ---- the connection

  #connect() {
    if (this.#closed) return; // by a callback
    this.onstate("connecting", this.url);
    if (this.#getToken) this.#connectWithToken();
    else this.#open(this.url, "mdstream.v1.json");
  }

  /** A page cannot set headers: the token travels as a subprotocol, which the gateway never echoes. */
  async #connectWithToken() {
    const token = await this.#freshToken();
    if (this.#closed) return;
    if (token === null) return this.#lost(1006, "no token");
    if (this.#wrongToken && token === this.#lastToken) return this.onstate("closed", "4401 there is no other token");
    this.#lastToken = token;
    this.#open(explaining(this.url), ["mdstream.v1.json", `bearer.${token}`]);
  }

  #open(url, protocols) {
    const ws = (this.#ws = new WebSocket(url, protocols));
    this.#timers.watchdog = setTimeout(() => this.#lost(1006, "no answer"), ANSWER_TIMEOUT_MS);
    ws.onopen = () => {
      this.#openedAt = Date.now();
      this.#useful = false;
      this.#healthyMs = HEALTHY_MS;
      this.onstate("open", this.url);
      for (const book of this.#books.values()) this.#subscribe(book);
    };
    ws.onmessage = ({ data }) => {
      this.#heardAt = Date.now();
      this.#take(JSON.parse(data));
    };
    ws.onerror = ({ message }) => {
      this.onerror(`${this.url}: ${message || "the connection failed"}`); // browsers do not say why
      clearTimeout(this.#timers.watchdog);
      this.#timers.watchdog = setTimeout(() => this.#lost(1006, ""), 0); // onclose comes first, except in Node 20
    };
    ws.onclose = ({ code, reason }) => this.#lost(code, reason);
  }

  #lost(code, reason, delay) {
    const subscribed = [...this.#subs.values()];
    this.#drop();
    for (const book of subscribed) book.onchange(book);
    const why = `${code} ${reason}`.trim();
    if (code === 4401 && this.#renewable && !this.#wrongToken) this.#wrongToken = true; // a fresh one may do
    else if (FINAL_CLOSE_CODES.has(code) || this.#isPushedOut(code)) return this.onstate("closed", why);
    if (this.#wasHealthy()) this.#attempt = 0;
    this.#openedAt = null;
    this.onstate("reconnecting", why);
    this.#timers.connect = setTimeout(() => this.#connect(), delay ?? delayOf(this.#attempt++));
  }

  #wasHealthy() {
    if (this.#openedAt === null || (this.#books.size && !this.#useful)) return false;
    return Date.now() - this.#openedAt >= this.#healthyMs;
  }

  /** Two clients of a user who may have one session would replace each other for ever. */
  #isPushedOut(code) {
    if (code !== 4409) return false;
    this.#replaced = [...this.#replaced, Date.now()].filter((at) => at > Date.now() - 60_000);
    return this.#replaced.length >= MOST_REPLACED;
  }

  async #freshToken() {
    try {
      return (await this.#getToken()) ?? null;
    } catch (error) {
      this.onerror(`the token function failed: ${error}`);
      return null;
    }
  }

  /** Before the token expires: the connection goes on with a fresh one. */
  async #renew() {
    const ws = this.#ws;
    const token = this.#renewable ? await this.#freshToken() : null;
    if (token === null || ws !== this.#ws) return;
    this.#lastToken = token;
    this.#send({ op: "auth", id: "auth", token });
  }

  /** Does not wait for `onclose`: a dead connection takes its time. */
  #drop() {
    const ws = this.#ws;
    this.#ws = null;
    if (ws) {
      ws.onopen = ws.onmessage = ws.onerror = ws.onclose = null;
      ws.close();
    }
    for (const timer of Object.values(this.#timers)) clearTimeout(timer); // it ends an interval too
    for (const book of this.#books.values())
      if (book.unwanted) this.#forget(book);
      else this.#detach(book);
    this.#subs.clear();
  }

  #send(command) {
    this.#ws.send(JSON.stringify(command));
  }

  // ---- what the gateway says

  #take(message) {
    const book = this.#subs.get(message.sub);
    switch (message.type) {
      case "welcome":
        this.#wrongToken = false;
        this.#healthyMs = Math.min(message.healthy_ms ?? HEALTHY_MS, HEALTHY_MS);
        this.#watch(2 * message.heartbeat_ms);
        break;
      case "subscribed":
        this.#accept(this.#books.get(message.id), message);
        break;
      case "snapshot":
      case "delta":
        this.#useful = true;
        if (book) this.#apply(book, message);
        break;
      case "state":
        if (!book) break;
        Object.assign(book, { venueState: message.state, code: message.code, ageMs: message.age_ms, reason: message.reason });
        this.#waitOrAsk(book);
        book.onchange(book);
        break;
      case "ref":
        if (!book) break;
        book.ref = message.ref;
        book.onchange(book);
        break;
      case "heartbeat":
        for (const [sub, sent] of message.seqs) this.#compare(this.#subs.get(sub), sent);
        break;
      case "unsubscribed":
        if (message.reason === "overload") for (const sub of message.subs) this.#putOff(this.#subs.get(sub));
        else if (message.reason !== "requested") for (const sub of message.subs) this.#restart(this.#subs.get(sub));
        break;
      case "drain": // this gateway stops: go to another one, at a time that is random already
        this.#timers.drain = setTimeout(() => this.#lost(1012, "draining", 0), message.reconnect_after_ms);
        break;
      case "token_expiring":
        this.#renew();
        break;
      case "error":
        this.#refused(message);
    }
  }

  #watch(silenceMs) {
    clearTimeout(this.#timers.watchdog);
    this.#timers.watchdog = setInterval(() => {
      if (Math.abs(Date.now() - this.#heardAt) > silenceMs) this.#lost(1006, "no heartbeat"); // also if the clock was set back
    }, silenceMs / 4);
  }

  #subscribe(book) {
    const { number, instrument, view, seq, epoch, missing } = book;
    const resume = seq === null || missing === 0 ? {} : { resume: { [instrument]: [epoch, seq] } };
    this.#send({ op: "subscribe", id: number, channel: "book", instruments: [instrument], ...view, ...resume });
  }

  #accept(book, { sub, resumed, price_exp, size_exp, ref }) {
    if (!book) return;
    if (book.unwanted) {
      this.#send({ op: "unsubscribe", subs: [sub] });
      return this.#forget(book);
    }
    this.#subs.set(sub, book);
    Object.assign(book, { sub, priceExp: price_exp, sizeExp: size_exp, ref, tries: 0 });
    Object.assign(book, { venueState: "live", code: null, ageMs: null, reason: null });
    book.missing = resumed ? null : 0;
    if (!resumed) this.#later(book, ANSWER_TIMEOUT_MS); // a snapshot comes by itself
    book.onchange(book);
  }

  #apply(book, message) {
    const before = book.state;
    const changed = book.apply(message);
    if (book.missing === null) {
      clearTimeout(book.timer);
      book.timer = null;
      if (message.type === "delta") book.tries = 0;
    } else if (changed || !book.timer) {
      this.#later(book, book.tries === 0 ? 0 : delayOf(book.tries));
    }
    if (changed || book.state !== before) book.onchange(book);
  }

  /** A heartbeat tells the newest number sent: a greater one than ours was lost on the way. */
  #compare(book, sent) {
    if (!book || book.timer || sent <= (book.seq ?? 0)) return;
    book.missing ??= book.seq + 1;
    this.#later(book, 0);
    book.onchange(book);
  }

  /** While the gateway says that it has no book to send, there is nothing to ask for: a snapshot comes by itself. */
  #waitOrAsk(book) {
    if (book.venueState === "recovering" && (book.code === "no_book" || book.seq === null)) {
      clearTimeout(book.timer);
      book.timer = null;
    } else if (book.missing !== null && !book.timer) this.#later(book, ANSWER_TIMEOUT_MS);
  }

  /** Asks for what is missing after `delay`, and again if no answer comes. */
  #later(book, delay) {
    clearTimeout(book.timer);
    book.timer = setTimeout(() => {
      book.tries += 1;
      this.#send({ op: "recover", id: `recover ${book.number}`, sub: book.sub, from: book.missing });
      this.#later(book, ANSWER_TIMEOUT_MS);
    }, delay);
  }

  /** The gateway ended the subscription, because the instrument has other decimals now: ask again, from nothing. */
  #restart(book) {
    if (!book) return;
    this.#subs.delete(book.sub);
    this.#detach(book);
    book.clear();
    book.seq = null;
    this.#subscribe(book);
    book.onchange(book);
  }

  /** The gateway ended the subscription, because it cannot keep up: ask again later, from where the book stands. */
  #putOff(book) {
    if (!book) return;
    this.#subs.delete(book.sub);
    this.#detach(book);
    book.timer = setTimeout(() => this.#subscribe(book), 500 + delayOf(book.tries++));
    book.onchange(book);
  }

  #refused({ id, code, message }) {
    const recovering = /^recover (\d+)$/.exec(id);
    const book = this.#books.get(recovering ? Number(recovering[1]) : id);
    if (!book) return this.onerror(`${code}: ${message}`);
    if (book.unwanted) return this.#forget(book);
    if (recovering) return book.timer && this.#later(book, delayOf(book.tries + 1));
    if (code === "unavailable" || code === "rate_limited") {
      book.timer = setTimeout(() => this.#subscribe(book), 500 + delayOf(book.tries++)); // may succeed later
      return;
    }
    book.error = `${code}: ${message}`;
    this.#forget(book);
    this.onerror(`${book.instrument}: ${book.error}`);
    book.onchange(book);
  }

  #detach(book) {
    clearTimeout(book.timer);
    Object.assign(book, { sub: null, timer: null });
  }

  #forget(book) {
    this.#books.delete(book.number);
    this.#subs.delete(book.sub);
    this.#detach(book);
  }
}

/** Asks the gateway to say by a close code that a token is wrong: pages cannot see an HTTP status. */
function explaining(url) {
  return `${url}${url.includes("?") ? "&" : "?"}reject=close`;
}

/** "64123.10" at exponent −2 is 6412310; "12000" at exponent 3 is 12. */
function toInteger(text, exp) {
  return Number(exp > 0 ? text.slice(0, -exp) : text.replace(".", ""));
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** CRC-32 of ASCII text, as in zlib. */
function crc32(text) {
  let crc = -1;
  for (let i = 0; i < text.length; i++) crc = CRC_TABLE[(crc ^ text.charCodeAt(i)) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
