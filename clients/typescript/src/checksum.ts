import type { Side } from "./side.js";

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

const LEVELS = 10;
const COLON = 58;
const MINUS = 45;
const ZERO = 48;
const digits = new Uint8Array(16);

/** CRC-32 (as zlib) of the text that joins ticks and lots of the best ten levels by colons: bid 1, ask 1, bid 2, … */
export function checksum(bids: Side, asks: Side): number {
  let crc = -1;
  const levels = Math.min(LEVELS, Math.max(bids.length, asks.length));
  for (let i = 0; i < levels; i++) {
    if (i < bids.length) crc = addLevel(crc, bids.ticks(i), bids.lots(i));
    if (i < asks.length) crc = addLevel(crc, asks.ticks(i), asks.lots(i));
  }
  return ~crc >>> 0;
}

function addLevel(crc: number, ticks: number, lots: number): number {
  if (crc !== -1) crc = addByte(crc, COLON);
  return addInteger(addByte(addInteger(crc, ticks), COLON), lots);
}

function addByte(crc: number, byte: number): number {
  return TABLE[(crc ^ byte) & 255]! ^ (crc >>> 8);
}

/** Adds the decimal digits of an integer, without making a string of them. */
function addInteger(crc: number, value: number): number {
  if (value < 0) {
    crc = addByte(crc, MINUS);
    value = -value;
  }
  let count = 0;
  while (value > 0x7fffffff) {
    const rest = Math.floor(value / 10);
    digits[count++] = value - rest * 10;
    value = rest;
  }
  let small = value | 0;
  do {
    const rest = (small / 10) | 0;
    digits[count++] = small - rest * 10;
    small = rest;
  } while (small > 0);
  while (count > 0) crc = addByte(crc, ZERO + digits[--count]!);
  return crc;
}
