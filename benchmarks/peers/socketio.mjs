// A Socket.IO server with the sharded Redis adapter: `node server.mjs PORT REDIS_URL`. It does what the other systems do by configuration: a
// client joins rooms, and what it publishes goes to all in a room.
import { createShardedAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, url] = process.argv.slice(2);
const [publisher, subscriber] = [createClient({ url }), createClient({ url })];
await Promise.all([publisher.connect(), subscriber.connect()]);

const server = new Server({ adapter: createShardedAdapter(publisher, subscriber), transports: ["websocket"] });
server.on("connection", (socket) => {
  socket.on("join", (topics, joined) => {
    socket.join(topics);
    joined();
  });
  socket.on("publish", (topic, data, taken) => {
    server.to(topic).emit("event", topic, data);
    taken();
  });
});
server.listen(Number(port));
