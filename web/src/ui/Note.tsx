import { useState } from "preact/hooks";

const SIM = "mdstream feed sim";

/** A text in which what stands between backticks is code; `alone` where there is nothing beside it. */
export function Note({ text, alone = false }: { text: string; alone?: boolean }) {
  const parts = text.split("`");
  return (
    <p class={alone ? "note alone" : "note"}>
      {parts.map((part, index) => (index % 2 === 1 ? <code key={part}>{part}</code> : part))}
    </p>
  );
}

/** There is no instrument: what to do. */
export function Empty() {
  const [copied, setCopied] = useState(false);
  const done = () => setCopied(true);
  const copy = () => void navigator.clipboard?.writeText(SIM).then(done, () => {}); // the browser may forbid it
  return (
    <p class="empty alone">
      No instruments are announced yet. Start some with <code>{SIM}</code>{" "}
      <button type="button" class="small" onClick={copy}>
        {copied ? "copied" : "copy"}
      </button>
    </p>
  );
}
