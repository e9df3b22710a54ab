// A worker in Node.js: answers "<id> read <key>" and "<id> write <key>" on stdin; its database is a Redis.
//
//     SYNCD_SOCKET=… DATABASE_SOCKET=… node worker.mjs
import { createInterface } from "node:readline";
import { Connection } from "./resp3.mjs";
import { Cache } from "./syncd-cache.mjs";

const cache = new Cache(process.env.SYNCD_SOCKET);
let database;

async function query(...words) {
  if (!database || database.isEnded) database = new Connection(process.env.DATABASE_SOCKET);
  const reply = await database.ask(words, undefined, 2000);
  if (reply instanceof Error) throw reply;
  if (reply === null && database.isEnded) throw new Error("the database does not answer");
  return reply;
}

async function serve(number, verb, key) {
  const tags = [`register:${key}`];
  try {
    if (verb === "read") {
      const [value, source] = await cache.value(key, tags, 60_000, () => query("GET", key));
      console.log(`${number} ok ${value ?? "-"} ${source}`);
    } else {
      console.log(`${number} ok ${await cache.invalidating(tags, () => query("INCR", key))} -`);
    }
  } catch (error) {
    console.log(`${number} error ${error.message}`);
  }
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => serve(...line.split(" ")));
lines.on("close", () => process.exit(0));
