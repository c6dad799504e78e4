// @vitest-environment happy-dom
import { act, StrictMode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Board, board } from "../src/board.js";
import { useBook, useClientState, useTicker, useTrades, useView } from "../src/react.js";
import { delta, Stage, snapshot, trades } from "./gateway.js";

let stage: Stage;
let root: Root;
let place: HTMLElement;
let frames: FrameRequestCallback[];
let drawn = 0;

beforeEach(() => {
  (globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  frames = [];
  vi.stubGlobal("requestAnimationFrame", (call: FrameRequestCallback) => frames.push(call));
  vi.stubGlobal("cancelAnimationFrame", (id: number) => void (frames[id - 1] = () => {}));
  stage = new Stage();
  stage.start();
  drawn = 0;
  place = document.createElement("div");
  root = createRoot(place);
});

afterEach(() => {
  act(() => stage.client.close());
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

function frame(): void {
  const due = frames;
  frames = [];
  act(() => due.forEach((call) => call(0)));
}

function Best({ instrument = "SIM:A", levels = 5 }: { instrument?: string; levels?: number }) {
  const book = useBook(stage.client, instrument, { depth: 20, levels });
  drawn++;
  return <p>{`${book.state} ${book.seq} ${book.bids[0]?.size ?? "-"} ${book.asks.length}`}</p>;
}

async function live(element = <Best />): Promise<void> {
  act(() => root.render(<StrictMode>{element}</StrictMode>));
  await act(async () => stage.open());
  act(() => void stage.confirm());
  act(() => void stage.net.last.say(snapshot()));
  frame();
}

test("a book is drawn once per frame, and its state at once", async () => {
  await live();
  expect(place.textContent).toBe("live 100 5 1");
  const before = drawn;
  act(() => {
    for (let seq = 101; seq <= 120; seq++) stage.net.last.say(delta(seq, seq, seq));
  });
  expect([place.textContent, drawn]).toEqual(["live 100 5 1", before]);
  frame();
  expect([place.textContent, drawn - before]).toEqual(["live 120 120 1", 2]); // strict mode draws twice
  act(() => void stage.net.last.closed());
  expect(place.textContent).toBe("disconnected 120 120 1");
});

test("strict mode and a second component subscribe once; the last to go unsubscribes", async () => {
  await live(
    <>
      <Best />
      <Best />
    </>,
  );
  act(() => void vi.advanceTimersByTime(1));
  expect(stage.net.last.commands.map(({ op }) => op)).toEqual(["subscribe"]);
  act(() => root.render(<Best />));
  act(() => void vi.advanceTimersByTime(1));
  expect(stage.net.last.commands.map(({ op }) => op)).toEqual(["subscribe"]);
  act(() => root.unmount());
  vi.advanceTimersByTime(1);
  expect(stage.net.last.commands.map(({ op }) => op)).toEqual(["subscribe", "unsubscribe"]);
});

test("another instrument is another subscription", async () => {
  await live();
  act(() =>
    root.render(
      <StrictMode>
        <Best instrument="SIM:B" />
      </StrictMode>,
    ),
  );
  expect(place.textContent).toBe("pending 0 - 0");
  vi.advanceTimersByTime(1);
  expect(stage.net.last.commands.map(({ op }) => op)).toEqual(["subscribe", "subscribe", "unsubscribe"]);
});

function All() {
  const { trades: newest, lost } = useTrades(stage.client, "SIM:A", 2);
  const { current } = useTicker(stage.client, "SIM:B");
  return <p>{`${useClientState(stage.client)} ${newest.map(({ seq }) => seq).join()} ${lost} ${current?.bid?.price ?? "-"}`}</p>;
}

test("trades, ticker and the client's state", async () => {
  act(() => root.render(<All />));
  expect(place.textContent).toBe("connecting  0 -");
  await act(async () => stage.open());
  const [one, two] = stage.net.last.commands as { id: number; channel: string; instruments: string[] }[];
  act(() => {
    for (const [sub, { id, channel, instruments }] of [one!, two!].entries()) {
      stage.net.last.say({
        type: "subscribed",
        id,
        sub,
        channel,
        instrument: instruments[0],
        price_exp: -2,
        size_exp: 0,
        ref: {},
        resumed: false,
      });
    }
    stage.net.last.say(trades(1, 3, { sub: 0 }));
    stage.net.last.say({ type: "ticker", sub: 1, epoch: 5, seq: 9, ts: 1, bid: ["10.00", "5"], ask: null, last: null });
  });
  frame();
  expect(place.textContent).toBe("open 3,2 0 10.00");
});

test("on a server nothing is asked for", () => {
  expect(renderToString(<Best />)).toBe("<p>pending 0 - 0</p>");
  expect(stage.client.book("SIM:A", { depth: 20 }).seq).toBe(0);
});

const Grouped = () => <p>{useBook(stage.client, "SIM:A", { groupDigits: 4 }).state}</p>;

test("a book by significant figures is asked for as such", async () => {
  act(() => root.render(<Grouped />));
  await act(async () => stage.open());
  expect(stage.net.last.commands).toEqual([
    { id: 1, op: "subscribe", channel: "book", instruments: ["SIM:A"], depth: 0, group_digits: 4, interval_ms: 0 },
  ]);
});

const openBoard = () => board(stage.client, "SIM:*");
const lastPrices = ({ rows }: Board) => [...rows.values()].map((row) => `${row.instrument} ${row.price("last")}`).join();

function Market() {
  const { state, value } = useView(openBoard, lastPrices);
  return <p>{`${state} ${value}`}</p>;
}

test("a board, or what else has no hook of its own", async () => {
  expect(renderToString(<Market />)).toBe("<p>pending null</p>");
  act(() => root.render(<Market />));
  await act(async () => stage.open());
  act(() => {
    const { last } = stage.net;
    last.say({ type: "subscribed", id: 1, sub: 8, channel: "board", instruments: ["SIM:*"], interval_ms: 500, resumed: false });
    last.say({ type: "board_names", sub: 8, names: [[0, "SIM:A", -2, -4]] });
    const row = [0, 1, "99.00", "101.00", "110.00", "100.00", "120.00", "90.00", "1.0000", 5];
    last.say({ type: "board_snapshot", sub: 8, epoch: 3, seq: 4, ts: 7, rows: [row], gone: [] });
  });
  frame();
  expect(place.textContent).toBe("live SIM:A 110.00");
  act(() => root.unmount());
  vi.advanceTimersByTime(1);
  expect(stage.net.last.commands.map(({ op }) => op)).toEqual(["subscribe", "unsubscribe"]);
});
