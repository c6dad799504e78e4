import { connect } from "@mdstream/client";
import { useBook, useClientState, useTicker } from "@mdstream/client/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

const wanted = new URLSearchParams(location.hash.slice(1));
const token = wanted.get("token");
const client = connect(wanted.get("url") ?? "ws://127.0.0.1:8080/v1/stream", token ? { token } : {});

function Ladder({ instrument }: { instrument: string }) {
  const { state, code, seq, bids, asks } = useBook(client, instrument, { depth: 10 });
  const { current } = useTicker(client, instrument, { intervalMs: 100 });
  return (
    <section style={{ opacity: state === "live" ? 1 : 0.3 }}>
      <h1>
        {instrument}: {state} {code}
      </h1>
      <p>
        number {seq}, last {current?.last?.price ?? "-"}, {useClientState(client)}
      </p>
      <table>
        <tbody>
          {bids.map((bid, i) => (
            <tr key={bid.ticks}>
              <td>{bid.size}</td>
              <td>{bid.price}</td>
              <td>{asks[i]?.price}</td>
              <td>{asks[i]?.size}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

createRoot(document.querySelector("#root") as HTMLElement).render(
  <StrictMode>
    <Ladder instrument={wanted.get("instrument") ?? "SIM:BTC-USD"} />
  </StrictMode>,
);
