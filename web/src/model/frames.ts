// One animation frame: whoever has something new draws it once. A hidden page draws nothing.

export interface Drawer {
  draw(now: number): void;
}

const dirty = new Set<Drawer>();
let asked = false;
/** Script time of the newest frames, in ms. */
export const costs: number[] = [];
const MOST_COSTS = 600;
/** Script time since the last frame, in ms. */
let handled = 0;
const afterFrame = new Set<() => void>();

export function invalidate(drawer: Drawer): void {
  dirty.add(drawer);
  ask();
}

export function onFrame(listener: () => void): () => void {
  afterFrame.add(listener);
  return () => afterFrame.delete(listener);
}

/** Does something between frames; what it costs counts as part of the next one. */
export function timed(what: () => void): void {
  const began = performance.now();
  what();
  handled = document.hidden ? 0 : handled + performance.now() - began;
  ask();
}

function ask(): void {
  if (asked || document.hidden) return;
  asked = true;
  requestAnimationFrame(run);
}

function run(now: number): void {
  asked = false;
  const began = performance.now();
  const drawers = [...dirty];
  dirty.clear();
  for (const drawer of drawers) drawer.draw(now);
  for (const listener of afterFrame) listener();
  costs.push(handled + performance.now() - began);
  handled = 0;
  if (costs.length > MOST_COSTS) costs.splice(0, costs.length - MOST_COSTS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && dirty.size > 0) ask();
});
