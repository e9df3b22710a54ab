import Foundation
import TestSupport
import Testing

@testable import ClientCheck

/// One thing that an author may get wrong, and the check that must notice.
struct Mistake: Sendable, CustomTestStringConvertible {
    var client = ExampleClient.pythonRESP3
    /// In the client's folder.
    var file: String
    /// The original text, which occurs exactly once.
    var right: String
    var wrong: String
    var check: String

    var testDescription: String { "\(client.rawValue): \(check)" }

    static let all = cache + files + pushes + stock

    private static let cache = [
        Mistake(
            file: "syncd_cache.py", right: "*([] if value is None else [value])) == b\"OK\":",
            wrong: "*([] if value is None else [value])) is not None:", check: "fill-stale"),
        Mistake(
            file: "syncd_cache.py", right: "await self.ask(\"ABANDON\", key, lease)", wrong: "pass", check: "abandon"),
        Mistake(
            file: "syncd_cache.py", right: "_, value, as_of, ttl, tags, epoch = reply",
            wrong: "_, value, as_of, ttl, _, epoch = reply", check: "hit-tags"),
        Mistake(
            file: "syncd_cache.py", right: "kept and kept[-1] > boot_time() and", wrong: "kept and",
            check: "time-to-live"),
        Mistake(
            file: "syncd_cache.py", right: "SILENCE, TRUST_WINDOW, MOST_ENTRIES = 0.5,",
            wrong: "SILENCE, TRUST_WINDOW, MOST_ENTRIES = 2.5,", check: "silence"),
        Mistake(
            file: "syncd_cache.py",
            right:
                "        except (OSError, RedisError, TimeoutError):\n            await connection.disconnect(nowait=True)",
            wrong: "        except (OSError, RedisError, TimeoutError):\n            pass", check: "late-reply"),
        Mistake(
            file: "syncd_cache.py", right: "reply = await self.ask(\"INVALIDATE\", \"TAGS\", *tags)",
            wrong: "reply = asyncio.ensure_future(self.ask(\"INVALIDATE\", \"TAGS\", *tags)) and 1", check: "commit"),
        Mistake(
            file: "syncd_cache.py", right: "await asyncio.sleep(TRUST_WINDOW + 0.001)", wrong: "pass",
            check: "unanswered-write"),
        Mistake(
            file: "syncd_cache.py", right: "note.unlink() if is_taken else note.rename(note.with_suffix(\".pending\"))",
            wrong: "note.unlink()", check: "no-syncd"),
        Mistake(
            file: "syncd_cache.py", right: "note = note.rename(note.with_suffix(\".orphan\"))", wrong: "pass",
            check: "failed-write"),
        Mistake(
            file: "syncd_cache.py", right: "reply == b\"DEFERRED\"", wrong: "reply == b\"LATER\"", check: "deferred"),
        Mistake(
            file: "syncd_cache.py", right: "elif kind in (None, b\"hit\", b\"lease\", b\"miss\"):", wrong: "else:",
            check: "unknown-push"),
        Mistake(
            file: "syncd_cache.py", right: "if kind != b\"lease\":\n            return await load(), \"BYPASS\"",
            wrong:
                "if kind is None:\n            return None, \"BYPASS\"\n        if kind != b\"lease\":\n            return await load(), \"BYPASS\"",
            check: "busy"),
    ]

