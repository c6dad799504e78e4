import { parseDecimal } from "./decimals.js";
import { ContractBroken } from "./errors.js";
import {
  isControl,
  type Codec,
  type Command,
  type Format,
  type Message,
  type Quote,
  type TradeEntry,
} from "./messages.js";

type Levels = [price: string, size: string][];
type Fields = Record<string, never>;
interface Scale {
  price: number;
  size: number;
}

const SIDES: Record<string, number> = { buy: 1, sell: 2 };

/** Text frames: readable in the browser's tools, larger and slower than MessagePack. */
export const json: Format = { protocol: "mdstream.v1.json", codec: () => new JsonCodec() };

class JsonCodec implements Codec {
  /** Decimal text says nothing of its exponent when that is above 0: `subscribed` does. */
  readonly #scales = new Map<number, Scale>();

  encode(command: Command): string {
    return JSON.stringify(command);
  }

  decode(data: string | ArrayBuffer): Message[] {
    if (typeof data !== "string") throw new ContractBroken("a binary frame came, but the format is JSON");
    try {
      const message = this.#message(JSON.parse(data) as Fields);
      return message === null ? [] : [message];
    } catch (error) {
      throw error instanceof ContractBroken ? error : new ContractBroken(`a message cannot be read: ${String(error)}`);
    }
  }

  #message(fields: Fields): Message | null {
    const type: string = fields["type"]!;
    const message = fields as never;
    switch (type) {
      case "snapshot":
      case "delta":
        return this.#book(message);
      case "trades":
        return this.#trades(message);
      case "ticker":
        return this.#ticker(message);
      case "heartbeat":
        return message;
    }
    if (!isControl(fields)) return null;
    if (fields.type === "subscribed") {
      this.#scales.set(fields.sub, { price: fields.price_exp, size: fields.size_exp });
    }
    return fields;
  }

  #book<T extends { sub: number; bids: Levels; asks: Levels }>(message: T): Message {
    const scale = this.#scale(message.sub);
    return { ...message, bids: flat(message.bids, scale), asks: flat(message.asks, scale) } as never;
  }

  #trades(message: { sub: number; trades: [number, number, string, string, string | null, number | string][] }): Message {
    const scale = this.#scale(message.sub);
    const trades = message.trades.map(
      ([seq, ts, price, size, side, id]): TradeEntry => [
        seq,
        ts,
        parseDecimal(price, scale.price),
        parseDecimal(size, scale.size),
        SIDES[side ?? ""] ?? 0,
        id,
      ],
    );
    return { ...message, trades } as never;
  }

  #ticker(message: { sub: number; bid: Levels[0] | null; ask: Levels[0] | null; last: Levels[0] | null }): Message {
    const scale = this.#scale(message.sub);
    const quote = (level: Levels[0] | null) => (level === null ? null : (flat([level], scale) as Quote));
    return { ...message, bid: quote(message.bid), ask: quote(message.ask), last: quote(message.last) } as never;
  }

  #scale(sub: number): Scale {
    const scale = this.#scales.get(sub);
    if (scale === undefined) throw new ContractBroken(`data came for subscription ${sub}, which was not confirmed`);
    return scale;
  }
}

function flat(levels: Levels, scale: Scale): number[] {
  const numbers: number[] = [];
  for (const [price, size] of levels) numbers.push(parseDecimal(price, scale.price), parseDecimal(size, scale.size));
  return numbers;
}
