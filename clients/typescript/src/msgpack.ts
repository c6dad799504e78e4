import { control, inOrder, integer, more } from "./checks.js";
import { ContractBroken } from "./errors.js";
import type { Codec, Data, Format, Heartbeat, Message, Quote, TradeEntry } from "./messages.js";

/** Binary frames, the default: smaller and faster, numbers as integers. */
export const msgpack: Format = { protocol: "mdstream.v1.msgpack", codec: () => codec };

const codec: Codec = {
  encode(command) {
    return encode(command);
  },
  decode(data) {
    if (typeof data === "string") throw new ContractBroken("a text frame came, but the format is MessagePack");
    const reader = new Reader(data);
    const messages: Message[] = [];
    while (!reader.done) {
      const message = reader.message();
      if (message !== null) messages.push(message);
    }
    return messages;
  },
};

const DELTA = 1;
const SNAPSHOT = 2;
const TRADES = 3;
const TICKER = 4;
const HEARTBEAT = 5;
/** How many values a data message of each type has at least. */
const FIELDS = [1, 8, 9, 6, 11, 3];

const text = new TextDecoder("utf-8", { fatal: true });
/** An event of a topic may hold values that are nested 64 deep. */
const MOST_DEEP = 80;
const SHORT = 24;

function twos(flat: number[]): [number, number][] {
  const result: [number, number][] = [];
  for (let i = 0; i < flat.length; i += 2) result.push([flat[i]!, flat[i + 1]!]);
  return result;
}

