// `@mdstream/client/candles`: open, high, low, close and volume of spans of time, with history.

import type { Client } from "./api.js";
import { makeCandles } from "./candles-engine.js";
import type { Candles, Span } from "./candles-view.js";
import { open } from "./channel.js";

export { type Candle, type CandleEvents, type Candles, readCandle, type Span } from "./candles-view.js";

export interface CandleOptions {
  /** `1m` is the default. */
  span?: Span;
  /** How many closed candles before the live one; at most 1,000, 300 is the default. */
  history?: number;
}

/** The candles of an instrument. They need `mdstream candles` on the bus; without it the gateway says that they are unavailable. */
export function candles(client: Client, instrument: string, { span = "1m", history = 300 }: CandleOptions = {}): Candles {
  const request = { channel: "candles", instrument, view: { span, history } };
  return open(client, request, makeCandles(request));
}
