import type { Events } from "../src/events.js";
import { Stage } from "./gateway.js";

export const EPOCH = 1_753_000_000_000_000;
export const HEAD = { type: "subscribed", sub: 11, epoch: EPOCH, resumed: false };
export const EVENTS = { ...HEAD, channel: "events", topic: "desk.a", acknowledge: "none", position: null, newest: 10 };

/** A client that is connected, and has asked for something of a topic; `answer` confirms that. */
export async function asking<View>(ask: (stage: Stage) => View) {
  const stage = new Stage();
  stage.start();
  const view = ask(stage);
  await stage.open();
  const say = (message: object) => stage.net.last.say({ sub: 11, ...message });
  const last = () => stage.net.last.commands.at(-1)!;
  const answer = (message: object) => say({ ...message, id: last()["id"] });
  const reconnect = async () => {
    stage.net.last.closed();
    await stage.clock.advance(1_000);
    await stage.open();
  };
  return { stage, view, say, last, answer, reconnect };
}

export function event(seq: number, prev: number, more: object = {}): object {
  const topic = "desk.a";
  return { type: "event", topic, seq, prev, time: 7, event: "note", data: { n: seq }, sender: "bob", redelivered: false, ...more };
}

export function seqsOf(view: Events): number[] {
  const seqs: number[] = [];
  view.on("event", ({ seq }) => seqs.push(seq));
  return seqs;
}

export const MAP = { ...HEAD, channel: "map", topic: "desk.m", interval_ms: 0, prefix: "" };

export function change(
  prev: number | null,
  seq: number,
  set: Record<string, unknown> = {},
  gone: string[] = [],
  more = {},
): object {
  const rows = Object.fromEntries(Object.entries(set).map(([key, value]) => [key, [value, seq, "bob", 5]]));
  return { type: "map", prev, seq, page: 1, pages: 1, set: rows, delete: gone, ...more };
}
