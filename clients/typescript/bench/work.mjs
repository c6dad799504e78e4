// What is measured, the same in Node and in a page: a recorded stream of book messages is decoded, applied and checked.

/** Random flow on one book, with the checksums that a gateway would send. Returns the messages in both formats. */
export function record({ checksum, Side }, count, seed = 1) {
  let state = seed;
  const random = () => (state = (state * 1_664_525 + 1_013_904_223) >>> 0) / 2 ** 32;
  const bids = new Side(1);
  const asks = new Side(-1);
  const pairs = (flat, price, size) => {
    const levels = [];
    for (let i = 0; i < flat.length; i += 2) levels.push([decimal(flat[i], price), decimal(flat[i + 1], size)]);
    return levels;
  };
  const decimal = (value, places) => {
    const digits = String(value).padStart(places + 1, "0");
    return `${digits.slice(0, -places)}.${digits.slice(-places)}`;
  };
  const text = [];
  const binary = [];
  const add = (type, first, last, b, a) => {
    bids.put(b);
    asks.put(a);
    const crc = checksum(bids, asks);
    const ts = 1_764_000_000_000_000 + last;
    const levels = { bids: pairs(b, 2, 8), asks: pairs(a, 2, 8) };
    const numbers = type === "delta" ? { first, last } : { epoch: 1_764_000_000_000_000, seq: last };
    text.push(
      JSON.stringify({ type, sub: 7, ...numbers, ts, ...levels, crc, ...(type === "snapshot" ? { reason: "subscribe" } : {}) }),
    );
    binary.push(
      type === "delta" ? [1, 7, first, last, ts, b, a, crc] : [2, 7, 1_764_000_000_000_000, last, ts, b, a, crc, "subscribe"],
    );
  };
  const whole = (from, step) => Array.from({ length: 200 }, (_, i) => [from + step * i, 1 + Math.floor(random() * 5e9)]).flat();
  add("snapshot", 1, 1, whole(6_412_310, -1), whole(6_412_311, 1));
  for (let seq = 2; seq <= count; seq++) {
    const change = [0, 1, 2].map(() => [Math.floor(random() ** 3 * 100), random() < 0.2 ? 0 : 1 + Math.floor(random() * 5e9)]);
    const near = (from, step) => [...new Map(change.map(([away, lots]) => [from + step * away, lots]))].flat();
    add("delta", seq, seq, random() < 0.5 ? near(6_412_310, -1) : [], random() < 0.5 ? near(6_412_311, 1) : []);
  }
  return { text, binary };
}

/** Messages per second: the best of several rounds. */
export function perSecond(messages, round) {
  let best = 0;
  for (let i = 0; i < 7; i++) {
    const start = performance.now();
    round();
    best = Math.max(best, messages / ((performance.now() - start) / 1000));
  }
  return Math.round(best);
}

export function measure({ json, msgpack, Book, BookEngine, POLICY, sum }, { text, binary }) {
  const packed = binary.map((values) => msgpack.codec().encode(values).buffer);
  const subscribed = {
    type: "subscribed",
    id: 1,
    sub: 7,
    channel: "book",
    instrument: "V:X",
    price_exp: -2,
    size_exp: -8,
    ref: {},
    resumed: false,
  };
  const codecOf = (format) => {
    const codec = format.codec();
    if (format === json) codec.decode(JSON.stringify(subscribed));
    return codec;
  };
  const decode = (format, messages) => () => {
    const codec = codecOf(format);
    for (const message of messages) codec.decode(message);
  };
  const whole = (format, messages) => () => {
    const codec = codecOf(format);
    const clock = { now: () => 0, after: () => () => {} };
    const book = new Book({ channel: "book", instrument: "V:X", view: {} }, { now: () => 0, release() {} });
    const engine = new BookEngine(book, { clock, policy: POLICY, random: () => 0, stats: sum([]), recover() {}, again() {} });
    engine.accept(subscribed);
    for (const message of messages) for (const each of codec.decode(message)) engine.take(each);
    if (!book.trusted || book.seq !== messages.length) throw new Error(`the book is ${book.state} at ${book.seq}`);
  };
  const count = text.length;
  return {
    "JSON.parse alone": perSecond(count, () => text.forEach((each) => JSON.parse(each))),
    "JSON, decoded": perSecond(count, decode(json, text)),
    "JSON, decoded, applied, checked": perSecond(count, whole(json, text)),
    "MessagePack, decoded": perSecond(count, decode(msgpack, packed)),
    "MessagePack, decoded, applied, checked": perSecond(count, whole(msgpack, packed)),
  };
}
