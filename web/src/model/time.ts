/** The wall clock in ms, as exact as a page may know it; the same for a page and its worker. */
export function wallMs(): number {
  return performance.timeOrigin + performance.now();
}
