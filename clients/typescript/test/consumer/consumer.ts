// An application's view of the built package, without any setting that hides a fault of its types. It is compiled, not run.
import { type BookChange, connect, type Level, type SubscriptionState } from "@mdstream/client";
import { type BoardRow, board } from "@mdstream/client/board";
import { type Candle, candles } from "@mdstream/client/candles";
import { events, publish, type TopicEvent } from "@mdstream/client/events";
import { instruments } from "@mdstream/client/instruments";
import { connect as connectLines } from "@mdstream/client/lines";
import { Conflict, map } from "@mdstream/client/map";
import { presence } from "@mdstream/client/presence";
import { connect as connectShared } from "@mdstream/client/shared";

export async function main(): Promise<void> {
  const client = connect("ws://127.0.0.1:8080/v1/stream", { token: async () => "token" });
  const book = client.book("SIM:BTC-USD", { depth: 20 });
  const stop: () => void = book.on("change", (change: BookChange) => change.bids.length);
  book.on("state", (state: SubscriptionState) => state.length);
  // @ts-expect-error There is no such event.
  book.on("moved", () => {});
  // @ts-expect-error Its user only reads a book.
  book.seq = 5;
  // @ts-expect-error Only the client fills a side.
  book.bids.set(1, 2);
  // @ts-expect-error This client has one line.
  connect("ws://127.0.0.1:8080/v1/stream", { lines: 2 });
  const best: Level | null = (await book.ready()).bestBid;
  for await (const trade of client.trades("SIM:BTC-USD")) {
    const side: "buy" | "sell" | null = trade.side;
    console.log(best, side, trade.skipped);
  }
  for await (const { bid } of client.ticker("SIM:BTC-USD")) console.log(bid?.price);
  board(client, "*").on("change", (rows: readonly BoardRow[], gone: readonly string[]) =>
    gone.includes(rows[0]?.price("last") ?? ""),
  );
  const live: Candle | null = (await candles(client, "SIM:BTC-USD", { span: "1m" }).ready()).live;
  // @ts-expect-error There is no such span.
  candles(client, "SIM:BTC-USD", { span: "2m" });
  console.log(live?.volume, instruments(client).rows.get("SIM:BTC-USD")?.ref.tick);
  const notices = events(client, "desk.notices", { since: 0 });
  notices.on("event", (event: TopicEvent) => notices.acknowledge(event));
  const { seq } = await publish(client, "desk.notices", "notice", { text: "hello" });
  const lot = await map(client, "desk.auction").ready();
  // @ts-expect-error What is there comes from the bus.
  lot.entries.set("bid", 1);
  await lot
    .put("bid", seq, { expect: lot.rev("bid") })
    .catch((error: unknown) => error instanceof Conflict && error.current["bid"]);
  console.log(presence(client, "desk.auction", { join: true }).count);
  connectLines(["ws://a/v1/stream", "ws://b/v1/stream"], { lines: 2 }).lines[0]?.book("SIM:BTC-USD");
  const script = new URL("@mdstream/client/worker", import.meta.url);
  connectShared("ws://a/v1/stream", { worker: () => new SharedWorker(script, { type: "module" }) }).close();
  stop();
}