    private static let files = [
        Mistake(
            file: "syncd_files.py", right: "is_same_epoch = self.words[9] == epoch", wrong: "is_same_epoch = True",
            check: "epoch"),
        Mistake(
            file: "syncd_files.py", right: "0 <= clock - heartbeat <= 1e9 and", wrong: "True and",
            check: "old-heartbeat"),
        Mistake(
            file: "syncd_files.py", right: "and 0 <= clock - fresh_as_of <= 2e9", wrong: "", check: "old-fresh-as-of"),
        Mistake(file: "syncd_files.py", right: "state == 2 and ", wrong: "", check: "isolated"),
        Mistake(file: "syncd_files.py", right: "b\"=\" + key, ", wrong: "", check: "own-tag"),
        Mistake(file: "syncd_files.py", right: ", b\"*\")]", wrong: ")]", check: "everything"),
        Mistake(
            file: "syncd_files.py", right: "is_unchanged = all(", wrong: "is_unchanged = any(", check: "invalidation"),
        Mistake(
            file: "syncd_files.py", right: "h = (h ^ byte) * 0x100000001B3 & MASK",
            wrong: "h = h * 0x100000001B3 & MASK ^ byte", check: "invalidation"),
        Mistake(
            file: "syncd_files.py", right: "log == (self.words[14], self.words[15]) and ", wrong: "",
            check: "shared-log"),
        Mistake(
            file: "syncd_files.py", right: " and as_of >= self.words[13])", wrong: ")", check: "shared-first-known"),
        Mistake(
            file: "syncd_files.py", right: "f\"<{tags + 2}I\"", wrong: "f\"<{tags}I\"", check: "shared-invalidation"),
        Mistake(
            file: "syncd_cache.py", right: " or until <= boot_time()", wrong: "", check: "shared-time-to-live"),
        Mistake(file: "syncd_files.py", right: "-{self.count}.intent", wrong: ".{self.count}.intent", check: "intent"),
    ]

    private static let pushes = [
        Mistake(
            client: .nodePushes, file: "syncd-cache.mjs", right: "if (String(kind) === \"invalidate\")",
            wrong: "if (String(kind) === \"invalidated\")", check: "invalidation"),
        Mistake(
            client: .nodePushes, file: "syncd-cache.mjs",
            right: "if (String(kind) === \"epoch\") this.#entries.clear();",
            wrong:
                "if (String(kind) === \"epoch\" && fields[0] !== this.epoch) { this.epoch = fields[0]; this.#entries.clear(); }",
            check: "same-epoch"),
        Mistake(
            client: .nodePushes, file: "syncd-cache.mjs", right: "at: heartbeat / 1e6,", wrong: "at: bootTime(),",
            check: "old-heartbeat"),
        Mistake(
            client: .nodePushes, file: "syncd-cache.mjs",
            right: "const timer = setTimeout(() => connection.end(), SILENCE);",
            wrong: "const timer = 0;", check: "wait-silence"),
        Mistake(
            client: .nodePushes, file: "syncd-cache.mjs",
            right: "if (other === undefined) return this.#tickets.set(ticket, half);",
            wrong: "if (other === undefined) return typeof half === \"function\" && this.#tickets.set(ticket, half);",
            check: "overtaken-ticket"),
    ]

    private static let stock = [
        Mistake(
            client: .nodePlain, file: "plain-worker.cjs",
            right: "setTimeout(() => client.disconnect().catch(() => {}), SILENCE)",
            wrong: "0", check: "silence")
    ]
}

/// A check that cannot fail is none: each of these mistakes is noticed by the check that is there for it.
@Suite(.tags(.preciseTiming), .processes) struct CheckMutantTests {
    @Test(arguments: Mistake.all)
    func `the mistake is noticed`(_ mistake: Mistake) async throws {
        let copy = try TemporaryDirectory()
        try FileManager.default.copyItem(atPath: ExampleClient.folder, toPath: copy.file("examples"))
        let language = mistake.file.hasSuffix(".py") ? "python" : "node"
        let path = copy.file("examples/\(language)/\(mistake.file)")
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try #require(text.components(separatedBy: mistake.right).count == 2, "\(mistake.right) stands there once")
        try text.replacingOccurrences(of: mistake.right, with: mistake.wrong)
            .write(toFile: path, atomically: true, encoding: .utf8)

        let runner = CheckRunner(launch: { environment, errorPath in
            try await mistake.client.launch(environment, errorPath: errorPath, folder: copy.file("examples"))
        })
        let verdicts = try await runner.run([mistake.check])
        let verdict = try #require(verdicts.first?.verdict)
        guard case .broken(let how) = verdict else {
            Issue.record("\(mistake.check) is \(verdict)")
            return
        }
        #expect(!how.contains("SyntaxError"))
    }
}
