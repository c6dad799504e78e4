/** What of a browser says that time may have passed unnoticed: the connection may be dead, or may be possible again. */
interface Target {
  addEventListener?(name: string, listener: (event: { persisted?: boolean }) => void, options: { signal: AbortSignal }): void;
}

const SLEEP_CHECK_MS = 1_000;
const SLEPT_MS = 5_000;

/**
 * Calls `awake` after the page was offline, hidden, frozen or cached, or the machine slept; `paused`: what came last may be of
 * before, and says nothing of now. Returns a function that ends this.
 */
export function watchPage(awake: (paused: boolean) => void): () => void {
  // A worker has no document, but tells `online` and `offline`; Node has neither.
  const here = globalThis as Target & { document?: Target & { visibilityState?: string } };
  if (here.addEventListener === undefined) return () => {};
  const { document } = here;
  const ended = new AbortController();
  const on = (target: Target | undefined, name: string, listener: (event: { persisted?: boolean }) => void) =>
    target?.addEventListener?.(name, listener, ended);
  const shown = () => document?.visibilityState !== "hidden";
  let last = Date.now();
  /** Whether it is much too long by the wall clock since it was asked last: the machine slept, or the clock was set. */
  const slept = () => {
    const before = last;
    last = Date.now();
    return last - before > SLEPT_MS;
  };
  // Timers of a page that is not seen come late, too.
  const timer = setInterval(() => slept() && awake(shown()), SLEEP_CHECK_MS);
  on(here, "online", () => awake(false));
  on(here, "offline", () => awake(true));
  on(here, "pageshow", ({ persisted }) => awake(!!persisted));
  on(document, "visibilitychange", () => shown() && awake(slept()));
  on(document, "resume", () => awake(true));
  return () => {
    ended.abort();
    clearInterval(timer);
  };
}
