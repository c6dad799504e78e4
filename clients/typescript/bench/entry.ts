export { POLICY } from "../src/backoff.js";
export { Book } from "../src/book.js";
export { BookEngine } from "../src/book-engine.js";
export { checksum } from "../src/checksum.js";
export { json } from "../src/json.js";
export { msgpack } from "../src/msgpack.js";
export { Side } from "../src/side.js";
export { sum } from "../src/stats.js";
export { measure, record } from "./work.mjs";
