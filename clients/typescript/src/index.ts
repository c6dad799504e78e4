export { POLICY, type Policy } from "./backoff.js";
export { Book, type BookChange, type BookEvents, type Level } from "./book.js";
export { checksum } from "./checksum.js";
export {
  Client,
  connect,
  type BookOptions,
  type ClientEvents,
  type ClientOptions,
  type ClientState,
} from "./client.js";
export type { Clock } from "./clock.js";
export { exactSum, formatDecimal, parseDecimal } from "./decimals.js";
export { MdstreamError } from "./errors.js";
export { json } from "./json.js";
export type { Codec, Command, Format, Limits, Message, Reference, Welcome } from "./messages.js";
export { msgpack } from "./msgpack.js";
export type { Stats } from "./session.js";
export { Side } from "./side.js";
export type { SubscriptionEvents, SubscriptionState } from "./subscription.js";
export { Ticker, type TickerEvents, type TickerQuote, type TickerValue } from "./ticker.js";
export type { TokenSource } from "./token.js";
export { Trades, type Trade, type TradesEvents } from "./trades.js";
export type {
  Connection,
  Transport,
  TransportEvents,
  WebSocketConstructor,
  WebSocketLike,
} from "./transport.js";
export { Updates } from "./updates.js";
