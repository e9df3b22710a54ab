// A cache that syncd keeps consistent by pushes (TRACK ON); docs/clients.md explains each step. A value in it can be
// stale as long as a frame is on its way; with the mapped table that is impossible.
import fs from "node:fs";
import path from "node:path";
import { Journal } from "./journal.mjs";
import { Connection } from "./resp3.mjs";

const SILENCE = 500, TRUST_WINDOW = 1000, UPSTREAM_TRUST = 2000, CLOCK_STEP = 10, MOST_ENTRIES = 1000; // times in ms

// CLOCK_BOOTTIME in ms, behind by less than CLOCK_STEP: the clock of all times in syncd's messages. Node's own clock
// stops while the machine sleeps.
const bootTime = () => Number(fs.readFileSync("/proc/uptime", "latin1").split(" ")[0]) * 1000;
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const kindOf = (reply) => (Array.isArray(reply) ? String(reply[0]) : "");
const text = (tag) => Buffer.from(tag).toString("latin1"); // Tags are bytes.

export class Cache {
  #entries = new Map();
  #tickets = new Map();
  #heartbeat = null;
  #delay = 50;

  constructor(socket) {
    this.socket = socket;
    this.journal = new Journal(path.join(path.dirname(socket), "journal"));
    this.#connect();
  }

  #connect() {
    const ended = () => {
      this.#entries.clear(); // From here on pushes are missing.
      this.#heartbeat = null;
      for (const half of this.#tickets.values()) if (typeof half === "function") half(null);
      this.#tickets.clear();
      setTimeout(() => this.#connect(), this.#delay * (0.5 + Math.random() / 2));
      this.#delay = Math.min(1000, 2 * this.#delay);
    };
    this.connection = new Connection(this.socket, (push) => this.#pushed(push), ended);
    this.connection.ask(["HELLO", 3, "SETNAME", "node"]);
    this.connection.ask(["TRACK", "ON"]);
  }

  #pushed([kind, ...fields]) {
    if (String(kind) === "invalidate") this.#drop(fields[1]);
    if (String(kind) === "epoch") this.#entries.clear(); // Also when the number is the one from before.
    if (String(kind) === "fetched") this.#meet(fields[0], fields.slice(1));
    if (String(kind) !== "heartbeat") return;
    const [, , state, heartbeat, freshAsOf] = fields;
    this.#heartbeat = { isAttached: String(state) === "attached", at: heartbeat / 1e6, freshAsOf: freshAsOf / 1e6 };
    this.#delay = 50;
  }

  // A heartbeat that was read late is an old one: the time in it counts.
  #isTrusted() {
    const age = (time) => bootTime() + CLOCK_STEP - time;
    return this.#heartbeat?.isAttached && age(this.#heartbeat.at) <= TRUST_WINDOW && age(this.#heartbeat.freshAsOf) <= UPSTREAM_TRUST;
  }

  #drop(tags) {
    const dropped = new Set(tags.map(text));
    for (const [key, entry] of this.#entries) if (entry.tags.some((tag) => dropped.has(tag))) this.#entries.delete(key);
  }

  #keep(key, value, tags, ttl) {
    if (!this.#heartbeat) return; // Only what was fetched after the first heartbeat is kept.
    this.#entries.set(key, { value, tags: [...tags.map(text), text(`=${key}`), "*"], deadline: bootTime() + Number(ttl) });
    if (this.#entries.size > MOST_ENTRIES) this.#entries.delete(this.#entries.keys().next().value);
  }

  // The outcome of a ticket, and its waiter, in whichever order they come.
  #meet(ticket, half) {
    const other = this.#tickets.get(ticket);
    if (other === undefined) return this.#tickets.set(ticket, half);
    this.#tickets.delete(ticket);
    typeof other === "function" ? other(half) : half(other);
  }

  // The value is stored before the next frame is read: that frame may invalidate it.
  #fetch(connection, key) {
    const ended = (reply) => (kindOf(reply) === "hit" && this.#keep(key, reply[1], reply[4], reply[3]), reply);
    const wait = (ticket) => new Promise((resolve) => {
      const timer = setTimeout(() => connection.end(), SILENCE);
      this.#meet(ticket, (reply) => (clearTimeout(timer), resolve(ended(reply))));
    });
    return connection.ask(["FETCH", key, "WAIT", 400], (reply) => (kindOf(reply) === "wait" ? wait(reply[1]) : ended(reply)));
  }

  // The value of a key and its source; `load` reads the database.
  async value(key, tags, ttl, load) {
    const kept = this.#entries.get(key);
    if (kept && kept.deadline > bootTime() && this.#isTrusted()) return [kept.value, "L1"];
    const connection = this.connection;
    const reply = await this.#fetch(connection, key);
    if (kindOf(reply) === "hit") return [reply[1], "L2"];
    if (kindOf(reply) !== "lease") return [await load(), "BYPASS"];
    const lease = reply[1];
    const value = await load().catch((error) => (connection.ask(["ABANDON", key, lease]), Promise.reject(error)));
    await connection.ask(["FILL", key, lease, ttl, tags.length, ...tags, ...(value === null ? [] : [value])], (filled) => {
      if (String(filled) === "OK") this.#keep(key, value, tags, ttl);
    });
    return [value, "MISS"];
  }

  // Runs a write; when it returns, no client of this host that maps the table is answered with anything older.
  async invalidating(tags, write) {
    const note = this.journal.begin(tags);
    try {
      return await write();
    } catch (error) {
      note.become("orphan"); // It may have happened, or happen yet: syncd invalidates it now and once more later.
      throw error;
    } finally {
      const reply = await this.connection.ask(["INVALIDATE", "TAGS", ...tags], (taken) => (this.#drop(tags), taken));
      const isTaken = Number.isInteger(reply) || String(reply) === "DEFERRED";
      if (note.kind === "intent") isTaken ? note.remove() : note.become("pending");
      if (!isTaken) await sleep(TRUST_WINDOW + CLOCK_STEP); // syncd goes through the journal before it writes heartbeats again.
    }
  }
}
