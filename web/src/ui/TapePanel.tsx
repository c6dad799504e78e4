import { useEffect, useRef, useState } from "preact/hooks";
import { Tape } from "../draw/tape.js";
import type { Page } from "../page.js";

export function TapePanel({ page: { market } }: { page: Page }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const tape = useRef<Tape | null>(null);
  const [waiting, setWaiting] = useState<number | null>(null);
  useEffect(() => {
    const made = (tape.current = new Tape(canvas.current!, market));
    made.onPaused = setWaiting;
    return () => made.close();
  }, [market]);
  return (
    <section class="panel tape" aria-label="Trades">
      <div class="head">
        <h2>Trades</h2>
        {waiting !== null && (
          <button type="button" class="small" onClick={() => tape.current?.resume()}>
            resume · {waiting} new
          </button>
        )}
      </div>
      <div class="drawn">
        <canvas ref={canvas} role="img" aria-label="The newest trades" />
      </div>
    </section>
  );
}
