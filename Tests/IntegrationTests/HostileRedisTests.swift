import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

/// A Redis that answers nonsense: syncd lives, its memory stays bounded, it drops the connection and comes back without
/// haste, writes are answered meanwhile, and when the server is honest again, so is everything else.
@Suite(.tags(.servers), .processes, .serialized) struct HostileRedisTests {
    // MARK: Frames

    /// Bytes that are no reply.
    private static let frames: [String] = [
        "$-2\r\n", "$05\r\nhello\r\n", "$ 5\r\n", "$0x5\r\n", "$٥\r\n", "$9223372036854775807\r\n",
        "$9223372036854775808\r\n", "$536870913\r\n", "*-2\r\n", "*2147483647\r\n", "*9223372036854775807\r\n",
        "*65537\r\n", "*-1\r\n", "*0\r\n", "$-1\r\n", ":\r\n", ":1e5\r\n", ":99999999999999999999\r\n", "+\r\n",
        "-\r\n",
        "%1\r\n+a\r\n+b\r\n", ">1\r\n+a\r\n", "|1\r\n+a\r\n+b\r\n", "_\r\n", "$?\r\n;4\r\nabcd\r\n;0\r\n",
        "\u{0}\r\n", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}", "+OK\n",
        "$3\r\nabcd\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "+OK\r\n+OK\r\n+OK\r\n",
        "*2\r\n$-1\r\n$-1\r\n", "*2\r\n*0\r\n*0\r\n", "*2\r\n-ERR a\r\n-ERR b\r\n", "-\u{1b}[31mred\u{7}\r\n",
    ]

    /// Which command each of the frames answers: they take turns.
    private static let victims = ["MGET", "INFO", "EVALSHA", "EVAL", "SCRIPT", "ROLE", "CLIENT", "SUBSCRIBE", "PING"]

    /// Commands that are only sent while nothing is appended.
    private static let quiet = ["MGET", "ROLE", "PING"]

    /// Several syncds share the frames: most of the time, each waits before it connects again.
    private static let daemons = 3

    @Test func `frames that are none, in the place of every reply`() async throws {
        let told = Array(Self.frames.enumerated()).map { (victim: $0 % Self.victims.count, frame: $1) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<Self.daemons {
                let share = told.filter { $0.victim % Self.daemons == number }
                group.addTask { try await tell(share.map { (Self.victims[$0.victim], $0.frame) }) }
            }
            try await group.waitForAll()
        }
    }

    /// Tells one syncd frames, one after the other.
    private func tell(_ lies: [(victim: String, frame: String)]) async throws {
        let redis = try await RedisServer()
        let hostile = try await HostileRedis(before: redis)
        let syncd = try await start(hostile)
        try await syncd.waitUntilAttached()
        let memory = try ProcessMemory.resident(syncd.pid)
        let watch = StaleReadWatch(syncd)
        try await watch.during {
            for (victim, frame) in lies {
                watch.rest(Self.quiet.contains(victim))
                try await harm(
                    hostile, redis, syncd, "\(victim): \(frame.debugDescription)", victim: victim,
                    .bytes(ByteBuffer(string: frame)))
            }
        }
        let grown = try ProcessMemory.resident(syncd.pid) - memory
        #expect(grown < 64 << 20, "\(grown) bytes more")
    }

    /// As the answer to everything: nothing works, and nothing runs hot.
    @Test func `one answer to everything`() async throws {
        let answers = ["+OK\r\n", "*0\r\n", "$-1\r\n", ":1\r\n", "-ERR no\r\n", "*1\r\n$3\r\nabc\r\n", "x"]
        // Together: each takes 3 s, and next to no processor time.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for answer in answers { group.addTask { try await alwaysAnswer(answer) } }
            try await group.waitForAll()
        }
    }

    private func alwaysAnswer(_ frame: String) async throws {
        let what: Comment = "\(frame.debugDescription)"
        let redis = try await RedisServer()
        let hostile = try await HostileRedis(before: redis)
        hostile.lie { _, _ in .bytes(ByteBuffer(string: frame)) }
        let syncd = try await start(hostile)
        let socket = try await syncd.connect()
        let connections = hostile.connections
        let lies = hostile.lies
        let uptime = try await syncd.status("server", "uptime-ms")?.number ?? 0
        await eventually("3 s pass") { ((try? await syncd.status("server", "uptime-ms")?.number) ?? 0) > uptime + 3000 }
        #expect(hostile.connections - connections < 30, "\(what): tries within 3 s, of two connections")
        #expect(hostile.lies - lies < 300, "\(what): commands within 3 s")
        #expect(try await socket.command("INVALIDATE", "TAGS", "a").string == "DEFERRED", what)
        #expect(try await syncd.isAttached == false, what)
        hostile.behave()
        try await syncd.waitUntilAttached()
        #expect(try await syncd.status("log", "pending")?.number == 0, what)
    }

    // MARK: Sizes

    @Test func `replies without an end`() async throws {
        let redis = try await RedisServer()
        let hostile = try await HostileRedis(before: redis)
        let syncd = try await start(hostile)
        try await syncd.waitUntilAttached()
        let memory = try ProcessMemory.resident(syncd.pid)
        let zeros = ByteBuffer(repeating: 0x30, count: 256 << 10)
        let arrays = ByteBuffer(string: String(repeating: "*1\r\n*1\r\n:1\r\n", count: 10_000))
        let floods: [(String, ByteBuffer, ByteBuffer)] = [
            ("a bulk string", ByteBuffer(string: "$2000000000\r\n"), zeros),
            ("a line", ByteBuffer(string: "+"), zeros),
            ("a length", ByteBuffer(string: "$"), zeros),
            ("arrays", ByteBuffer(string: "*60000\r\n"), arrays),
            ("replies", ByteBuffer(), ByteBuffer(string: String(repeating: "+OK\r\n", count: 10_000))),
        ]
        for (what, head, piece) in floods {
            for victim in ["MGET", "INFO", "SUBSCRIBE"] {
                try await harm(
                    hostile, redis, syncd, "\(what) in answer to \(victim)", victim: victim,
                    .endless(head, piece: piece))
            }
        }
        // 64 MiB is what one reply may have; the two connections and the allocator's spare come on top.
        let grown = try ProcessMemory.resident(syncd.pid) - memory
        #expect(grown < 400 << 20, "\(grown) bytes more")
    }

    /// Entries far ahead of the log, while the missing ones are not to be had, or are not there.
    @Test(arguments: [true, false]) func `early entries without an end`(isReadAnswered: Bool) async throws {
        let redis = try await RedisServer()
        let hostile = try await HostileRedis(before: redis)
        let syncd = try await start(hostile)
        try await syncd.waitUntilAttached()
        if !isReadAnswered { hostile.lie { _, name in name == "XRANGE" ? .bytes(ByteBuffer()) : .honest } }
        let memory = try ProcessMemory.resident(syncd.pid)
        var greatest = 0
        var position = 1000
        var incarnation = ""
        // Small ones, such as long as an entry may be, and longer. Kept, they would take 135 MiB. An answer
        // shows that there are none, and they are forgotten.
        let batches =
            isReadAnswered
            ? [(1000, 1, 1, 500), (10, 4, 200_000, 10), (1, 1, 30 << 20, 1)]
            : [(2000, 1, 1, 1000), (60, 4, 200_000, 20), (3, 1, 30 << 20, 1)]
        for (count, tags, bytes, batch) in batches {
            for _ in 0..<count / batch {
                // The incarnation may be another one by now.
                incarnation = try await syncd.status("log", "incarnation")?.string ?? incarnation
                var pushes = ByteBuffer()
                for _ in 0..<batch {
                    position += 1
                    pushes.writeImmutableBuffer(Self.entry(incarnation, position, tags: tags, bytes: bytes))
                }
                try await hostile.push(pushes)
                greatest = max(greatest, try ProcessMemory.resident(syncd.pid) - memory)
            }
        }
        #expect(greatest < 96 << 20, "\(greatest) bytes more")
        hostile.behave()
        try await syncd.waitUntilAttached()
        #expect(syncd.child.isRunning)
    }

    private static func entry(_ incarnation: String, _ position: Int, tags: Int, bytes: Int) -> ByteBuffer {
        var body = RESPWriter(version: .v2)
        body.arrayHeader(3 + tags)
        for word in ["1", "\(position)", ""] { body.bulkString(word) }
        let tag = ByteBuffer(repeating: 0x61, count: bytes)
        for _ in 0..<tags { body.bulkString(tag) }
        var payload = ByteBuffer(string: "\(incarnation) \(position) ")
        payload.writeImmutableBuffer(body.buffer)
        var message = RESPWriter(version: .v2)
        message.arrayHeader(3)
        message.bulkString("message")
        message.bulkString("{syncd}:log")
        message.bulkString(payload)
        return message.buffer
    }

    /// INFO and the log's record are as long as a reply may be, and of a kind that costs the most to read.
    @Test func `long replies of many small parts`() async throws {
        let redis = try await RedisServer()
        let hostile = try await HostileRedis(before: redis)
        let syncd = try await start(hostile)
        try await syncd.waitUntilAttached()
        let memory = try ProcessMemory.resident(syncd.pid)
        let length = 48 << 20
        func bulk(_ text: String) -> ByteBuffer {
            var buffer = ByteBuffer(string: "$\(length)\r\n")
            buffer.writeString(String(repeating: text, count: length / text.utf8.count))
            buffer.writeString("\r\n")
            return buffer
        }
        var record = ByteBuffer(string: "*2\r\n")
        record.writeImmutableBuffer(bulk(" "))
        record.writeString("$1\r\n1\r\n")
        for (victim, reply) in [("INFO", bulk(":\n")), ("MGET", record), ("SCRIPT", bulk("a"))] {
            var greatest = 0
            let before = hostile.lies
            hostile.lie { _, name in name == victim ? .bytes(reply) : .honest }
            try await provoke(victim, redis)
            await eventually("\(victim) is lied about", within: .seconds(20)) { hostile.lies > before }
            for _ in 0..<50 {
                _ = try await syncd.command("INVALIDATE", "TAGS", "a")
                greatest = max(greatest, try ProcessMemory.resident(syncd.pid) - memory)
            }
            #expect(greatest < 600 << 20, "\(victim): \(greatest) bytes more")
            hostile.behave()
            try await syncd.waitUntilAttached()
        }
    }

    // MARK: Meaning

    @Test func `replies that are well-formed and wrong`() async throws {
        let redis = try await RedisServer()
        let hostile = try await HostileRedis(before: redis)
        let syncd = try await start(hostile)
        try await syncd.waitUntilAttached()
        let other = String(repeating: "ab", count: 16)
        func bulk(_ text: String) -> String { "$\(text.utf8.count)\r\n\(text)\r\n" }
        func page(_ ids: [String], _ fields: [String]) -> String {
            let entries = ids.map { id in "*2\r\n\(bulk(id))*\(fields.count)\r\n\(fields.map(bulk).joined())" }
            return "*\(ids.count)\r\n\(entries.joined())"
        }
        let replies: [(victim: String, reply: String)] = [
            ("MGET", "*2\r\n\(bulk("\(other) a b"))\(bulk("5"))"), ("MGET", "*2\r\n\(bulk(other))\(bulk("5"))"),
            ("MGET", "*3\r\n$-1\r\n$-1\r\n$-1\r\n"), ("MGET", "*2\r\n$-1\r\n\(bulk("5"))"),
            ("EVALSHA", "*3\r\n:1\r\n\(bulk(other))\(bulk("1"))"), ("EVALSHA", "*2\r\n:0\r\n\(bulk("nonsense"))"),
            ("EVALSHA", "*6\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n:0\r\n"),
            ("EVALSHA", "*6\r\n\(bulk("\(other) a b"))\(bulk("7"))\(bulk("9-9"))\(bulk("1-1"))$-1\r\n:0\r\n"),
            ("XRANGE", page(["1-0"], ["b"])), ("XRANGE", page(["1-0"], ["b", "nonsense"])),
            ("XRANGE", page(["nonsense"], ["b", "c"])), ("XRANGE", page(["5-0", "4-0", "4-0"], ["b", "c"])),
            ("XRANGE", "*0\r\n"), ("XRANGE", page((0..<3000).map { "\($0)-0" }, ["b", "c"])),
            ("INFO", bulk("")), ("INFO", bulk("role:slave\r\n")), ("INFO", bulk("run_id:a b\r\nmaster_replid:c\r\n")),
            ("INFO", bulk("run_id:\(other)\nrun_id:x\rmaster_replid:\(other)\r\n\r\n\r\n")),
            ("INFO", bulk(String(repeating: "x", count: 1 << 20))), ("INFO", "$4\r\n\u{0}\u{1}\u{2}\u{3}\r\n"),
            ("INFO", bulk("redis_version:99.1\r\nrun_id:\(other)\r\nmaster_replid:\(other)\r\nunknown_field:1\r\n")),
            ("ROLE", "*1\r\n\(bulk("slave"))"), ("ROLE", "*1\r\n\(bulk("sentinel"))"),
            ("SUBSCRIBE", "*3\r\n\(bulk("subscribe"))\(bulk("other"))\(bulk("1"))"),
            ("SUBSCRIBE", "*3\r\n\(bulk("message"))\(bulk("{syncd}:log"))\(bulk("nonsense"))"),
        ]
        for (victim, reply) in replies {
            try await harm(
                hostile, redis, syncd, "\(victim): \(String(reply.prefix(60)).debugDescription)", victim: victim,
                .bytes(ByteBuffer(string: reply)))
        }
    }

    @Test func `what comes over the subscription and was never published`() async throws {
        let redis = try await RedisServer()
        let hostile = try await HostileRedis(before: redis)
        let syncd = try await start(hostile)
        try await syncd.waitUntilAttached()
        func message(_ parts: String...) -> String {
            "*\(parts.count)\r\n" + parts.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
        }
        let incarnation = try await syncd.status("log", "incarnation")?.string ?? ""
        let body = "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$0\r\n\r\n$1\r\na\r\n"
        let other = String(repeating: "ab", count: 16)
        let pushes = [
            message("message"), message("message", "{syncd}:log"), message("message", "{syncd}:log", ""),
            message("message", "{syncd}:log", "\(incarnation) 1"),
            message("message", "{syncd}:log", "\(incarnation) 9007199254740992 \(body)"),
            message("message", "{syncd}:log", "\(incarnation) 0 \(body)"),
            message("message", "{syncd}:log", "\(incarnation) 99999999999999999999 \(body)"),
            message("message", "{syncd}:log", "\(incarnation) 5 *1\r\n$1\r\na\r\n"),
            message("message", "{syncd}:log", "\(other) 1 \(body)"), message("message", "nobody:listens", "payload"),
            message("pmessage", "*", "{syncd}:log", "\(incarnation) 1 \(body)"), message("pmessage", "*"),
            message("subscribe", "unasked", "1"), message("nonsense"), message(), "*1\r\n:1\r\n", ":5\r\n", "+OK\r\n",
            "-ERR unasked\r\n", "*3\r\n$7\r\nmessage\r\n*0\r\n*0\r\n", "$5\r\nhello\r\n", "!\r\n",
        ]
        for push in pushes {
            try await hostile.push(ByteBuffer(string: push))
            let reply = try await syncd.command("INVALIDATE", "TAGS", "a")
            #expect(reply.number != nil || reply.string == "DEFERRED", "\(push.debugDescription): \(reply)")
            try await syncd.waitUntilAttached()
            #expect(syncd.child.isRunning, "\(push.debugDescription)\n\(syncd.transcript)")
        }
        let position = try #require(try await syncd.command("INVALIDATE", "TAGS", "a").number)
        #expect(position < 1000, "no position that was never given")
    }

    // MARK: Helpers

    private func start(_ hostile: HostileRedis) async throws -> SyncdProcess {
        try await SyncdProcess(environment: [
            "REDIS_ENABLED": "true", "REDIS_URL": hostile.url, "LOG_LEVEL": "notice",
        ])
    }

    /// Lies until one lie was told, then is honest, and waits until syncd trusts the server again.
    private func harm(
        _ hostile: HostileRedis, _ redis: RedisServer, _ syncd: SyncdProcess, _ what: Comment, victim: String,
        _ answer: HostileRedis.Answer
    ) async throws {
        let before = hostile.lies
        hostile.lie { _, name in name == victim ? answer : .honest }
        try await provoke(victim, redis)
        await eventually("a lie was told: \(what)", within: .seconds(20), details: { syncd.transcript }) {
            if Self.quiet.contains(victim) {
                _ = try? await syncd.command("FETCH", "hostile")
            } else {
                let reply = try? await syncd.command("INVALIDATE", "TAGS", "hostile")
                #expect(reply?.number != nil || reply?.string == "DEFERRED", "\(what): \(String(describing: reply))")
            }
            if hostile.lies > before { return true }
            // A host that replaces the log, because of the lie before, does not need the entry any more.
            if victim == "XRANGE" { try? await provoke(victim, redis) }
            return false
        }
        hostile.behave()
        try await syncd.waitUntilAttached()
        #expect(syncd.child.isRunning, "\(what)\n\(syncd.transcript)")
    }

    /// Brings syncd to send a command.
    private func provoke(_ command: String, _ redis: RedisServer) async throws {
        switch command {
        case "MGET", "ROLE", "PING": break
        case "XRANGE":
            // An entry that was not published: a probe shows it, and it is read from the stream.
            let script = """
                local position = (redis.call('GET', '{syncd}:position') or '0') + 1
                redis.call('XADD', '{syncd}:stream', position .. '-0', 'b', ARGV[1])
                redis.call('SET', '{syncd}:position', position)
                """
            try await redis.command("EVAL", script, "0", "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$0\r\n\r\n$1\r\na\r\n")
        default:
            // Everything else is said when a connection is made.
            try await redis.command("CLIENT", "KILL", "TYPE", "normal")
            try await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        }
    }
}
