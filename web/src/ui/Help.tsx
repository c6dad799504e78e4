import { useEffect, useRef } from "preact/hooks";
import { KEYS } from "./keys.js";

export function Help({ onClose }: { onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      class="help"
      aria-label="Keys"
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      <h2>Keys</h2>
      <dl>
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p class="muted">
        Charts: TradingView Lightweight Charts. <a href="notices.txt">Licences of what is inside</a>
      </p>
      <button type="button" class="small" autoFocus onClick={onClose}>
        close
      </button>
    </dialog>
  );
}
