import IPCWire
import NIOCore
import TestSupport
import Testing

/// A Redis that says anything: syncd never believes it, never dies of it, and goes on when it is sane again.
@Suite(.tags(.servers), .processes) struct MalformedServerTests {
    /// A host behind a proxy that can speak for Redis.
    private struct Scene {
        let redis: RedisServer
        let proxy: RedisProxy
        let host: Host

        init() async throws {
            redis = try await RedisServer()
            proxy = try await RedisProxy(redis)
            host = try await Host(redis, ["REDIS_URL": proxy.url])
        }

        /// syncd lives, and is attached as soon as Redis is sane.
        func expectRecovery(_ what: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
            proxy.setRule(nil)
            let isAlive = try await host.client.command("PING").string == "PONG"
            #expect(isAlive, "\(what)", sourceLocation: sourceLocation)
            await host.waitUntilAttached(within: .seconds(15), sourceLocation: sourceLocation)
            let position = try await host.client.invalidate("after", sourceLocation: sourceLocation)
            #expect(host.slot("after") == position, "\(what)", sourceLocation: sourceLocation)
        }
    }

    /// No reply at all, or one of a type that nobody expects.
    private static let nonsense = [
        "hello\r\n", "\r\n", "%1\r\n+a\r\n+b\r\n", ">1\r\n+a\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(1\r\n",
        "=5\r\ntxt:a\r\n", "!3\r\nERR\r\n", "|1\r\n+a\r\n+b\r\n", "~1\r\n+a\r\n", "$-2\r\n", "$+5\r\nhello\r\n",
        "$9223372036854775807\r\n", "*2147483647\r\n", "*9223372036854775808\r\n", "*-7\r\n", ":\r\n", ":abc\r\n",
        ":99999999999999999999\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "+OK\r\n", ":1\r\n", "$0\r\n\r\n", "$-1\r\n", "*0\r\n", "*-1\r\n", "*1\r\n:1\r\n",
        "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        "*2\r\n:1\r\n:1\r\n", "*3\r\n:1\r\n$3\r\nabc\r\n$1\r\n7\r\n", "*5\r\n*-1\r\n*-1\r\n*-1\r\n*-1\r\n*-1\r\n",
        "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n", "-\r\n", "-WHATEVER else\r\n",
        "+OK\r\n+OK\r\n+OK\r\n", "$536870912\r\n",
    ]

    @Test(arguments: ["MGET", "EVALSHA", "XRANGE", "PUBLISH", "INFO"])
    func `as the answer to a command`(command: String) async throws {
        let scene = try await Scene()
        try await scene.host.client.invalidate("before")
        for text in Self.nonsense {
            scene.proxy.setRule { $0[0] == command ? .answer(text) : .forward }
            // Something that needs each of the commands; what it is answered is not the point.
            let client = try await scene.host.syncd.connect()
            try await client.send("FETCH", "k")
            try await client.send("INVALIDATE", "TAGS", "a")
            try await client.send("PUBLISH", "c", "p")
            for _ in 0..<3 {
                let reply = try await client.reply()
                #expect(reply != .null, "\(ByteBuffer(string: text).escaped)")
            }
            if command == "INFO" || command == "XRANGE" { try await scene.proxy.closeAll() }
        }
        try await scene.expectRecovery(command)
    }

    @Test func `unasked, on either connection`() async throws {
        let scene = try await Scene()
        for text in Self.nonsense {
            try await scene.proxy.inject(text, intoSubscription: true)
            try await scene.proxy.inject(text, intoSubscription: false)
        }
        try await scene.expectRecovery("unasked")
    }

    @Test func `messages that are none of the log's`() async throws {
        let scene = try await Scene()
        let position = try await scene.host.client.invalidate("a")
        let epoch = scene.host.table.epoch
        let incarnation = scene.host.table.incarnation.description
        let body = "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$0\r\n\r\n$6\r\nforged\r\n"
        func message(_ payload: String) -> String {
            "*3\r\n$7\r\nmessage\r\n$11\r\n{syncd}:log\r\n$\(payload.utf8.count)\r\n\(payload)\r\n"
        }
        for payload in [
            "", "nonsense", incarnation, "\(incarnation) ", "\(incarnation) \(position + 1)",
            "\(incarnation) \(position + 1) ", "\(incarnation) \(position + 1) \(body.dropLast())",
            "\(incarnation) -1 \(body)", "\(incarnation) 99999999999999999999 \(body)",
            "\(incarnation) x \(body)",
        ] {
            try await scene.proxy.inject(message(payload), intoSubscription: true)
        }
        for parts in [
            "*2\r\n$7\r\nmessage\r\n$11\r\n{syncd}:log\r\n", "*1\r\n$7\r\nmessage\r\n", "*0\r\n",
            "*3\r\n:1\r\n:2\r\n:3\r\n",
        ] {
            try await scene.proxy.inject(parts, intoSubscription: true)
        }
        try await scene.expectRecovery("messages")
        #expect(scene.host.slot("forged") == 0)
        #expect(scene.host.table.epoch == epoch, "nothing was believed, nothing was lost")
    }

    @Test func `entries of the stream that are none`() async throws {
        for entries in [
            "*1\r\n*2\r\n$3\r\n9-0\r\n*0\r\n", "*1\r\n*2\r\n$3\r\n9-0\r\n*-1\r\n", "*1\r\n*1\r\n$3\r\n9-0\r\n",
            "*1\r\n*2\r\n$3\r\n9-5\r\n*2\r\n$1\r\nb\r\n$1\r\nx\r\n",
            "*1\r\n*2\r\n$1\r\nx\r\n*2\r\n$1\r\nb\r\n$1\r\nx\r\n",
            "*1\r\n*2\r\n$3\r\n9-0\r\n*2\r\n$1\r\nb\r\n$1\r\nx\r\n", "*1\r\n$3\r\n9-0\r\n",
        ] {
            let redis = try await RedisServer()
            let writer = try await Host(redis)
            for _ in 0..<3 { try await writer.client.invalidate("a") }
            let proxy = try await RedisProxy(redis)
            proxy.setRule { $0[0] == "XRANGE" ? .answer(entries) : .forward }
            let syncd = try await SyncdProcess(redis: redis, environment: ["REDIS_URL": proxy.url])
            #expect(try await syncd.command("PING").string == "PONG")
            proxy.setRule(nil)
            try await syncd.waitUntilAttached()
            await writer.waitUntilAttached()
            let position = try await writer.client.invalidate("b")
            try await eventually("both have one log again", details: { syncd.transcript }) {
                try await syncd.status("log", "applied")?.number ?? 0 >= position
            }
        }
    }

    @Test func `error replies, one after the other`() async throws {
        let scene = try await Scene()
        let epoch = scene.host.table.epoch
        for code in [
            "LOADING x", "BUSY x", "OOM x", "MISCONF x", "NOREPLICAS x", "CLUSTERDOWN x", "TRYAGAIN x", "MASTERDOWN x",
            "READONLY x", "UNBLOCKED x", "MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1", "NOAUTH x",
            "ERR max number of clients reached", "ERR x", "EXECABORT x",
        ] {
            scene.proxy.setRule { $0[0] == "EVALSHA" || $0[0] == "EVAL" ? .answer("-\(code)\r\n") : .forward }
            try await scene.host.deferred("during \(code)")
            await scene.host.waitUntilIsolated()
            let why = try await scene.host.syncd.status("log", "why")?.string ?? ""
            #expect(!why.isEmpty && why != "starting", "\(code): \(why)")
            scene.proxy.setRule(nil)
            await scene.host.waitUntilAttached(within: .seconds(15))
            #expect(scene.host.slot("during \(code)") > 0)
        }
        #expect(scene.host.table.epoch == epoch, "a refusal costs no cache")
    }
}
