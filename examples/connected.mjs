// What the pages of topics share: the connection that the address asks for, and a line that says how it is. The fragment of an address
// never reaches a server, so a token is safe there: /examples/chat.html#url=wss://md.example.com/v1/stream&name=alice&token=…
import { connect } from "@mdstream/client";

const asked = new URLSearchParams(location.hash.slice(1));
const token = asked.get("token");

export const parameter = (name, otherwise) => asked.get(name) ?? otherwise;
const url = parameter("url", "ws://127.0.0.1:8080/v1/stream");
const options = token ? { token } : {};
// With `shared` in the address, all tabs share one connection, in a SharedWorker.
export const client = asked.has("shared") ? await connectShared() : connect(url, options);

async function connectShared() {
  const dist = "../clients/typescript/dist";
  const shared = await import(`${dist}/shared.js`);
  const worker = () => new SharedWorker(new URL(`${dist}/worker.js`, import.meta.url), { type: "module" });
  return shared.connect(url, { ...options, worker });
}

/** Shows in `#state` what is not as it should be. */
export function watch(...views) {
  const show = () => {
    const wrong = views.find((view) => !view.trusted);
    const why = wrong && [client.reason, wrong.error?.message ?? wrong.reason].filter(Boolean).join(": ");
    document.querySelector("#state").textContent = wrong ? `${String(wrong)} is ${wrong.state} ${why}` : "live";
  };
  client.on("state", show);
  for (const view of views) view.on("state", show);
  show();
}

/** A new element with this text: what others wrote is never read as HTML. */
export function element(name, text = "", more = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...more });
}
