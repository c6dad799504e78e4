// A busy connection that says nothing is distrusted, in whichever part of a second the silence began.
import { beforeEach, expect, test } from "vitest";
import { Silence } from "../src/model/silence.js";

let silence: Silence;
let messages: number;
let asked: number[];
let quiet: number[];

beforeEach(() => {
  silence = new Silence(0);
  messages = 0;
  [asked, quiet] = [[], []];
});

/** Ten looks a second, as the page does; so many messages before each. */
function pass(fromMs: number, toMs: number, each: number): void {
  for (let now = fromMs; now < toMs; now += 100) {
    messages += each;
    if (silence.look(messages, true, now)) asked.push(now);
    if (silence.quiet) quiet.push(now);
  }
}

test("the second in which it begins may have had next to no messages", () => {
  pass(0, 1_000, 30);
  silence.second(300);
  messages += 2;
  pass(1_000, 2_000, 0);
  silence.second(2);
  pass(2_000, 3_000, 0);
  silence.second(0);
  expect(asked).toEqual([2_100]);
  expect(quiet[0]).toBe(2_600);
  expect(silence.lasting(3_000)).toBe(2_000);
});

test("what comes ends it", () => {
  pass(0, 1_000, 30);
  silence.second(300);
  pass(1_000, 3_000, 0);
  expect(silence.quiet).toBe(true);
  pass(3_000, 3_100, 1);
  expect(silence.quiet).toBe(false);
});

test("a market with nothing to say is asked once, and then left in peace", () => {
  pass(0, 1_000, 30);
  silence.second(300);
  pass(1_000, 2_100, 0);
  expect(asked).toEqual([2_000]);
  messages++; // the answer
  pass(2_100, 60_000, 0);
  expect(asked).toEqual([2_000]);
  expect(quiet).toEqual([]);
  expect(silence.busy).toBe(false);
});

test("few messages say nothing, and neither does a connection that is not open", () => {
  silence.second(3);
  pass(0, 30_000, 0);
  silence.second(300);
  for (let now = 30_000; now < 40_000; now += 100) expect(silence.look(messages, false, now)).toBe(false);
  expect([asked, quiet, silence.quiet]).toEqual([[], [], false]);
  silence.begin(40_000);
  pass(40_000, 41_000, 0);
  expect(asked).toEqual([]);
});
