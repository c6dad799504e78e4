// Prices and sizes travel as integers (ticks and lots). Their decimal value is integer × 10^exponent, and no float is ever made of it.

/** The exact decimal text of `value × 10^exponent`, with exactly `-exponent` decimals. A `bigint` may be of any size. */
export function formatDecimal(value: number | bigint, exponent: number): string {
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw new RangeError(`${value} is no exact integer`);
  if (exponent >= 0) return Number(value) === 0 ? "0" : String(value) + "0".repeat(exponent);
  const negative = value < 0;
  const digits = String(negative ? -value : value).padStart(1 - exponent, "0");
  const point = digits.length + exponent;
  return `${negative ? "-" : ""}${digits.slice(0, point)}.${digits.slice(point)}`;
}

/** The integer of a decimal text that `formatDecimal` could have written. Throws a RangeError for any other text. */
export function parseDecimal(text: string, exponent: number): number {
  const value = digits(text, exponent);
  if (value > Number.MAX_SAFE_INTEGER || Number.isNaN(value)) {
    throw new RangeError(`${JSON.stringify(text)} is no decimal with the exponent ${exponent}`);
  }
  return text.charCodeAt(0) === MINUS ? -value : value;
}

const MINUS = 45;
const POINT = 46;
const ZERO = 48;

/** The integer without its sign; NaN if the text is not in the one form that there is. */
function digits(text: string, exponent: number): number {
  const start = text.charCodeAt(0) === MINUS ? 1 : 0;
  // Digits behind the point, or zeros at the end that the integer does not have.
  const end = exponent > 0 && text !== "0" ? text.length - exponent : text.length;
  const point = exponent < 0 ? text.length - 1 + exponent : end;
  if (point <= start || !text.endsWith("0".repeat(text.length - end))) return NaN;
  if (text.charCodeAt(start) === ZERO && point > start + 1) return NaN;
  let value = 0;
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (i === point) {
      if (code !== POINT) return NaN;
      continue;
    }
    if (!(code >= ZERO && code <= ZERO + 9)) return NaN;
    value = value * 10 + (code - ZERO);
  }
  // There is no -0, and no zero with zeros behind it.
  return value === 0 && (start === 1 || end < text.length) ? NaN : value;
}

/** The sum of ticks or lots, exact also beyond 2^53. */
export function exactSum(values: Iterable<number>): bigint {
  let sum = 0n;
  let part = 0;
  for (const value of values) {
    if (Math.abs(part + value) > Number.MAX_SAFE_INTEGER) {
      sum += BigInt(part);
      part = 0;
    }
    part += value;
  }
  return sum + BigInt(part);
}
