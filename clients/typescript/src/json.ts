import { control, inOrder, integer } from "./checks.js";
import { parseDecimal } from "./decimals.js";
import { ContractBroken } from "./errors.js";
import type { Codec, Command, Data, Format, Heartbeat, Message, Quote, TradeEntry } from "./messages.js";

type Level = [price: string, size: string];
interface Scale {
  readonly price: number;
  readonly size: number;
}
/** What JSON.parse returned: anything. */
type Fields = Readonly<Record<string, unknown>>;

/** Text frames: readable in the browser's tools, larger and slower than MessagePack. */
export const json: Format = { protocol: "mdstream.v1.json", codec: () => new JsonCodec() };

/** A trade's id beyond 2^53, which JSON.parse would round: it stands after the taker's side, which stands after a size. */
const LARGE_ID = /(\d",(?:"buy"|"sell"|null),)(-?\d{16,})\]/g;

class JsonCodec implements Codec {
  /** Decimal text says nothing of its exponent when that is above 0: `subscribed` does. */
  readonly #scales = new Map<number, Scale>();

  encode(command: Command): string {
    return JSON.stringify(command);
  }

  decode(data: string | ArrayBuffer): Message[] {
    if (typeof data !== "string") throw new ContractBroken("a binary frame came, but the format is JSON");
    try {
      const message = this.#message(data);
      return message === null ? [] : [message];
    } catch (error) {
      throw error instanceof ContractBroken ? error : new ContractBroken(`a message cannot be read: ${String(error)}`);
    }
  }

  #message(text: string): Message | null {
    const fields = JSON.parse(text) as Fields;
    switch (fields["type"]) {
      case "snapshot":
      case "delta":
        return this.#book(fields);
      case "trades":
        return this.#trades(text.search(LARGE_ID) < 0 ? fields : (JSON.parse(text.replace(LARGE_ID, largeId)) as Fields));
      case "ticker":
        return this.#ticker(fields);
      case "heartbeat":
        for (const pair of fields["seqs"] as unknown[][]) for (const each of pair) integer(each, "seqs");
        return fields as unknown as Heartbeat;
    }
    const message = control(fields);
    if (message?.type === "subscribed") {
      this.#scales.set(message.sub, { price: message.price_exp ?? 0, size: message.size_exp ?? 0 });
    } else if (message?.type === "unsubscribed") for (const sub of message.subs) this.#scales.delete(sub);
    return message;
  }

  #book(fields: Fields): Data {
    const scale = this.#scale(fields);
    const numbers = fields["type"] === "delta" ? ["first", "last", "ts"] : ["epoch", "seq", "ts"];
    for (const name of numbers) integer(fields[name], name);
    const bids = flat(fields["bids"] as Level[], scale);
    const asks = flat(fields["asks"] as Level[], scale);
    return { ...fields, bids, asks } as unknown as Data;
  }

  #trades(fields: Fields): Data {
    const scale = this.#scale(fields);
    const trades = (fields["trades"] as [number, number, string, string, unknown, number | string][]).map(
      ([seq, ts, price, size, side, id]): TradeEntry => [
        integer(seq, "seq"),
        integer(ts, "ts"),
        parseDecimal(price, scale.price),
        parseDecimal(size, scale.size),
        side === "buy" ? 1 : side === "sell" ? 2 : 0,
        id,
      ],
    );
    integer(fields["epoch"], "epoch");
    inOrder(trades, integer(fields["first"], "first"), integer(fields["last"], "last"));
    return { ...fields, trades } as unknown as Data;
  }

  #ticker(fields: Fields): Data {
    const scale = this.#scale(fields);
    for (const name of ["epoch", "seq", "ts"]) integer(fields[name], name);
    const quote = (name: string) => (fields[name] === null ? null : (flat([fields[name] as Level], scale) as Quote));
    return { ...fields, bid: quote("bid"), ask: quote("ask"), last: quote("last") } as unknown as Data;
  }

  #scale({ sub }: Fields): Scale {
    const scale = this.#scales.get(sub as number);
    if (scale === undefined) throw new ContractBroken(`data came for subscription ${String(sub)}, which was not confirmed`);
    return scale;
  }
}

function largeId(whole: string, before: string, id: string): string {
  return Number.isSafeInteger(Number(id)) ? whole : `${before}"${id}"]`;
}

function flat(levels: Level[], scale: Scale): number[] {
  const numbers: number[] = [];
  for (const [price, size] of levels) numbers.push(parseDecimal(price, scale.price), parseDecimal(size, scale.size));
  return numbers;
}
