// Figures as people read them, and what is computed of them.

const UNITS = ["", "k", "M", "G", "T"];

/** 1234567 → "1.23 M"; a unit follows it, if there is one. */
export function short(value, unit = "") {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  let step = 0;
  while (Math.abs(value) >= 999.5 && step < UNITS.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = step === 0 && Number.isInteger(value) ? 0 : Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  const suffix = UNITS[step] + unit;
  return value.toFixed(digits) + (suffix ? ` ${suffix}` : "");
}

/** Microseconds: "850 µs", "12.4 ms", "1.2 s". */
export function duration(us) {
  if (us === null || us === undefined || Number.isNaN(us)) return "–";
  if (us < 1000) return `${us.toFixed(0)} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(us < 1e7 ? 2 : 1)} s`;
}

/** Seconds: "45 s", "12 min", "3 h 5 min", "2 d 4 h". */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** The age of the venue's last word, from ms; null: never heard. */
export function age(ms) {
  return ms === null || ms === undefined ? "never" : ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : span(ms / 1000);
}

/** Of counts by powers of two (counts[i]: values below 2**i), the value below which a share of them lies; null if there are none. */
export function percentile(counts, share) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total <= 0) return null;
  let left = total * share;
  for (let i = 0; i < counts.length; i += 1) {
    if (counts[i] > 0 && left <= counts[i]) {
      const low = i === 0 ? 0 : 2 ** (i - 1);
      return low + (2 ** i - low) * (left / counts[i]);
    }
    left -= Math.max(counts[i], 0);
  }
  return 2 ** (counts.length - 1);
}
