/** One side of a book: prices in ticks and sizes in lots, in order. Index 0 is the best level. */
export class Side implements Iterable<[ticks: number, lots: number]> {
  // Worst first, as `sign · ticks` ascending: most changes are near the best price, so little moves.
  #keys = new Float64Array(64);
  #lots = new Float64Array(64);
  #length = 0;
  readonly #sign: 1 | -1;

  /** @internal @param sign 1 for bids (the highest price is the best), -1 for asks. */
  constructor(sign: 1 | -1) {
    this.#sign = sign;
  }

  get length(): number {
    return this.#length;
  }

  /** Price of level `index` in ticks; NaN beyond the end. */
  ticks(index: number): number {
    return this.#has(index) ? this.#sign * this.#keys[this.#length - 1 - index]! + 0 : NaN;
  }

  /** Size of level `index` in lots; NaN beyond the end. */
  lots(index: number): number {
    return this.#has(index) ? this.#lots[this.#length - 1 - index]! : NaN;
  }

  /** Size at a price, in lots; 0 if there is no such level. */
  lotsAt(ticks: number): number {
    const at = this.#find(this.#sign * ticks);
    return at < this.#length && this.#keys[at] === this.#sign * ticks ? this.#lots[at]! : 0;
  }

  *[Symbol.iterator](): IterableIterator<[number, number]> {
    for (let i = 0; i < this.#length; i++) yield [this.ticks(i), this.lots(i)];
  }

  /** @internal Sets the size at a price; 0 deletes the level. Deleting a level that is not there does nothing. */
  set(ticks: number, lots: number): void {
    const key = this.#sign * ticks;
    const at = this.#find(key);
    const found = at < this.#length && this.#keys[at] === key;
    if (lots === 0) {
      if (found) this.#remove(at);
    } else {
      if (!found) this.#insert(at, key);
      this.#lots[at] = lots;
    }
  }

  /** @internal Sets many, flat. Returns whether all can be levels: no size is negative. */
  put(levels: readonly number[]): boolean {
    let least = 0;
    for (let i = 0; i < levels.length; i += 2) {
      const lots = levels[i + 1]!;
      if (lots < least) least = lots;
      this.set(levels[i]!, lots);
    }
    return least === 0;
  }

  /** @internal */
  clear(): void {
    this.#length = 0;
  }

  #has(index: number): boolean {
    return index >= 0 && index < this.#length;
  }

  /** The first position whose key is not less. */
  #find(key: number): number {
    let low = 0;
    let high = this.#length;
    if (high > 0 && this.#keys[high - 1]! < key) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #insert(at: number, key: number): void {
    if (this.#length === this.#keys.length) this.#grow();
    this.#keys.copyWithin(at + 1, at, this.#length);
    this.#lots.copyWithin(at + 1, at, this.#length);
    this.#keys[at] = key;
    this.#length++;
  }

  #remove(at: number): void {
    this.#keys.copyWithin(at, at + 1, this.#length);
    this.#lots.copyWithin(at, at + 1, this.#length);
    this.#length--;
  }

  #grow(): void {
    const keys = new Float64Array(2 * this.#keys.length);
    const lots = new Float64Array(2 * this.#keys.length);
    keys.set(this.#keys);
    lots.set(this.#lots);
    this.#keys = keys;
    this.#lots = lots;
  }
}

/** All levels, best first, flat. */
export function flat(side: Side): number[] {
  const levels: number[] = [];
  for (let i = 0; i < side.length; i++) levels.push(side.ticks(i), side.lots(i));
  return levels;
}

/** The levels that lead from one view to another, flat; lots 0: the level is not there any more. */
export function difference(from: Side, to: Side): number[] {
  const levels: number[] = [];
  for (const [ticks] of from) if (to.lotsAt(ticks) === 0) levels.push(ticks, 0);
  for (const [ticks, lots] of to) if (from.lotsAt(ticks) !== lots) levels.push(ticks, lots);
  return levels;
}
