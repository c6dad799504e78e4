import { useEffect, useRef } from "preact/hooks";
import { Depth } from "../draw/depth.js";
import { change, settings } from "../model/settings.js";
import { useValue } from "../model/value.js";
import type { Page } from "../page.js";
import { Icon } from "./icons.js";
import { Splitter } from "./Splitter.js";

const ZOOM = 1.6;

export function DepthPanel({ page: { market } }: { page: Page }) {
  const now = useValue(settings);
  const canvas = useRef<HTMLCanvasElement>(null);
  const depth = useRef<Depth | null>(null);
  useEffect(() => {
    if (!now.depthOpen) return;
    const made = (depth.current = new Depth(canvas.current!, market));
    return () => made.close();
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
        {now.depthOpen && (
          <div class="zoom" role="group" aria-label="Zoom">
            <button type="button" title="Show more prices (or scroll)" onClick={() => depth.current?.zoom(ZOOM)}>
              <Icon name="minus" />
              <span class="hidden">More prices</span>
            </button>
            <button type="button" title="Show fewer prices (or scroll)" onClick={() => depth.current?.zoom(1 / ZOOM)}>
              <Icon name="plus" />
              <span class="hidden">Fewer prices</span>
            </button>
          </div>
        )}
      </div>
      {now.depthOpen && <canvas ref={canvas} role="img" aria-label="How much is bid and asked up to each price" />}
    </section>
  );
}
