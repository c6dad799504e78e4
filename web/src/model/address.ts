// What the page is told by its address: `#token=…&instruments=SIM:BTC-USD,SIM:ETH-USD&demo=1`. A fragment is never sent anywhere.

export interface Address {
  /** The gateway: the one that served the page. */
  readonly url: string;
  readonly token: string | null;
  /** What to show if the gateway has no board. */
  readonly instruments: readonly string[];
  /** Whether the gateway is a demo's, which can be killed. */
  readonly demo: boolean;
}

const KEPT = "mdstream.address";

function stored(): string {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // forbidden by the browser's settings
  }
}

/** A reload needs it again; the address bar, and what is copied from it, do not. */
function store(fragment: string): boolean {
  try {
    sessionStorage.setItem(KEPT, fragment);
    return true;
  } catch {
    return false;
  }
}

export function readAddress(): Address {
  const fragment = location.hash.slice(1) || stored();
  const said = new URLSearchParams(fragment);
  if (said.has("token") && store(fragment)) history.replaceState(null, "", location.pathname + location.search);
  const { protocol, host, pathname } = location;
  const folder = pathname.slice(0, pathname.lastIndexOf("/"));
  return {
    url: `${protocol === "https:" ? "wss" : "ws"}://${host}${folder}/v1/stream`,
    token: said.get("token"),
    instruments: (said.get("instruments") ?? "").split(",").filter((name) => name.includes(":")),
    demo: said.get("demo") === "1",
  };
}
