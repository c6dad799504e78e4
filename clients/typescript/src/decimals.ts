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
  const value = exponent > 0 && text !== "0" ? text.slice(0, -exponent) : text.replace(".", "");
  const integer = Number(value) + 0;
  if (!Number.isSafeInteger(integer) || formatDecimal(integer, exponent) !== text) {
    throw new RangeError(`${JSON.stringify(text)} is no decimal with the exponent ${exponent}`);
  }
  return integer;
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
