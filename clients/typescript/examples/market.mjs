import { connect } from "@mdstream/client";
import { board } from "@mdstream/client/board";

const client = connect("ws://127.0.0.1:8080/v1/stream");
const market = board(client, "*"); // every instrument: no need to know a symbol
const book = client.book("SIM:BTC-USD", { depth: 20 });

market.on("change", (rows) => rows.forEach((row) => console.log(row.instrument, row.state, row.price("last"))));
book.on("change", () => console.log(book.seq, book.state, book.bestBid?.price, book.bestAsk?.price));
book.on("state", (state) => console.log(state, book.reason ?? book.code ?? ""));
