// The journal: if this process dies, syncd finds the tags of its writes there (docs/protocol.md, "The journal").
//
// Node cannot lock files, and an owner without a lock counts as dead: syncd may invalidate the tags of a write while it
// is under way, and once more 5 s later. Such an invalidation is superfluous and does no harm.
import fs from "node:fs";
import path from "node:path";
import { randomBytes } from "node:crypto";

export class Journal {
  #count = 0;

  constructor(folder) {
    this.prefix = path.join(folder, `${randomBytes(8).toString("hex")}-${process.pid}`);
    fs.mkdirSync(folder, { recursive: true, mode: 0o1770 });
  }

  begin(tags) {
    return new Note(`${this.prefix}-${(this.#count += 1)}`, tags);
  }
}

class Note {
  constructor(name, tags) {
    this.name = name;
    this.kind = "intent";
    const strings = tags.map((tag) => `$${Buffer.byteLength(tag)}\r\n${tag}\r\n`);
    fs.writeFileSync(`${name}.intent`, `*${tags.length}\r\n${strings.join("")}`, { flag: "wx", mode: 0o644 });
  }

  become(kind) {
    fs.renameSync(`${this.name}.${this.kind}`, `${this.name}.${kind}`);
    this.kind = kind;
  }

  remove() {
    fs.rmSync(`${this.name}.${this.kind}`, { force: true });
  }
}