/** Reads what the contract uses of MessagePack: no extension types. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #depth = 0;

  constructor(data: ArrayBuffer) {
    this.#bytes = new Uint8Array(data);
    this.#view = new DataView(data);
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** The next message; null if its type is not known. */
  message(): Message | null {
    const length = this.#arrayLength();
    if (length < 0) return control(this.value());
    const type = length > 0 ? this.value() : null;
    const fields = FIELDS[type as number];
    if (fields !== undefined && length < fields)
      throw new ContractBroken(`a message of type ${String(type)} has ${length} values, not ${fields}`);
    if (fields === undefined) {
      const values = Array.from({ length: Math.max(length - 1, 0) }, () => this.value());
      return more(type, values[0], values);
    }
    const message = this.#data(type);
    for (let rest = length - (message === null ? 1 : fields); rest > 0; rest--) this.value();
    return message;
  }

  #data(type: unknown): Data | Heartbeat | null {
    switch (type) {
      case DELTA:
        return {
          type: "delta",
          sub: this.#integer(),
          first: this.#integer(),
          last: this.#integer(),
          ts: this.#integer(),
          bids: this.#pairs(),
          asks: this.#pairs(),
          crc: this.#integer(),
        };
      case SNAPSHOT:
        return {
          type: "snapshot",
          sub: this.#integer(),
          epoch: this.#integer(),
          seq: this.#integer(),
          ts: this.#integer(),
          bids: this.#pairs(),
          asks: this.#pairs(),
          crc: this.#integer(),
          reason: String(this.value()),
        };
      case TRADES:
        return this.#trades();
      case TICKER:
        return {
          type: "ticker",
          sub: this.#integer(),
          epoch: this.#integer(),
          seq: this.#integer(),
          ts: this.#integer(),
          bid: this.#quote(),
          ask: this.#quote(),
          last: this.#quote(),
        };
      case HEARTBEAT:
        return { type: "heartbeat", time: this.#integer(), seqs: twos(this.#pairs()) };
      default:
        return null;
    }
  }

  #trades(): Data {
    const [sub, epoch, first, last] = [this.#integer(), this.#integer(), this.#integer(), this.#integer()];
    const trades = Array.from({ length: this.#lengthOf("trades") }, (): TradeEntry => {
      if (this.#lengthOf("a trade") !== 6) throw new ContractBroken("a trade has not six values");
      return [this.#integer(), this.#integer(), this.#integer(), this.#integer(), this.#integer(), this.#id()];
    });
    inOrder(trades, first, last);
    return { type: "trades", sub, epoch, first, last, trades };
  }

  #id(): number | string {
    const id = this.value();
    if (typeof id === "bigint") return String(id);
    if (typeof id !== "string") integer(id, "the id of a trade");
    return id as number | string;
  }

  #quote(): Quote | null {
    const [ticks, lots] = [this.value(), this.value()];
    return ticks === null || lots === null ? null : [integer(ticks, "a price"), integer(lots, "a size")];
  }

  #integer(): number {
    const byte = this.#bytes[this.#at];
    if (byte !== undefined && byte < 0x80) {
      this.#at++;
      return byte;
    }
    return integer(this.value(), "a number");
  }

  /** Levels, flat. */
  #pairs(): number[] {
    const length = this.#lengthOf("levels");
    if (length % 2 !== 0) throw new ContractBroken("levels are no array of pairs");
    const numbers: number[] = [];
    for (let i = 0; i < length; i++) numbers.push(this.#integer());
    return numbers;
  }

  #lengthOf(what: string): number {
    const length = this.#arrayLength();
    if (length < 0) throw new ContractBroken(`${what} are no array`);
    if (length > this.#bytes.length - this.#at) throw new ContractBroken("a message ends in the middle of a value");
    return length;
  }

  /** Reads the head of an array; -1, and reads nothing, if what comes is none. */
  #arrayLength(): number {
    const byte = this.#bytes[this.#at]!;
    if (byte >= 0x90 && byte < 0xa0) return this.#bytes[this.#take(1)]! & 15;
    if (byte !== 0xdc && byte !== 0xdd) return -1;
    this.#take(1);
    return byte === 0xdc ? this.#uint16() : this.#uint32();
  }

  value(): unknown {
    const at = this.#take(1);
    const byte = this.#bytes[at]!;
    if (byte < 0x80) return byte;
    if (byte < 0x90) return this.#map(byte & 15);
    if (byte < 0xa0) return this.#array(byte & 15);
    if (byte < 0xc0) return this.#string(byte & 31);
    if (byte >= 0xe0) return byte - 256;
    const view = this.#view;
    switch (byte) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#binary(this.#uint8());
      case 0xca:
        return view.getFloat32(this.#take(4));
      case 0xcb:
        return view.getFloat64(this.#take(8));
      case 0xcc:
        return this.#uint8();
      case 0xcd:
        return this.#uint16();
      case 0xce:
        return this.#uint32();
      case 0xcf:
        return this.#wide(view.getUint32(this.#take(4)));
      case 0xd0:
        return view.getInt8(this.#take(1));
      case 0xd1:
        return view.getInt16(this.#take(2));
      case 0xd2:
        return view.getInt32(this.#take(4));
      case 0xd3:
        return this.#wide(view.getInt32(this.#take(4)));
      case 0xd9:
        return this.#string(this.#uint8());
      case 0xda:
        return this.#string(this.#uint16());
      case 0xdb:
        return this.#string(this.#uint32());
      case 0xdc:
        return this.#array(this.#uint16());
      case 0xdd:
        return this.#array(this.#uint32());
      case 0xde:
        return this.#map(this.#uint16());
      case 0xdf:
        return this.#map(this.#uint32());
      default:
        throw new ContractBroken(`byte 0x${byte.toString(16)} begins no MessagePack value of the contract`);
    }
  }

  #uint8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  #uint16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  #uint32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  /** A `bigint` beyond 2^53: a trade's id, or something of the publisher's in `ref`. */
  #wide(high: number): number | bigint {
    const low = this.#uint32();
    const value = high * 2 ** 32 + low;
    return Number.isSafeInteger(value) ? value : (BigInt(high) << 32n) | BigInt(low);
  }

  /** The position of the next `count` bytes, which are there. */
  #take(count: number): number {
    const at = this.#at;
    if (count > this.#bytes.length - at) throw new ContractBroken("a message ends in the middle of a value");
    this.#at = at + count;
    return at;
  }

  #string(length: number): string {
    const at = this.#take(length);
    if (length < SHORT) {
      // For so few characters this is faster than a decoder.
      let short = "";
      for (let i = at; i < at + length && this.#bytes[i]! < 0x80; i++) short += String.fromCharCode(this.#bytes[i]!);
      if (short.length === length) return short;
    }
    try {
      return text.decode(this.#bytes.subarray(at, at + length));
    } catch {
      throw new ContractBroken("a text is not UTF-8");
    }
  }

  #binary(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  #array(length: number): unknown[] {
    this.#enter(length);
    const array = new Array<unknown>(length);
    for (let i = 0; i < length; i++) array[i] = this.value();
    this.#depth--;
    return array;
  }

  #map(length: number): Record<string, unknown> {
    this.#enter(2 * length);
    const map: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = String(this.value());
      const value = this.value();
      if (key !== "__proto__") map[key] = value; // It would set the map's prototype.
    }
    this.#depth--;
    return map;
  }

  /** Each value takes a byte at least, so a length that cannot be true allocates nothing. */
  #enter(values: number): void {
    if (values > this.#bytes.length - this.#at) throw new ContractBroken("a message ends in the middle of a value");
    if (++this.#depth > MOST_DEEP) throw new ContractBroken(`a message is nested more than ${MOST_DEEP} deep`);
  }
}

/** MessagePack of a command, each value in its shortest form. */
function encode(value: unknown): Uint8Array<ArrayBuffer> {
  const out: number[] = [];
  write(out, value);
  return Uint8Array.from(out);
}

const utf8 = new TextEncoder();

function write(out: number[], value: unknown): void {
  if (value === null || value === undefined) out.push(0xc0);
  else if (typeof value === "boolean") out.push(value ? 0xc3 : 0xc2);
  else if (typeof value === "number") writeNumber(out, value);
  else if (typeof value === "string") writeString(out, value);
  else if (Array.isArray(value)) {
    writeHead(out, value.length, 0x90, 15, 0xdb);
    for (const item of value) write(out, item);
  } else {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    writeHead(out, entries.length, 0x80, 15, 0xdd);
    for (const [key, item] of entries) {
      writeString(out, key);
      write(out, item);
    }
  }
}

function writeString(out: number[], value: string): void {
  const bytes = utf8.encode(value);
  writeHead(out, bytes.length, 0xa0, 31, 0xd9);
  for (const byte of bytes) out.push(byte);
}

/** A length: in the first byte, or in 8 (which only texts have), 16 or 32 bits after a byte that says so. */
function writeHead(out: number[], length: number, small: number, most: number, wide: number): void {
  if (length <= most) out.push(small | length);
  else {
    const size = length > 0xffff ? 2 : most === 31 && length < 0x100 ? 0 : 1;
    big(out, wide + size, length, 1 << size);
  }
}

function writeNumber(out: number[], value: number): void {
  if (!Number.isSafeInteger(value)) {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, value);
    out.push(0xcb, ...new Uint8Array(bytes.buffer));
  } else if (value >= -32 && value < 0x80) out.push(value & 0xff);
  else {
    const fits = (bits: number) => (value < 0 ? value >= -(2 ** (bits - 1)) : value < 2 ** bits);
    const size = [1, 2, 4, 8].findIndex((bytes) => fits(8 * bytes));
    big(out, (value < 0 ? 0xd0 : 0xcc) + size, value, 1 << size);
  }
}

/** A first byte and an integer, big-endian in two's complement. */
function big(out: number[], head: number, value: number, bytes: number): void {
  out.push(head);
  for (let i = bytes - 1; i >= 0; i--) out.push(Math.floor(value / 2 ** (8 * i)) & 0xff);
}
