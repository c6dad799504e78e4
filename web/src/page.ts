// The parts of the page, made once.

import { readAddress } from "./model/address.js";
import { Bars } from "./model/bars.js";
import { Feed } from "./model/feed.js";
import { Market } from "./model/market.js";
import { change, isNew, settings } from "./model/settings.js";
import { Watch } from "./model/watch.js";

export interface Page {
  readonly feed: Feed;
  readonly market: Market;
  readonly bars: Bars;
  readonly watch: Watch;
}

export function makePage(): Page {
  const address = readAddress();
  // A demo has just begun: its minutes would be one candle.
  if (address.demo && isNew) change({ span: "1s" });
  const feed = new Feed(address);
  const market = new Market(feed);
  const bars = new Bars(market);
  const watch = new Watch(feed);
  chooseFirst(market, watch);
  watch.rows.watch((rows) => (market.lastKnown = rows.get(market.instrument.now)?.last ?? null));
  return { feed, market, bars, watch };
}

/** The page opens on a live market: the last one seen, or the first that there is. */
function chooseFirst(market: Market, watch: Watch): void {
  const { instruments } = market.feed.address;
  const kept = settings.now.instrument;
  const known = instruments.includes(kept) ? kept : instruments[0];
  if (known !== undefined) return market.select(known);
  const stop = watch.rows.watch((rows) => {
    if (market.instrument.now !== "" || rows.size === 0) return;
    stop();
    market.select(rows.has(kept) ? kept : [...rows.keys()].sort()[0]!);
  });
}
