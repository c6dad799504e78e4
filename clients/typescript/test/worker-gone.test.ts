// Nothing comes from a worker that is gone: what its pages show is not live, and they make another one.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Stage, snapshot } from "./gateway.js";
import { hostOf, Tab } from "./tabs.js";

/** As the browser's: each lock has one holder, and the others wait. */
class FakeLocks {
  readonly #held = new Map<string, () => void>();
  readonly #waiting = new Map<string, (() => void)[]>();

  request(name: string, second: unknown, third?: () => unknown): Promise<unknown> {
    const [{ signal }, callback] = (third === undefined ? [{}, second] : [second, third]) as [
      { signal?: AbortSignal },
      () => unknown,
    ];
    return new Promise((resolve, reject) => {
      const give = () => {
        if (signal?.aborted) return reject(signal.reason);
        this.#held.set(name, () => {});
        const end = callback();
        if (end instanceof Promise) void end.then(resolve);
        else this.free(name);
      };
      if (this.#held.has(name)) this.#waiting.set(name, [...(this.#waiting.get(name) ?? []), give]);
      else give();
    });
  }

  /** Its holder is gone. */
  free(name: string): void {
    this.#held.delete(name);
    this.#waiting.get(name)?.shift()?.();
  }
}

let stage: Stage;
let locks: FakeLocks;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  stage = new Stage();
  locks = new FakeLocks();
  vi.stubGlobal("navigator", { locks });
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function newHost(lock: string) {
  void locks.request(lock, () => new Promise(() => {}));
  return hostOf(stage, 0, { own: Promise.resolve(lock), watch() {} });
}

async function confirmed(): Promise<void> {
  await stage.open();
  stage.confirm();
  stage.net.last.say(snapshot());
  await stage.clock.advance(0);
}

test("its pages are disconnected at once, and go on with another worker", async () => {
  const tab = new Tab(newHost("one"));
  const book = tab.client.book("SIM:A");
  await confirmed();
  expect([book.state, tab.client.state]).toEqual(["live", "open"]);
  const messages = tab.client.stats.messages;
  tab.host = newHost("two");
  locks.free("one");
  expect([book.state, book.reason, tab.client.state]).toEqual(["disconnected", "the shared worker is gone", "reconnecting"]);
  expect([tab.workers, book.seq]).toEqual([1, 100]);
  vi.advanceTimersByTime(250);
  expect(tab.workers).toBe(2);
  await confirmed();
  expect([book.state, book.seq, tab.client.state]).toEqual(["live", 100, "open"]);
  expect([tab.client.stats.messages > messages, tab.client.stats.reconnects]).toEqual([true, 1]);
});

test("a page that was left does not wait for the worker's end", async () => {
  const tab = new Tab(newHost("one"));
  for (let i = 0; i < 2; i++) await stage.clock.advance(0); // it knows the lock
  tab.client.leave();
  locks.free("one");
  vi.advanceTimersByTime(60_000);
  expect([tab.workers, tab.client.state]).toEqual([1, "connecting"]);
});

test("a script that cannot be loaded is told, and asked for again less and less often", async () => {
  const silent = { attach() {} } as unknown as Tab["host"];
  const tab = new Tab(silent);
  const book = tab.client.book("SIM:A");
  for (const [workers, delay] of [
    [1, 250],
    [2, 500],
    [3, 1_000],
  ] as const) {
    expect(tab.workers).toBe(workers);
    tab.fail();
    expect([tab.client.state, tab.client.reason]).toEqual(["reconnecting", "the script of the shared worker cannot be loaded"]);
    vi.advanceTimersByTime(delay - 1);
    expect(tab.workers).toBe(workers);
    if (workers === 3) tab.host = newHost("one");
    vi.advanceTimersByTime(1);
  }
  await confirmed();
  expect([book.state, tab.client.state]).toEqual(["live", "open"]);
});

test("a worker that does not answer is given up", async () => {
  const tab = new Tab({ attach() {} } as unknown as Tab["host"]);
  const book = tab.client.book("SIM:A");
  vi.advanceTimersByTime(9_999);
  expect([tab.client.state, tab.workers]).toEqual(["connecting", 1]);
  tab.host = newHost("one");
  vi.advanceTimersByTime(1);
  expect([tab.client.state, tab.client.reason]).toEqual(["reconnecting", "the shared worker does not answer"]);
  vi.advanceTimersByTime(250);
  await confirmed();
  expect([book.state, tab.workers]).toEqual(["live", 2]);
  vi.advanceTimersByTime(60_000);
  expect([book.state, tab.workers]).toEqual(["live", 2]);
});

test("a client that was closed meanwhile makes no other worker", () => {
  const tab = new Tab(newHost("one"));
  tab.fail();
  tab.client.close();
  vi.advanceTimersByTime(60_000);
  expect([tab.workers, tab.client.state]).toEqual([1, "closed"]);
});
