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
      const message = toMessage(reader.value());
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

function toMessage(value: unknown): Message | null {
  if (!Array.isArray(value)) {
    return typeof value === "object" && value !== null && isControl(value) ? value : null;
  }
  const f = value as never[];
  switch (value[0]) {
    case DELTA:
      expect(value, 8);
      return { type: "delta", sub: f[1]!, first: f[2]!, last: f[3]!, ts: f[4]!, bids: pairs(f[5]), asks: pairs(f[6]), crc: f[7]! };
    case SNAPSHOT:
      expect(value, 9);
      return {
        type: "snapshot",
        sub: f[1]!,
        epoch: f[2]!,
        seq: f[3]!,
        ts: f[4]!,
        bids: pairs(f[5]),
        asks: pairs(f[6]),
        crc: f[7]!,
        reason: f[8]!,
      };
    case TRADES:
      expect(value, 6);
      return { type: "trades", sub: f[1]!, epoch: f[2]!, first: f[3]!, last: f[4]!, trades: f[5] as unknown as TradeEntry[] };
    case TICKER:
      expect(value, 11);
      return {
        type: "ticker",
        sub: f[1]!,
        epoch: f[2]!,
        seq: f[3]!,
        ts: f[4]!,
        bid: quote(f[5], f[6]),
        ask: quote(f[7], f[8]),
        last: quote(f[9], f[10]),
      };
    case HEARTBEAT:
      expect(value, 3);
      return { type: "heartbeat", time: f[1]!, seqs: twos(pairs(f[2])) };
    default:
      return null;
  }
}

function expect(value: unknown[], length: number): void {
  if (value.length < length) throw new ContractBroken(`a message of type ${String(value[0])} has ${value.length} fields, not ${length}`);
}

function pairs(value: unknown): number[] {
  if (!Array.isArray(value) || value.length % 2 !== 0) throw new ContractBroken("levels are no array of pairs");
  return value as number[];
}

function quote(ticks: number | null | undefined, lots: number | null | undefined): Quote | null {
  return ticks == null || lots == null ? null : [ticks, lots];
}

function twos(flat: number[]): [number, number][] {
  const result: [number, number][] = [];
  for (let i = 0; i < flat.length; i += 2) result.push([flat[i]!, flat[i + 1]!]);
  return result;
}

const text = new TextDecoder("utf-8", { fatal: true });
const MOST_DEEP = 16;

/** Reads what the contract uses of MessagePack: no extension types; integers up to 2^53. */
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

  #wide(high: number): number {
    const value = high * 2 ** 32 + this.#uint32();
    if (!Number.isSafeInteger(value)) throw new ContractBroken(`an integer is beyond 2^53: about ${value}`);
    return value;
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
    writeHead(out, value.length, 0x90, 15, [0xdc, 0xdd]);
    for (const item of value) write(out, item);
  } else if (typeof value === "object") {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    writeHead(out, entries.length, 0x80, 15, [0xde, 0xdf]);
    for (const [key, item] of entries) {
      writeString(out, key);
      write(out, item);
    }
  } else throw new TypeError(`a command cannot hold a ${typeof value}`);
}

function writeString(out: number[], value: string): void {
  const bytes = utf8.encode(value);
  if (bytes.length > 31 && bytes.length < 256) out.push(0xd9, bytes.length);
  else writeHead(out, bytes.length, 0xa0, 31, [0xda, 0xdb]);
  for (const byte of bytes) out.push(byte);
}

/** A length: in the first byte, in 16 bits, or in 32. */
function writeHead(out: number[], length: number, small: number, most: number, [two, four]: [number, number]): void {
  if (length <= most) out.push(small | length);
  else if (length < 0x10000) big(out, two, length, 2);
  else big(out, four, length, 4);
}

function writeNumber(out: number[], value: number): void {
  if (!Number.isSafeInteger(value)) {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, value);
    out.push(0xcb, ...new Uint8Array(bytes.buffer));
  } else if (value >= 0) {
    if (value < 0x80) out.push(value);
    else if (value < 0x100) out.push(0xcc, value);
    else if (value < 0x10000) big(out, 0xcd, value, 2);
    else if (value < 0x100000000) big(out, 0xce, value, 4);
    else big(out, 0xcf, value, 8);
  } else if (value >= -32) out.push(value & 0xff);
  else if (value >= -0x80) big(out, 0xd0, value, 1);
  else if (value >= -0x8000) big(out, 0xd1, value, 2);
  else if (value >= -0x80000000) big(out, 0xd2, value, 4);
  else big(out, 0xd3, value, 8);
}

/** A first byte and an integer, big-endian in two's complement. */
function big(out: number[], head: number, value: number, bytes: number): void {
  out.push(head);
  for (let i = bytes - 1; i >= 0; i--) out.push(Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));
}
