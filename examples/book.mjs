import { Stream } from "./mdstream.mjs";

const stream = new Stream(process.argv[2] ?? "ws://127.0.0.1:8080/v1/stream");
stream.onstate = (state, why) => console.log(state, why);

const show = ({ instrument, state, seq, bids, asks }) =>
  console.log(instrument, state, seq, bids[0]?.price, asks[0]?.price);

stream.book("SIM:BTC-USD", show, { depth: 10 });
stream.book("SIM:ETH-USD", show, { depth: 10, intervalMs: 100 });
