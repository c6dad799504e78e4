/** Counts of one client since it was made. */
export interface Stats {
  /** WebSocket messages, and their bytes (in JSON: characters). */
  messages: number;
  bytes: number;
  /** Snapshots, deltas, trades and tickers. */
  updates: number;
  /** How often a number was missing. */
  gaps: number;
  /** `recover` commands sent. */
  recoveries: number;
  /** How often a book did not match its checksum or an update did not fit; and how many checksums were compared. */
  crcErrors: number;
  crcChecked: number;
  /** How often a connection was lost or left, and the client came back. */
  reconnects: number;
  /** Subscriptions that went on after a reconnect without a snapshot. */
  resumes: number;
}

/** The sums of several clients' counts; zeros for none. */
export function sum(all: readonly Readonly<Stats>[]): Stats {
  const total = {
    messages: 0,
    bytes: 0,
    updates: 0,
    gaps: 0,
    recoveries: 0,
    crcErrors: 0,
    crcChecked: 0,
    reconnects: 0,
    resumes: 0,
  };
  for (const one of all) for (const name of Object.keys(total) as (keyof Stats)[]) total[name] += one[name];
  return total;
}
