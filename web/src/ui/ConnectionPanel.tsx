import { useEffect, useRef, useState } from "preact/hooks";
import { type Meter, Plot } from "../draw/meters.js";
import { TimelineDrawing } from "../draw/timeline.js";
import { clockText } from "../model/clock.js";
import { quantile } from "../model/feed.js";
import { costs } from "../model/frames.js";
import { change, settings } from "../model/settings.js";
import { lasting } from "../model/texts.js";
import type { Incident } from "../model/timeline.js";
import { useValue } from "../model/value.js";
import type { Page } from "../page.js";
import { Icon } from "./icons.js";

export function ConnectionPanel({ page }: { page: Page }) {
  const { panelOpen } = useValue(settings);
  return (
    <section class={`connection${panelOpen ? " open" : ""}`} aria-label="Connection">
      <Bar page={page} open={panelOpen} />
      {panelOpen && (
        <div class="body">
          <Counts page={page} />
          <Meters page={page} />
          <Faults page={page} />
        </div>
      )}
    </section>
  );
}

function Bar({ page: { feed }, open }: { page: Page; open: boolean }) {
  useValue(feed.tick);
  useValue(feed.changed);
  const { client, seconds } = feed;
  const last = seconds.at(-1);
  return (
    <button type="button" class="bar" aria-expanded={open} title="Connection (C)" onClick={() => change({ panelOpen: !open })}>
      <Icon name={open ? "down" : "up"} />
      <span class={`dot ${client.state}`} aria-hidden="true" />
      <span>{client.welcome?.node ?? client.state}</span>
      <span class="number">{last?.messages ?? 0} msg/s</span>
      <span class="number kb">{((last?.bytes ?? 0) / 1000).toFixed(1)} kB/s</span>
      <span class="number" title="From the event to the screen: the median of the last second">
        <span class="word">event → screen </span>
        {lasting(last?.p50)}
      </span>
      <span class="number wide">
        {client.stats.crcChecked.toLocaleString("en")} checksums, {client.stats.crcErrors} wrong
      </span>
    </button>
  );
}

function Counts({ page: { feed, market } }: { page: Page }) {
  useValue(feed.tick);
  useValue(feed.changed);
  const { client } = feed;
  const { stats, welcome } = client;
  const frames = [...costs].sort((a, b) => a - b);
  const rows: readonly (readonly [string, string])[] = [
    ["gateway", client.url.replace(/\/v1\/stream$/, "")],
    ["node", welcome?.node ?? "–"],
    ["format", "MessagePack"],
    ["updates merged", feed.conflated.toLocaleString("en")],
    ["gaps", String(stats.gaps)],
    ["recoveries asked", String(stats.recoveries)],
    ["reconnects", String(stats.reconnects)],
    ["resumed", String(stats.resumes)],
    ["checksums", `${stats.crcChecked.toLocaleString("en")}, ${stats.crcErrors} wrong`],
    ["book's number", market.book === null ? "–" : String(market.book.seq)],
    ["script per frame, p95", lasting(quantile(frames, 0.95))],
  ];
  return (
    <dl class="counts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd class="number">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Meters({ page: { feed } }: { page: Page }) {
  useValue(feed.tick);
  const last = feed.seconds.at(-1);
  return (
    <div class="meters">
      <figure>
        <figcaption>
          event → screen, ms: <span class="p50">p50 {lasting(last?.p50)}</span> <span class="p99">p99 {lasting(last?.p99)}</span>
        </figcaption>
        <PlotPlace feed={feed} meter="latency" />
      </figure>
      <figure>
        <figcaption>messages/s: {last?.messages ?? 0}</figcaption>
        <PlotPlace feed={feed} meter="rate" />
      </figure>
    </div>
  );
}

function PlotPlace({ feed, meter }: { feed: Page["feed"]; meter: Meter }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const { theme, colourBlind } = useValue(settings);
  useEffect(() => {
    const made = (plot.current = new Plot(place.current!, feed, meter));
    return () => made.close();
  }, [feed, meter]);
  useEffect(() => plot.current?.recolour(), [theme, colourBlind]);
  return <div class="plot" ref={place} />;
}

function Faults({ page: { feed } }: { page: Page }) {
  const incidents = useValue(feed.timeline.incidents);
  const [said, setSaid] = useState("");
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const made = new TimelineDrawing(canvas.current!, feed);
    return () => made.close();
  }, [feed]);
  const kill = async () => setSaid((await feed.kill()) ?? "");
  return (
    <div class="faults">
      <div class="buttons" role="group" aria-label="Make a fault">
        <button type="button" onClick={() => feed.order("drop")}>
          drop my connection
        </button>
        <button type="button" onClick={() => feed.order("lose")}>
          lose a message
        </button>
        <button type="button" onClick={() => feed.order("stall")}>
          stall me 10 s
        </button>
        {feed.address.demo && (
          <button type="button" class="danger" onClick={() => void kill()}>
            kill the gateway
          </button>
        )}
        {said !== "" && <span class="down">{said}</span>}
      </div>
      <canvas ref={canvas} role="img" aria-label="Faults of the last minute" />
      <ol class="incidents" aria-label="What happened">
        {incidents.length === 0 && <li class="muted">Press a button: what follows is drawn here, with its times.</li>}
        {[...incidents]
          .reverse()
          .slice(0, 6)
          .map((incident) => (
            <li key={incident.at}>{story(incident)}</li>
          ))}
      </ol>
    </div>
  );
}

function story({ what, at, told, toldAs, recovered, left, how }: Incident) {
  const time = clockText(1000 * (performance.timeOrigin + at)).slice(0, 8);
  return (
    <>
      <span class="muted number">{time}</span> {what}
      {told !== null && told > at && (
        <>
          {" "}
          <span class="number">→ told after {lasting(told - at)}</span> ({toldAs})
        </>
      )}
      {told === null && left === null && <span class="muted"> → nothing is wrong yet</span>}
      {left !== null && <span class="muted"> → {how}</span>}
      {recovered !== null && (
        <>
          {" "}
          <b class="number up">→ live again after {lasting(recovered - at)}</b> {how}
        </>
      )}
    </>
  );
}
