// `@mdstream/client/board`: the newest prices of many instruments.

import type { Client } from "./api.js";
import { makeBoard } from "./board-engine.js";
import type { Board } from "./board-view.js";
import { open, patternRequest } from "./channel.js";

export type { Board, BoardEvents, BoardRow, BoardState } from "./board-view.js";

export interface BoardOptions {
  /** Least time between messages; 0 (the default) is the gateway's usual one, half a second. */
  intervalMs?: number;
}

/** The board of all instruments that a pattern matches: `*`, `SIM:*`, `SIM:BTC-*`, or a name. */
export function board(client: Client, patterns: string | readonly string[], { intervalMs = 0 }: BoardOptions = {}): Board {
  const request = patternRequest("board", patterns, intervalMs);
  return open(client, request, makeBoard(request));
}
