// A book in Node 22 or later: node examples/node.mjs ws://127.0.0.1:8080/v1/stream SIM:BTC-USD [token]
import { connect } from "@mdstream/client";

const [url = "ws://127.0.0.1:8080/v1/stream", instrument = "SIM:BTC-USD", token] = process.argv.slice(2);
const client = connect(url, token ? { token } : {});
const book = client.book(instrument, { depth: 20 });

book.on("state", (state) => console.log(state, book.reason ?? book.code ?? ""));
for await (const change of book) {
  console.log(change.last, book.bestBid?.price, book.bestBid?.size, "-", book.bestAsk?.price, book.bestAsk?.size);
}
