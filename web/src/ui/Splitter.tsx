interface Props {
  axis: "x" | "y";
  label: string;
  value: number;
  least: number;
  most: number;
  /** The panel that grows is behind the border. */
  backwards?: boolean;
  /** The value is a part of the parent's height, in hundredths. */
  part?: boolean;
  onMove(value: number): void;
}

/** A border between panels that can be dragged, or moved with the arrow keys. */
export function Splitter({ axis, label, value, least, most, backwards = false, part = false, onMove }: Props) {
  const sign = backwards ? -1 : 1;
  const set = (to: number) => onMove(Math.round(Math.min(most, Math.max(least, to))));
  const drag = (event: PointerEvent) => {
    const handle = event.currentTarget as HTMLElement;
    const whole = part ? handle.parentElement!.clientHeight / 100 : 1;
    const from = axis === "x" ? event.clientX : event.clientY;
    handle.setPointerCapture(event.pointerId);
    const move = (moved: PointerEvent) => set(value + (sign * ((axis === "x" ? moved.clientX : moved.clientY) - from)) / whole);
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", () => handle.removeEventListener("pointermove", move), { once: true });
  };
  const key = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    set(value + sign * by * (part ? 2 : 16));
  };
  return (
    <div
      class={`splitter ${axis}`}
      role="separator"
      tabIndex={0}
      aria-label={label}
      aria-orientation={axis === "x" ? "vertical" : "horizontal"}
      aria-valuenow={value}
      aria-valuemin={least}
      aria-valuemax={most}
      onPointerDown={drag}
      onKeyDown={key}
    />
  );
}
