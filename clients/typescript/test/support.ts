import { POLICY } from "../src/backoff.js";
import type { Session } from "../src/engine.js";
import { sum } from "../src/stats.js";
import type { Owner } from "../src/subscription.js";
import { FakeClock } from "../src/testing.js";

/** A session that notes what an engine asks to recover. */
export function watching(): { session: Session; owner: Owner; asked: number[]; clock: FakeClock } {
  const asked: number[] = [];
  const clock = new FakeClock();
  const session: Session = {
    clock,
    policy: POLICY,
    random: () => 0,
    stats: sum([]),
    doubt: null,
    recover: (_engine, from) => void asked.push(from),
    again: () => {},
  };
  return { session, owner: { now: () => clock.now(), release: () => {} }, asked, clock };
}
