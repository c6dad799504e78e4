import { useEffect, useRef } from "preact/hooks";
import { Depth } from "../draw/depth.js";
import { change, settings } from "../model/settings.js";
import { useValue } from "../model/value.js";
import type { Page } from "../page.js";
import { Icon } from "./icons.js";
import { Splitter } from "./Splitter.js";

export function DepthPanel({ page: { market } }: { page: Page }) {
  const now = useValue(settings);
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    if (!now.depthOpen) return;
    const depth = new Depth(canvas.current!, market);
    return () => depth.close();
  }, [market, now.depthOpen]);
  return (
    <section class="panel depth" aria-label="Depth">
      {now.depthOpen && (
        <Splitter
          axis="y"
          label="Height of the depth chart"
          value={now.depthHeight}
          least={100}
          most={420}
          backwards
          onMove={(depthHeight) => change({ depthHeight })}
        />
      )}
      <div class="head">
        <button type="button" class="fold" aria-expanded={now.depthOpen} onClick={() => change({ depthOpen: !now.depthOpen })}>
          <Icon name={now.depthOpen ? "down" : "up"} /> Depth
        </button>
        <span class="muted hint">scroll to zoom</span>
      </div>
      {now.depthOpen && <canvas ref={canvas} role="img" aria-label="How much is bid and asked up to each price" />}
    </section>
  );
}
