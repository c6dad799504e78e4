/** A decimal whose zeros at the end are dimmed, never dropped. */
export function Decimal({ text }: { text: string }) {
  const zeros = text.includes(".") ? (/\.?0+$/.exec(text)?.[0] ?? "") : "";
  if (zeros === "") return <span class="number">{text}</span>;
  return (
    <span class="number">
      {text.slice(0, text.length - zeros.length)}
      <span class="faint">{zeros}</span>
    </span>
  );
}

export function Change({ percent }: { percent: number | null }) {
  if (percent === null) return <span class="muted">–</span>;
  const way = percent > 0 ? "up" : percent < 0 ? "down" : "same";
  const mark = { up: "▲", down: "▼", same: "" }[way];
  return (
    <span class={`number ${way}`}>
      {mark} {percent > 0 ? "+" : percent < 0 ? "−" : ""}
      {Math.abs(percent).toFixed(2)} %
    </span>
  );
}
