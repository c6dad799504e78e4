// @vitest-environment happy-dom
// What came before a pause says nothing of now: nothing looks live until the gateway has answered.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Book } from "../src/index.js";
import { delta, Stage, snapshot } from "./gateway.js";

let stage: Stage;
let book: Book;
let seen: string[];
let visibility = "visible";

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
  vi.spyOn(document, "visibilityState", "get").mockImplementation(() => visibility as DocumentVisibilityState);
  visibility = "visible";
  stage = new Stage();
  book = stage.start().book("SIM:A");
  await stage.open();
  stage.confirm();
  stage.net.last.say(snapshot());
  seen = [];
  book.on("state", (state) => seen.push(state));
});

afterEach(() => {
  stage.client.close();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** The machine sleeps: no timer runs, the monotonic clock stands still, the wall clock goes on. */
function sleep(ms: number): void {
  vi.setSystemTime(Date.now() + ms);
}

function wakeUp(): void {
  sleep(60_000);
  vi.advanceTimersByTime(1_000);
}

function pong(): void {
  const { id, op } = stage.net.last.commands.at(-1)!;
  expect(op).toBe("ping");
  stage.net.last.say({ type: "pong", id, time: 0 });
}

const cached = () => Object.assign(new Event("pageshow"), { persisted: true });

test.each([
  ["offline", () => dispatchEvent(new Event("offline"))],
  ["out of the back-forward cache", () => dispatchEvent(cached())],
  ["frozen", () => document.dispatchEvent(new Event("resume"))],
  ["asleep", wakeUp],
])("a page that was %s shows nothing as live until the gateway answers", (_, pause) => {
  pause();
  expect([book.state, book.reason, book.trusted]).toEqual(["recovering", "nothing has come since a pause", false]);
  pong();
  expect([book.state, book.reason, seen]).toEqual(["live", null, ["recovering", "live"]]);
});

test.each([
  ["shown for the first time", () => dispatchEvent(new Event("pageshow"))],
  ["online", () => dispatchEvent(new Event("online"))],
  ["seen again", () => document.dispatchEvent(new Event("visibilitychange"))],
])("one that is %s asks, and stays live", async (_, pause) => {
  pause();
  expect(stage.net.last.commands.at(-1)).toMatchObject({ op: "ping" });
  stage.net.last.say(delta(101, 101, 6)); // without an answer, anything that comes will do
  await stage.clock.advance(4_000);
  expect([book.state, seen]).toEqual(["live", []]);
});

test("what was held since before the pause is applied, but is no sign of now", async () => {
  dispatchEvent(cached());
  stage.net.last.say(delta(101, 101, 6));
  expect([book.state, book.seq, book.bestBid?.size]).toEqual(["recovering", 101, "6"]);
  await stage.clock.advance(3_000);
  stage.net.last.say(delta(102, 102, 7));
  expect([book.state, stage.net.connections.length]).toEqual(["recovering", 1]);
  await stage.clock.advance(3_000);
  expect([book.state, stage.net.connections.length]).toEqual(["recovering", 1]);
  await stage.clock.advance(3_000);
  expect([stage.net.connections.length, seen]).toEqual([2, ["recovering", "disconnected"]]);
});

test("the gateway's own word comes back with its code", () => {
  stage.net.last.say({ type: "state", sub: 7, state: "stale", code: "silent", age_ms: 31_000 });
  dispatchEvent(new Event("offline"));
  expect([book.state, book.code]).toEqual(["recovering", null]);
  pong();
  expect([book.state, book.code, seen]).toEqual(["stale", "silent", ["stale", "recovering", "stale"]]);
});

test("a hidden page whose timers come late asks, but takes nothing back", () => {
  visibility = "hidden";
  wakeUp();
  expect([book.state, stage.net.last.commands.at(-1)?.["op"]]).toEqual(["live", "ping"]);
});

test("a page that slept and is shown before its timers run doubts at once", () => {
  visibility = "hidden";
  sleep(60_000);
  visibility = "visible";
  document.dispatchEvent(new Event("visibilitychange"));
  expect(book.state).toBe("recovering");
});

test("a doubt does not outlast its connection", async () => {
  dispatchEvent(cached());
  stage.net.last.closed();
  await stage.clock.advance(250);
  await stage.open();
  stage.confirm({ resumed: true });
  expect(book.state).toBe("live");
});

test("a closed client listens to the page no more", () => {
  stage.client.close();
  const sent = stage.net.last.commands.length;
  dispatchEvent(new Event("online"));
  document.dispatchEvent(new Event("resume"));
  wakeUp();
  expect(stage.net.last.commands.length).toBe(sent);
});
