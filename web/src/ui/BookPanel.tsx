import type { Book } from "@mdstream/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Hovered, Ladder } from "../draw/ladder.js";
import type { Grouping } from "../model/market.js";
import { change, DEPTHS, settings } from "../model/settings.js";
import { todoOf, whyRefused } from "../model/shown.js";
import { sentence } from "../model/texts.js";
import { useValue } from "../model/value.js";
import type { Page } from "../page.js";

const COPIED_MS = 1_200;

export function BookPanel({ page }: { page: Page }) {
  const { market } = page;
  useValue(settings);
  const grouping = useValue(market.grouping);
  useValue(market.changed);
  const canvas = useRef<HTMLCanvasElement>(null);
  const ladder = useRef<Ladder | null>(null);
  const [hovered, setHovered] = useState<Hovered | null>(null);
  const [copied, setCopied] = useState("");
  const [spoken, setSpoken] = useState("");
  useEffect(() => {
    const made = (ladder.current = new Ladder(canvas.current!, market));
    made.onHover = setHovered;
    return () => made.close();
  }, [market]);
  const copy = (price: string | null | undefined) => {
    if (price == null) return;
    const done = () => {
      setCopied(price);
      setTimeout(() => setCopied(""), COPIED_MS);
    };
    void navigator.clipboard?.writeText(price).then(done, () => {}); // the browser may forbid it
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Enter") return copy(ladder.current?.priceAt());
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    event.stopPropagation(); // for the page they choose a market
    const level = ladder.current?.step(event.key === "ArrowDown" ? 1 : -1);
    if (level != null) setSpoken(`${level.price}, ${level.size} up to here`);
  };
  const { book } = market;
  const choose = (event: { currentTarget: HTMLSelectElement }) =>
    market.setGrouping(JSON.parse(event.currentTarget.value) as Grouping);
  const chosen = grouping.groupDigits !== undefined && book?.trusted ? `by ${book.price(book.group)}` : "";
  return (
    <section class="panel book" aria-label="Order book">
      <div class="head">
        <h2>Book</h2>
        <label>
          <span class="label">Group</span>
          <select value={JSON.stringify(grouping)} onChange={choose}>
            {market.groupings.map((each) => (
              <option key={JSON.stringify(each)} value={JSON.stringify(each)}>
                {nameOf(each, book)}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span class="label">Depth</span>
          <select value={market.depth} onChange={(event) => change({ depth: Number(event.currentTarget.value) })}>
            {(DEPTHS.some((each) => each === market.depth) ? DEPTHS : [market.depth, ...DEPTHS]).map((depth) => (
              <option key={depth} value={depth}>
                {depth === 0 ? "full" : depth}
              </option>
            ))}
          </select>
        </label>
        <span class="muted hint" role="status">
          {copied === "" ? chosen : `${copied} copied`}
        </span>
      </div>
      <div class="drawn">
        <canvas
          ref={canvas}
          role="application"
          tabIndex={0}
          aria-label={`Order book of ${market.instrument.now}: the arrows choose a level, Enter copies its price`}
          onClick={(event) => copy(ladder.current?.priceAt(event.offsetY))}
          onKeyDown={press}
          onBlur={() => ladder.current?.leave()}
        />
        <span class="hidden" role="status">
          {spoken}
        </span>
        {hovered !== null && (
          <dl class="hover number" style={{ top: `${Math.max(4, hovered.y - 30)}px` }}>
            <dt>{hovered.levels === 1 ? "level" : "levels"}</dt>
            <dd>
              {hovered.levels} to {hovered.price}
            </dd>
            <dt>size</dt>
            <dd>{hovered.size}</dd>
            <dt>value</dt>
            <dd>{hovered.notional}</dd>
            <dt>average</dt>
            <dd>{hovered.average}</dd>
          </dl>
        )}
        {book?.state === "ended" && book.error !== null && (
          <Refused page={page} code={String(book.error.code)} text={sentence(whyRefused(book.error))} />
        )}
      </div>
    </section>
  );
}

/** A price that so many ticks are, or how many figures of prices are left. */
function nameOf({ group, groupDigits }: Grouping, book: Book | null): string {
  if (groupDigits !== undefined) return `${groupDigits} figures`;
  const ticks = group === 1 ? Math.max(1, book?.ref.tick ?? 1) : group!;
  return book === null || book.state === "pending" ? String(ticks) : book.price(ticks);
}

/** What happened, and what to do, in its place. */
function Refused({ page: { market }, code, text }: { page: Page; code: string; text: string }) {
  const instrument = market.instrument.now;
  const todo = todoOf(code, instrument);
  return (
    <div class="problem" role="alert">
      <p>{text}</p>
      {todo !== "" && <p class="muted">{todo}</p>}
      {market.feed.client.state !== "closed" && (
        <button type="button" class="small" onClick={() => market.again()}>
          try again
        </button>
      )}
    </div>
  );
}
