// The document's title and icon say the last price, and whether it is live.

import { colour } from "./draw/canvas.js";
import { type Kind, shownOf } from "./model/shown.js";
import type { Page } from "./page.js";

const MARKS: Readonly<Record<Kind, string>> = {
  live: "●",
  delayed: "◷",
  recovering: "◐",
  stale: "○",
  halted: "■",
  offline: "✕",
  waiting: "…",
  refused: "✕",
};

export function followTitle({ feed, market }: Page): void {
  const link = document.querySelector<HTMLLinkElement>("link[rel=icon]")!;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  let drawn = "";
  const show = () => {
    const { kind } = shownOf(feed, market.book);
    const price = market.last?.price ?? market.book?.bestBid?.price ?? "";
    document.title = `${MARKS[kind]} ${price} ${market.instrument.now} · mdstream`.replace(/\s+/g, " ");
    if (drawn === kind) return;
    drawn = kind;
    link.href = icon(canvas, kind);
  };
  market.changed.watch(show);
  feed.changed.watch(show);
  setInterval(show, 500);
}

function icon(canvas: HTMLCanvasElement, kind: Kind): string {
  const context = canvas.getContext("2d")!;
  const { bid, ask, warn, stale } = colour();
  const inks: Readonly<Record<Kind, string>> = {
    live: bid,
    delayed: warn,
    recovering: warn,
    stale,
    halted: stale,
    offline: ask,
    waiting: stale,
    refused: ask,
  };
  context.clearRect(0, 0, 32, 32);
  context.fillStyle = inks[kind];
  context.beginPath();
  if (kind === "halted") context.rect(6, 6, 20, 20);
  else context.arc(16, 16, 12, 0, 7);
  context.fill();
  return canvas.toDataURL("image/png");
}
