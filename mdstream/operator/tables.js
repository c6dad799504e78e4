// The tables below the plots: a column is a title, what it shows of a row, and how.

import { age, duration, short, span } from "./numbers.js";

const number = (title, of) => ({ title, of, kind: "number" });
const text = (title, of) => ({ title, of, kind: "" });
const long = (title, of) => ({ title, of, kind: "long" });
const code = (title, of) => ({ title, of, kind: "code" });

export const TABLES = [
  {
    title: "Feeds",
    empty: "No instrument is open here: a venue shows once a client has subscribed to something of it.",
    rows: (status) => status.feeds,
    columns: [
      text("venue", (row) => row.venue),
      number("instruments", (row) => row.instruments),
      text("states of their books", (row) => states(row.states)),
      number("newest word", (row) => age(row.newest_ms)),
      number("oldest", (row) => age(row.oldest_ms)),
      number("refused lately", (row) => row.refused),
    ],
  },
  {
    title: "Instruments that are not live",
    wide: true,
    empty: "All that are open are live.",
    rows: (status) => status.troubled,
    columns: [
      text("instrument", (row) => row.instrument),
      text("state", (row) => row.state),
      text("code", (row) => row.code ?? ""),
      number("last word", (row) => age(row.age_ms)),
      long("why", (row) => row.reason),
    ],
  },
  {
    title: "Slow sessions",
    wide: true,
    empty: "Every client reads what it is sent.",
    rows: (status) => status.slow,
    columns: [
      code("session", (row) => row.session),
      text("user", (row) => row.user ?? "–"),
      text("address", (row) => row.address),
      number("connected", (row) => span(row.connected_s)),
      number("subscriptions", (row) => row.subscriptions),
      number("unread", (row) => short(row.unread_bytes, "B")),
      code("look closer", (row) => `mdstream trace ${row.session}`),
    ],
  },
  {
    title: "Refused from the bus",
    wide: true,
    empty: "Nothing was refused.",
    rows: (status) => status.refusals.latest,
    columns: [
      text("when", (row) => new Date(row.time_us / 1000).toLocaleTimeString("en-GB")),
      text("instrument", (row) => row.instrument),
      text("reason", (row) => row.reason),
      long("what was wrong", (row) => row.message),
    ],
  },
  {
    title: "Workers",
    empty: null,
    rows: (status) => status.workers,
    columns: [
      number("worker", (row) => row.worker),
      number("process", (row) => row.pid ?? "–"),
      text("state", (row) => (row.draining ? "draining" : (row.not_ready ?? "ready"))),
      number("connections", (row) => row.connections),
      number("starts", (row) => row.starts),
    ],
  },
  {
    title: "In all, since the start",
    empty: "No worker answers.",
    rows: (status) => totals(status),
    columns: [text("what", (row) => row[0]), number("count", (row) => row[1])],
  },
];

function states(counts) {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`)
    .join(", ");
}

function totals(status) {
  const { totals: all, flush_us: flush } = status;
  if (all.updates === undefined) return [];
  const flushes = flush.reduce((sum, count) => sum + count, 0);
  const named = [
    ["clients let in", all.opened],
    ["connections refused", all.refused],
    ["sessions ended", all.closed],
    ["closed because they were too slow", all.too_slow],
    ["shed, as the gateway could not keep up", all.shed],
    ["commands", all.commands],
    ["commands refused", all.errors],
    ["messages encoded", all.updates],
    ["messages handed to clients", all.deliveries],
    ["snapshots", all.snapshots],
    ["updates that slow clients got merged", all.conflated],
    ["flushes", flushes],
  ];
  return [...named.map(([name, count]) => [name, count.toLocaleString("en").replaceAll(",", "\u2009")]), ["bytes handed to clients", short(all.bytes, "B")], ["time per flush, up to", duration(longest(flush))]];
}

function longest(counts) {
  const last = counts.findLastIndex((count) => count > 0);
  return last < 0 ? null : 2 ** last;
}

/** One table, drawn again only where it has changed. */
export class Table {
  constructor(plan) {
    this.plan = plan;
    this.shown = "";
    this.element = document.createElement("section");
    this.element.className = "table";
    this.element.tabIndex = 0;
    this.element.setAttribute("aria-label", plan.title);
  }

  draw(status) {
    const cells = this.plan.rows(status).map((row) => this.plan.columns.map((column) => String(column.of(row))));
    const said = JSON.stringify(cells);
    if (said === this.shown) return;
    this.shown = said;
    this.element.hidden = cells.length === 0 && this.plan.empty === null;
    this.element.classList.toggle("wide", cells.length > 0 && this.plan.wide === true);
    const title = element("h2", this.plan.title);
    this.element.replaceChildren(title, cells.length === 0 ? element("p", this.plan.empty ?? "", "muted") : this.grid(cells));
  }

  grid(cells) {
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const column of this.plan.columns) {
      const cell = element("th", column.title, column.kind);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const row of cells) {
      const line = body.insertRow();
      row.forEach((value, i) => line.append(this.cell(value, this.plan.columns[i].kind)));
    }
    return table;
  }

  cell(value, kind) {
    if (kind !== "code") return element("td", value, kind);
    const cell = document.createElement("td");
    cell.append(element("code", value));
    return cell;
  }
}

export function element(name, words, kind = "") {
  const made = document.createElement(name);
  made.textContent = words;
  if (kind) made.className = kind;
  return made;
}
