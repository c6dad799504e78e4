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

/** A change that is too small to be seen has no direction. */
export function Change({ percent }: { percent: number | null }) {
  if (percent === null) return <span class="muted">–</span>;
  const rounded = percent.toFixed(2);
  const way = Number(rounded) > 0 ? "up" : Number(rounded) < 0 ? "down" : "same";
  const mark = { up: "▲ +", down: "▼ −", same: "" }[way];
  return (
    <span class={`number ${way}`}>
      {mark}
      {rounded.replace("-", "")} %
    </span>
  );
}
