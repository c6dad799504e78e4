// Asks the gateway once a second how it is, and shows it.

import { History } from "./history.js";
import { duration, short, span } from "./numbers.js";
import { cursor, Plot } from "./plot.js";
import { banners, pill } from "./says.js";
import { element, Table, TABLES } from "./tables.js";

const EVERY_MS = 1000;
const THEME = "mdstream.operator.theme";

const count = (value) => short(value);
const rate = (value) => short(value, "/s");
const bytes = (value) => short(value, "B");
const byteRate = (value) => short(value, "B/s");

const PLOTS = [
  new Plot("Connections", [{ key: "connections" }], count),
  new Plot("Subscriptions", [{ key: "subscriptions", label: "all" }, { key: "topics", label: "topics" }], count),
  new Plot("Messages to clients", [{ key: "deliveries" }], rate),
  new Plot("Bytes to clients", [{ key: "bytes" }], byteRate),
  new Plot("Messages encoded", [{ key: "updates" }], rate),
  new Plot("Time of a flush", [{ key: "flush_us_50", label: "p50" }, { key: "flush_us_99", label: "p99" }], duration),
  new Plot("From event to write", [{ key: "latency_us_50", label: "p50" }, { key: "latency_us_99", label: "p99" }], duration),
  new Plot("Slow sessions", [{ key: "slow" }], count),
  new Plot("Updates merged for slow clients", [{ key: "conflated" }], rate),
  new Plot("Unread bytes", [{ key: "unread", label: "of clients" }, { key: "natsUnread", label: "from NATS" }], bytes),
  new Plot("Commands", [{ key: "commands", label: "all" }, { key: "errors", label: "refused" }], rate),
  new Plot("Event loop late by", [{ key: "lateUs" }], duration),
];

const history = new History();
const tables = TABLES.map((plan) => new Table(plan));
const at = (id) => document.getElementById(id);
let status = null;
let heard_ms = performance.now();
let said = "";

function draw() {
  const silent_s = (performance.now() - heard_ms) / 1000;
  tell(silent_s);
  document.querySelector("main").classList.toggle("old", silent_s > 3);
  for (const plot of PLOTS) plot.draw(history.samples);
  if (status === null) return;
  for (const table of tables) table.draw(status);
  at("node").textContent = status.node;
  at("about").textContent = `version ${status.version}, up ${span((status.time_us - status.started_us) / 1e6)}`;
  document.title = `${status.node}: ${pill(status, silent_s)[1]}`;
}

/** What is wrong; said again to a screen reader only where the words have changed. */
function tell(silent_s) {
  const [kind, words] = pill(status, silent_s);
  const lines = banners(status, silent_s);
  const now = JSON.stringify([kind, words, lines]);
  if (now === said) return;
  said = now;
  at("pill").className = `pill ${kind}`;
  at("pill").textContent = words;
  at("banners").replaceChildren(
    ...lines.map(([how, line]) => {
      const banner = element("p", "", `banner ${how}`);
      banner.append(element("span", line));
      return banner;
    }),
  );
}

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch("../v1/status", { signal: AbortSignal.timeout(5000), cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      status = await answer.json();
      heard_ms = performance.now();
      history.add(status);
    } catch {
      // Told by the time that has passed since the last answer.
    }
    draw();
  }
  setTimeout(look, EVERY_MS);
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  at("theme").textContent = name === "dark" ? "light" : "dark";
  at("theme").setAttribute("aria-label", `use the ${name === "dark" ? "light" : "dark"} colours`);
}

function kept() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null;
  }
}

theme(kept() ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
at("theme").addEventListener("click", () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  theme(name);
  try {
    localStorage.setItem(THEME, name);
  } catch {
    // Not kept, then.
  }
  draw();
});
cursor.moved = () => requestAnimationFrame(draw);
addEventListener("resize", () => requestAnimationFrame(draw));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) heard_ms = performance.now(); // while it was hidden, nobody asked
});
at("plots").append(...PLOTS.map((plot) => plot.element));
at("tables").append(...tables.map((table) => table.element));
look();
