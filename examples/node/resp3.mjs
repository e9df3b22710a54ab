// A connection that speaks RESP3 to syncd or to Redis, using only Node itself. (node-redis 4, the version of Debian,
// has no RESP3 and so no pushes; plain-worker.cjs shows the use of that library.)
import net from "node:net";

const LIMIT = 16 << 20;
const bytesOf = (word) => (Buffer.isBuffer(word) ? word : Buffer.from(String(word)));

export class Connection {
  #unread = Buffer.alloc(0);
  #answers = [];

  // `onPush` gets every push, `onEnd` is called once, when the connection has ended.
  constructor(path, onPush = () => {}, onEnd = () => {}) {
    this.onPush = onPush;
    this.onEnd = onEnd;
    this.socket = net.connect(path);
    this.socket.on("data", (bytes) => this.#received(bytes));
    this.socket.on("error", () => {});
    this.socket.on("close", () => this.end());
  }

  // The result of `take` for the reply. An error reply is an Error, and a missing one is null: a late reply must not be
  // taken for the reply to another request, so the connection ends. `take` is called before the next frame is read.
  ask(words, take = (reply) => reply, milliseconds = 500) {
    if (this.isEnded) return Promise.resolve(take(null));
    const frame = words.map(bytesOf).flatMap((word) => [bytesOf(`$${word.length}\r\n`), word, bytesOf("\r\n")]);
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.end(), milliseconds);
      this.#answers.push((reply) => (clearTimeout(timer), resolve(take(reply))));
      this.socket.write(Buffer.concat([bytesOf(`*${words.length}\r\n`), ...frame]));
    });
  }

  end() {
    if (this.isEnded) return;
    this.isEnded = true;
    this.socket.destroy();
    this.onEnd();
    for (const answer of this.#answers.splice(0)) answer(null);
  }

  #received(bytes) {
    this.#unread = this.#unread.length ? Buffer.concat([this.#unread, bytes]) : bytes;
    try {
      for (let frame; !this.isEnded && (frame = parse(this.#unread, 0)); ) {
        this.#unread = this.#unread.subarray(frame.end);
        frame.isPush ? this.onPush(frame.value) : this.#answers.shift()(frame.value);
      }
    } catch {
      this.end(); // What cannot be read, or that nobody has asked for.
    }
    if (this.#unread.length > LIMIT) this.end();
  }
}

// One value from `start` on, or undefined if it has not come completely. Strings are Buffers.
function parse(bytes, start) {
  const lineEnd = bytes.indexOf("\r\n", start);
  if (lineEnd < 0) return undefined;
  const text = bytes.toString("latin1", start + 1, lineEnd);
  let end = lineEnd + 2;
  switch (bytes[start]) {
    case 0x2b: // +
      return { value: Buffer.from(text, "latin1"), end };
    case 0x2d: // -
      return { value: new Error(text), end };
    case 0x3a: // :
      return { value: Number(text), end };
    case 0x5f: // _
      return { value: null, end };
    case 0x24: { // $
      if (text === "-1") return { value: null, end };
      const length = Number(text);
      if (!(length >= 0 && length <= LIMIT)) throw new RangeError("length");
      if (bytes.length < end + length + 2) return undefined;
      return { value: Buffer.from(bytes.subarray(end, end + length)), end: end + length + 2 };
    }
    case 0x2a: // *
    case 0x3e: // >
    case 0x25: { // %
      const value = [];
      for (let left = Number(text) * (bytes[start] === 0x25 ? 2 : 1); left > 0; left -= 1) {
        const item = parse(bytes, end);
        if (!item) return undefined;
        value.push(item.value);
        end = item.end;
      }
      return { value, end, isPush: bytes[start] === 0x3e };
    }
    default:
      throw new TypeError("no RESP3");
  }
}
