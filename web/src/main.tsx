import "uplot/dist/uPlot.min.css";
import "./tokens.css";
import "./page.css";
import { render } from "preact";
import { recolour } from "./draw/canvas.js";
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

dress(settings.now);
settings.watch(dress);
const page = makePage();
followTitle(page);
render(<App page={page} />, document.getElementById("app")!);
// Tests compare what is shown with what was published.
Object.assign(window, { mdstream: page });
