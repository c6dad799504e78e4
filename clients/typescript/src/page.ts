/** What of a browser says that time may have passed unnoticed: the connection may be dead, or may be possible again. */
interface Target {
  addEventListener?(name: string, listener: () => void): void;
  removeEventListener?(name: string, listener: () => void): void;
}

const SLEEP_CHECK_MS = 5_000;
const SLEPT_MS = 10_000;

/** Calls `awake` after the page was offline, hidden, frozen or cached, or the machine slept. Returns a function that ends this. */
export function watchPage(awake: () => void): () => void {
  // A worker has no document, but tells `online` and `offline`; Node has neither.
  const here = globalThis as Target & { document?: Target & { visibilityState?: string } };
  if (here.addEventListener === undefined) return () => {};
  const { document } = here;
  const visible = () => {
    if (document?.visibilityState !== "hidden") awake();
  };
  const watched: [Target | undefined, string, () => void][] = [
    [here, "online", awake],
    [here, "offline", awake],
    [here, "pageshow", awake],
    [document, "visibilitychange", visible],
    [document, "resume", awake],
  ];
  for (const [target, name, listener] of watched) target?.addEventListener?.(name, listener);
  const stopSleep = watchSleep(awake);
  return () => {
    for (const [target, name, listener] of watched) target?.removeEventListener?.(name, listener);
    stopSleep();
  };
}

/** A timer that comes much too late by the wall clock: the machine slept (or the clock was set, and asking does no harm). */
function watchSleep(awake: () => void): () => void {
  let last = Date.now();
  const timer = setInterval(() => {
    const now = Date.now();
    if (now - last > SLEEP_CHECK_MS + SLEPT_MS) awake();
    last = now;
  }, SLEEP_CHECK_MS);
  return () => clearInterval(timer);
}
