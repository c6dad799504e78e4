// Each incident is over some time, and none is told to be mended that is not.
import { beforeEach, expect, test } from "vitest";
import { Timeline } from "../src/model/timeline.js";

let now: number;
let timeline: Timeline;

beforeEach(() => {
  now = 0;
  timeline = new Timeline(() => now);
  timeline.book("live", "");
});

const all = () => timeline.incidents.now;

test("a fault, the word of it, the recovery", () => {
  timeline.fault("dropped the connection", 0);
  now = 20;
  timeline.connection("reconnecting");
  timeline.book("disconnected", "");
  now = 300;
  timeline.book("live", "");
  expect(all()).toMatchObject([{ at: 0, told: 20, toldAs: "reconnecting", recovered: 300, how: "" }]);
});

test("silence that ends before anything else is lost is mended by what was held", () => {
  timeline.fault("stalled for 10 s", 0);
  now = 1_500;
  timeline.silence(true);
  now = 2_500;
  timeline.silence(false);
  expect(all()).toMatchObject([{ told: 1_500, toldAs: "nothing arrives", recovered: 2_500, how: "what was held arrived" }]);
});

test("silence that ends with the connection is mended with the book", () => {
  timeline.silence(true);
  now = 4_000;
  timeline.book("disconnected", "");
  timeline.silence(false);
  expect(all()).toMatchObject([{ recovered: null }]);
  timeline.book("live", "");
  expect(all()).toMatchObject([{ recovered: 4_000 }]);
});

test("a fault that nobody was told of is over, and takes no later one for its own", () => {
  timeline.fault("stalled for 10 s", 0);
  now = 35_000;
  timeline.look();
  expect(all()).toMatchObject([{ left: null }]);
  now = 36_000;
  timeline.look();
  expect(all()).toMatchObject([{ told: null, recovered: null, left: 36_000, how: "nothing was wrong" }]);
  timeline.book("stale", "silent");
  expect(all()).toMatchObject([{ told: null }, { what: "stale: silent", told: 36_000 }]);
});

test("one that lasts is mended when it is mended", () => {
  timeline.fault("killed the gateway", 0);
  timeline.connection("reconnecting");
  now = 3_600_000;
  timeline.look();
  timeline.book("live", "");
  expect(all()).toMatchObject([{ told: 0, recovered: 3_600_000 }]);
});

test("two at once are told and mended at once", () => {
  timeline.fault("stalled for 10 s", 0);
  timeline.fault("dropped the connection", 5);
  now = 10;
  timeline.connection("reconnecting");
  now = 900;
  timeline.book("live", "");
  expect(all().map(({ told, recovered }) => [told, recovered])).toEqual([
    [10, 900],
    [10, 900],
  ]);
});

test("another market does not mend what was wrong with this one", () => {
  timeline.book("stale", "venue_silent");
  now = 100;
  timeline.forget();
  timeline.book("pending", "");
  timeline.book("live", "");
  expect(all()).toMatchObject([{ what: "stale: venue_silent", recovered: null, left: 100, how: "another market was chosen" }]);
});

test("a market that is halted is as it should be", () => {
  timeline.book("halted", "venue");
  expect(all()).toEqual([]);
});

test("what was refused did not happen", () => {
  timeline.refused(timeline.fault("killed the gateway", 0));
  expect(all()).toMatchObject([{ what: "killed the gateway", told: null, left: 0, how: "was refused" }]);
});
