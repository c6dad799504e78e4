import "uplot/dist/uPlot.min.css";
import "./css/tokens.css";
import "./css/base.css";
import "./css/layout.css";
import "./css/top.css";
import "./css/watchlist.css";
import "./css/panels.css";
import "./css/connection.css";
import "./css/overlays.css";
import "./css/small.css";
import { options, render } from "preact";
import { recolour } from "./draw/canvas.js";
import { timed } from "./model/frames.js";
import { settings } from "./model/settings.js";
import { makePage } from "./page.js";
import { followTitle } from "./title.js";
import { App } from "./ui/App.js";

function dress({ theme, colourBlind }: { theme: string; colourBlind: boolean }): void {
  const root = document.documentElement;
  root.dataset["theme"] = theme;
  root.dataset["colours"] = colourBlind ? "blind" : "usual";
  recolour();
}

// What is not drawn by hand is part of a frame too.
options.debounceRendering = (update) => queueMicrotask(() => timed(update));
dress(settings.now);
settings.watch(dress);
const page = makePage();
followTitle(page);
render(<App page={page} />, document.getElementById("app")!);
// Tests compare what is shown with what was published.
Object.assign(window, { mdstream: page });
