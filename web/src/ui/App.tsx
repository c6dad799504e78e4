import { useEffect, useState } from "preact/hooks";
import { change, settings, type Tab } from "../model/settings.js";
import { shownOf } from "../model/shown.js";
import { useValue } from "../model/value.js";
import type { Page } from "../page.js";
import { BookPanel } from "./BookPanel.js";
import { ChartPanel } from "./ChartPanel.js";
import { ConnectionPanel } from "./ConnectionPanel.js";
import { DepthPanel } from "./DepthPanel.js";
import { Help } from "./Help.js";
import { useKeys } from "./keys.js";
import { Splitter } from "./Splitter.js";
import { TapePanel } from "./TapePanel.js";
import { Spoken, TopBar } from "./TopBar.js";
import { Watchlist } from "./Watchlist.js";

const TABS: readonly (readonly [Tab, string])[] = [
  ["chart", "Chart"],
  ["book", "Book"],
  ["trades", "Trades"],
  ["markets", "Markets"],
];

export function App({ page }: { page: Page }) {
  const now = useValue(settings);
  const [help, setHelp] = useState(false);
  const [drawer, setDrawer] = useState(false);
  useKeys(page, {
    help: () => setHelp((open) => !open),
    escape: () => {
      setHelp(false);
      setDrawer(false);
    },
    search: () => setDrawer(true),
  });
  const chosen = useValue(page.market.instrument);
  useValue(page.feed.changed);
  const link = shownOf(page.feed, null).kind;
  useEffect(() => {
    setDrawer(false);
  }, [chosen]);
  const style = {
    "--watchlist": `${now.watchlistWidth}px`,
    "--side": `${now.sideWidth}px`,
    "--depth": now.depthOpen ? `${now.depthHeight}px` : "29px",
    "--ladder": `${now.ladderPart}fr`,
    "--tape": `${1 - now.ladderPart}fr`,
    "--panel-height": now.panelOpen ? "276px" : "28px",
  };
  return (
    <div class="page" data-tab={now.tab} data-link={link} data-drawer={drawer ? "open" : "shut"} style={style as never}>
      <TopBar page={page} onMenu={() => setDrawer((open) => !open)} onHelp={() => setHelp(true)} />
      <Spoken page={page} />
      <nav class="tabs" aria-label="Panels">
        {TABS.map(([tab, text]) => (
          <button type="button" key={tab} aria-pressed={now.tab === tab} onClick={() => change({ tab })}>
            {text}
          </button>
        ))}
      </nav>
      <main class="panels">
        <Watchlist page={page} />
        <Splitter
          axis="x"
          label="Width of the watchlist"
          value={now.watchlistWidth}
          least={180}
          most={480}
          onMove={(watchlistWidth) => change({ watchlistWidth })}
        />
        <section class="middle" aria-label="Chart">
          <ChartPanel page={page} />
          <DepthPanel page={page} />
        </section>
        <Splitter
          axis="x"
          label="Width of the ladder"
          value={now.sideWidth}
          least={260}
          most={560}
          backwards
          onMove={(sideWidth) => change({ sideWidth })}
        />
        <section class="side" aria-label="Order book and trades">
          <BookPanel page={page} />
          <Splitter
            axis="y"
            label="Height of the ladder"
            value={Math.round(now.ladderPart * 100)}
            least={25}
            most={85}
            part
            onMove={(percent) => change({ ladderPart: percent / 100 })}
          />
          <TapePanel page={page} />
        </section>
      </main>
      <ConnectionPanel page={page} />
      {drawer && <button type="button" class="shade" aria-label="Close the markets" onClick={() => setDrawer(false)} />}
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}
