import { connect } from "@mdstream/client";
import { useBook } from "@mdstream/client/react";
import { createRoot } from "react-dom/client";

const client = connect("ws://127.0.0.1:8080/v1/stream");

function Best({ instrument }: { instrument: string }) {
  const { state, code, bids, asks } = useBook(client, instrument, { depth: 10 });
  if (state !== "live") return <p role="status">{`${instrument} is ${state} ${code ?? ""}`}</p>;
  return <p>{`${instrument} ${bids[0]?.price} ${asks[0]?.price}`}</p>;
}

createRoot(document.querySelector("#root") as HTMLElement).render(<Best instrument="SIM:BTC-USD" />);
