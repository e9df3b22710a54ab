// The same worker as worker.mjs with a stock Redis client: node-redis 4, as Debian has it. It speaks RESP2, so there are
// no pushes: this worker keeps nothing itself and does not wait for the loads of others. syncd's own cache is enough
// for many a program.
//
//     SYNCD_SOCKET=… DATABASE_SOCKET=… NODE_PATH=/usr/share/nodejs node plain-worker.cjs
const path = require("node:path");
const { createInterface } = require("node:readline");
const { createClient } = require("redis");

const SILENCE = 500, TRUST_WINDOW = 1000; // ms
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let syncd, journal, database;

// One client after the other: a late reply must never pass for the answer to something else.
async function connect(delay = 50) {
  const client = createClient({
    socket: { path: process.env.SYNCD_SOCKET, reconnectStrategy: () => new Error("no retry here") },
    disableOfflineQueue: true,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    syncd = client;
    while (client.isReady) await sleep(50);
  } catch {
    delay = Math.min(1000, 2 * delay);
  }
  if (syncd === client) [syncd, delay] = [undefined, 50];
  setTimeout(connect, delay * (0.5 + Math.random() / 2), delay);
}

// The reply, or null if there is none in time.
async function ask(...words) {
  const client = syncd;
  if (!client) return null;
  const timer = setTimeout(() => client.disconnect().catch(() => {}), SILENCE);
  return client.sendCommand(words.map(String)).catch((error) => (client.isReady ? error : null)).finally(() => clearTimeout(timer));
}

async function read(key, tags, ttl, load) {
  const reply = await ask("FETCH", key);
  const [kind, ...fields] = Array.isArray(reply) ? reply : [];
  if (kind === "hit") return [fields[0], "L2"];
  if (kind !== "lease") return [await load(), "BYPASS"];
  const value = await load().catch((error) => (ask("ABANDON", key, fields[0]), Promise.reject(error)));
  await ask("FILL", key, fields[0], ttl, tags.length, ...tags, ...(value === null ? [] : [value]));
  return [value, "MISS"];
}

async function write(tags, change) {
  const note = journal.begin(tags);
  try {
    return await change();
  } catch (error) {
    note.become("orphan"); // It may have happened, or happen yet.
    throw error;
  } finally {
    const reply = await ask("INVALIDATE", "TAGS", ...tags);
    const isTaken = Number.isInteger(reply) || reply === "DEFERRED";
    if (note.kind === "intent") isTaken ? note.remove() : note.become("pending");
    if (!isTaken) await sleep(TRUST_WINDOW + 1);
  }
}

async function serve(number, verb, key) {
  const tags = [`register:${key}`];
  try {
    if (verb === "read") {
      const [value, source] = await read(key, tags, 60_000, () => database.get(key));
      console.log(`${number} ok ${value ?? "-"} ${source}`);
    } else {
      console.log(`${number} ok ${await write(tags, () => database.incr(key))} -`);
    }
  } catch (error) {
    console.log(`${number} error ${error.message}`);
  }
}

async function main() {
  const { Journal } = await import("./journal.mjs");
  journal = new Journal(path.join(path.dirname(process.env.SYNCD_SOCKET), "journal"));
  database = createClient({ socket: { path: process.env.DATABASE_SOCKET } });
  database.on("error", () => {});
  await database.connect();
  connect();
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => serve(...line.split(" ")));
  lines.on("close", () => process.exit(0));
}

main();
