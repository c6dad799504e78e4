// Times as a person reads them: local ones, but days of the market are days of UTC.

const DAY_S = 86_400;
const LOCAL_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const UTC_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const UTC_DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const UTC_MONTH = new Intl.DateTimeFormat("en-GB", { month: "short", timeZone: "UTC" });

const two = (n: number) => (n < 10 ? `0${n}` : String(n));

/** To the millisecond. */
export function clockText(us: number): string {
  const date = new Date(us / 1000);
  return `${minuteText(date)}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** What stands at the axis under candles of this span: the time, or the day where one begins. */
export function axisText(startS: number, spanS: number): string {
  const date = new Date(startS * 1000);
  if (spanS >= DAY_S) return dayText(date);
  const ofDay = date.getHours() * 3600 + date.getMinutes() * 60 + date.getSeconds();
  if (ofDay === 0) return LOCAL_DAY.format(date);
  return ofDay % 60 === 0 ? minuteText(date) : `${minuteText(date)}:${two(date.getSeconds())}`;
}

/** The begin of a candle of this span, in full. */
export function startText(startS: number, spanS: number): string {
  const date = new Date(startS * 1000);
  if (spanS >= DAY_S) return UTC_DATE.format(date);
  const seconds = spanS < 60 ? `:${two(date.getSeconds())}` : "";
  return `${LOCAL_DAY.format(date)} ${minuteText(date)}${seconds}`;
}

/** For how long something has been so. */
export function spanText(ms: number): string {
  const minutes = Math.max(1, Math.round(ms / 60_000));
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

function dayText(date: Date): string {
  if (date.getUTCDate() > 1) return UTC_DAY.format(date);
  return date.getUTCMonth() === 0 ? String(date.getUTCFullYear()) : UTC_MONTH.format(date);
}

function minuteText(date: Date): string {
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}
