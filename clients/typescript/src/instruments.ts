// `@mdstream/client/instruments`: which instruments there are.

import type { Client } from "./api.js";
import { open, patternRequest } from "./channel.js";
import { makeInstruments } from "./instruments-engine.js";
import type { Instruments } from "./instruments-view.js";

export type { InstrumentRow, Instruments, InstrumentsEvents } from "./instruments-view.js";

export interface InstrumentsOptions {
  /** Least time between messages of changes; 0 (the default) is the gateway's usual one, a second. */
  intervalMs?: number;
}

/** All instruments that a pattern matches: `*`, `SIM:*`, `SIM:BTC-*`, or a name. */
export function instruments(
  client: Client,
  patterns: string | readonly string[] = "*",
  { intervalMs = 0 }: InstrumentsOptions = {},
): Instruments {
  const request = patternRequest("instruments", patterns, intervalMs);
  return open(client, request, makeInstruments(request));
}
