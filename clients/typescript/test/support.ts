import { POLICY } from "../src/backoff.js";
import type { Session, Stats } from "../src/session.js";
import { FakeClock } from "../src/testing.js";

/** A session that notes what a subscription asks to recover. */
export function watching(): { session: Session; asked: number[]; clock: FakeClock } {
  const asked: number[] = [];
  const clock = new FakeClock();
  const stats = new Proxy({}, { get: (counts: Record<string, number>, name: string) => counts[name] ?? 0 }) as unknown as Stats;
  const session: Session = {
    clock,
    policy: POLICY,
    random: () => 0,
    stats,
    recover: (_subscription, from) => asked.push(from),
    unsubscribe: () => {},
    again: () => {},
  };
  return { session, asked, clock };
}
