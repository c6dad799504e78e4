const SHORT = new Intl.NumberFormat("en", { notation: "compact", minimumSignificantDigits: 4, maximumSignificantDigits: 4 });

/** Four figures and a unit, for what is read at a glance: `6.185K`. */
export function compact(value: number): string {
  return value === 0 ? "0" : SHORT.format(value);
}

/** All figures, with thin spaces between thousands. */
export function spaced(text: string): string {
  return text.replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, "\u2009"));
}

/** A time in ms with its unit; a dash where there is none. */
export function lasting(ms: number | null | undefined): string {
  if (ms == null) return "–";
  return ms < 100 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** What stands alone is a sentence. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
