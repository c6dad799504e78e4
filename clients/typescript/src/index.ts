export type { BookOptions, Client, ClientEvents, ClientOptions, ClientState, LineReport, TickerOptions } from "./api.js";
export { POLICY, type Policy } from "./backoff.js";
export type { Book, BookChange, BookEvents, Level } from "./book.js";
export { checksum } from "./checksum.js";
export type { Clock } from "./clock.js";
export { connect } from "./connect.js";
export { exactSum, formatDecimal, parseDecimal } from "./decimals.js";
export { MdstreamError } from "./errors.js";
export { json } from "./json.js";
export type { Codec, Command, Format, Limits, Message, Reference, Welcome } from "./messages.js";
export { msgpack } from "./msgpack.js";
export type { Side } from "./side.js";
export type { Stats } from "./stats.js";
export type { Subscription, SubscriptionEvents, SubscriptionState } from "./subscription.js";
export type { Ticker, TickerEvents, TickerQuote, TickerValue } from "./ticker.js";
export type { TokenSource } from "./token.js";
export type { Trade, Trades, TradesEvents } from "./trades.js";
export {
  type Connection,
  type Transport,
  type TransportEvents,
  type WebSocketConstructor,
  type WebSocketLike,
  webSocketTransport,
} from "./transport.js";
export type { Updates } from "./updates.js";
