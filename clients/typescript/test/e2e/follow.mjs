// Follows books and tells of each change, in Node and in a page: what they held at a number, to be compared with another client.

/** `wanted`: `urls`, `format`, `lines`, `token`, `views` (each `[instrument, options]`). `say` takes one line of JSON. */
export function follow({ connect, json, msgpack }, wanted, say) {
  const { urls, format, lines, token, views, ...rest } = wanted;
  const client = connect(urls, {
    format: format === "json" ? json : msgpack,
    ...(lines > 1 ? { lines } : {}),
    ...(token ? { token } : {}),
    ...rest,
  });
  client.on("state", (state, reason) => say({ state, reason }));
  client.on("warning", (warning) => say({ warning }));
  for (const [view, [instrument, options]] of views.entries()) {
    const book = client.book(instrument, options);
    const tell = (kind) => {
      const { epoch, seq } = book;
      say({ view, kind, state: book.state, epoch, seq, bids: [...book.bids].flat(), asks: [...book.asks].flat() });
    };
    book.on("change", ({ kind }) => tell(kind));
    book.on("state", (state) => say({ view, told: state, code: book.code }));
    book.on("end", (error) => error && say({ view, ended: String(error) }));
  }
  const trades = client.trades(views[0][0]);
  let last = null;
  trades.on("trade", ({ seq }) => {
    if (last !== null && seq !== last + 1) say({ warning: `trade ${seq} came after ${last}` });
    last = seq;
  });
  return { client, stats: () => say({ stats: { ...client.stats }, trade: last, lost: trades.lost }) };
}
