import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

/// Changes of the log behind syncd's back: no earlier value is used, and service continues.
@Suite(.tags(.servers), .processes) struct RedisDataTests {
    /// A host with a value in L2 and some history, and what a test needs to see that nothing old survives.
    private struct Scene {
        let redis: RedisServer
        let host: Host
        let epoch: Epoch
        let position: Int
        let incarnation: Incarnation

        init(_ options: [String] = []) async throws {
            redis = try await RedisServer(options)
            host = try await Host(redis)
            for _ in 0..<5 { try await host.client.invalidate("users") }
            try await host.client.store("key", "old", tags: ["users"])
            #expect(try await host.client.hit("key").text == "old")
            position = Int(host.table.applied.number)
            epoch = host.table.epoch
            incarnation = host.table.incarnation
        }

        /// The epoch goes up, once, and after that the host is attached again; no position is given twice.
        func expectReset(within limit: Duration = .seconds(5), sourceLocation: SourceLocation = #_sourceLocation)
            async throws
        {
            await eventually(
                "the epoch is raised", within: limit, details: { host.syncd.transcript }, sourceLocation: sourceLocation
            ) { host.table.epoch > epoch }
            await host.waitUntilAttached(sourceLocation: sourceLocation)
            let value = try await host.client.fetch("key").value
            #expect(value == nil, "nothing old is served", sourceLocation: sourceLocation)
            let next = try await host.client.invalidate("users", sourceLocation: sourceLocation)
            #expect(next > position, "no position is given twice", sourceLocation: sourceLocation)
            #expect(host.slot("users") == next, sourceLocation: sourceLocation)
            #expect(host.table.epoch == epoch + 1, "one reset, no more", sourceLocation: sourceLocation)
        }
    }

    @Test func `FLUSHALL`() async throws {
        let scene = try await Scene()
        let kept = try await scene.redis.command("DUMP", "{syncd}:v:key")
        guard case .bulkString(let value) = kept else { return #expect(Bool(false), "\(kept)") }
        let start = PatientClock.now
        try await scene.redis.command("FLUSHALL")
        await eventually("it shows in the next probe") { scene.host.table.epoch > scene.epoch }
        #expect(PatientClock.now - start < .seconds(1))
        // Even an entry that comes back belongs to a log that is gone.
        let socket = try scene.redis.connect()
        let restore = ["RESTORE", "{syncd}:v:key", "0"].map { ByteBuffer(string: $0) } + [value]
        #expect(try await socket.command(restore).string == "OK")
        try await socket.command("PEXPIRE", "{syncd}:v:key", "60000")
        try await scene.expectReset()
        #expect(scene.host.table.incarnation != scene.incarnation)
    }

    @Test func `an invalidation right after FLUSHALL`() async throws {
        let scene = try await Scene()
        let socket = try scene.redis.connect()
        for _ in 0..<5 {
            try await socket.command("FLUSHALL")
            // The append meets a server without a log: the invalidation is pending, and follows when the log is
            // replaced.
            let reply = try await scene.host.client.command("INVALIDATE", "TAGS", "during")
            #expect(reply.string == "DEFERRED" || reply.number != nil)
            await scene.host.waitUntilAttached()
            await eventually("it is not lost") { scene.host.slot("during") > 0 }
        }
        #expect(scene.host.table.epoch >= scene.epoch + 5)
        #expect(try await scene.host.client.fetch("key").value == nil)
    }

    @Test(arguments: [true, false]) func `a restart, with the data and without`(keepingData: Bool) async throws {
        let scene = try await Scene()
        try await scene.redis.restart(keepingData: keepingData)
        try await scene.expectReset()
        #expect(scene.host.table.incarnation != scene.incarnation, "another process is another log")
    }

    @Test func `a restart that loses the last writes`() async throws {
        let scene = try await Scene()
        let second = try await Host(scene.redis)
        try await scene.redis.command("SAVE")
        try await scene.host.client.store("later", "value", tags: ["t"])
        var position = 0
        for _ in 0..<5 { position = try await scene.host.client.invalidate("t") }
        await second.waitUntilApplied(position)
        scene.redis.kill()
        try await scene.redis.start()
        for host in [scene.host, second] {
            // Until a host has noticed, for 2 s at most, it uses its caches.
            await eventually("it has another log") { host.table.incarnation != scene.incarnation }
            await host.waitUntilAttached()
            #expect(try await host.client.fetch("key").value == nil)
            let next = try await host.client.invalidate("t")
            #expect(next > position)
            position = next
        }
    }

    @Test func `a backup that is restored into the living server`() async throws {
        let scene = try await Scene()
        try await scene.redis.command("SAVE")
        for _ in 0..<3 { try await scene.host.client.invalidate("users") }
        #expect(try await scene.redis.command("DEBUG", "RELOAD", "NOSAVE").string == "OK")
        try await scene.expectReset()
        #expect(try await scene.host.client.invalidate("x") > scene.position + 4)
    }

    @Test(arguments: [
        ["DEL", "{syncd}:incarnation"], ["SET", "{syncd}:incarnation", "nonsense"],
        ["SET", "{syncd}:incarnation", "0123456789abcdef0123456789abcdef - -"],
        ["DEL", "{syncd}:position"], ["SET", "{syncd}:position", "1"], ["SET", "{syncd}:position", "many"],
        ["SET", "{syncd}:position", "-5"], ["SET", "{syncd}:position", "1e+300"],
        ["SET", "{syncd}:position", "99999999999999999999"],
    ])
    func `incarnation or position overwritten`(command: [String]) async throws {
        let scene = try await Scene()
        let socket = try scene.redis.connect()
        try await socket.command(command.map { ByteBuffer(string: $0) })
        try await scene.expectReset()
    }

    @Test(arguments: ["{syncd}:incarnation", "{syncd}:position", "{syncd}:stream"])
    func `a key of another type`(key: String) async throws {
        let scene = try await Scene()
        let socket = try scene.redis.connect()
        try await socket.command("DEL", key)
        try await socket.command("LPUSH", key, "x")
        // A stream that is none shows when something is appended or read.
        let reply = try await scene.host.client.command("INVALIDATE", "TAGS", "during")
        #expect(reply.string == "DEFERRED" || reply.number != nil)
        try await scene.expectReset()
        #expect(scene.host.slot("during") > 0)
        #expect(try await socket.command("TYPE", "{syncd}:stream").string == "stream")
    }

    @Test func `a stream that is ahead, or not ours`() async throws {
        for id in ["99999-0", "1526919030474-55", "18446744073709551615-18446744073709551615"] {
            let scene = try await Scene()
            #expect(try await scene.redis.command("XADD", "{syncd}:stream", id, "b", "x").string == id)
            let reply = try await scene.host.client.command("INVALIDATE", "TAGS", "during")
            #expect(reply.string == "DEFERRED" || reply.number != nil)
            try await scene.expectReset()
            #expect(scene.host.slot("during") > 0)
        }
    }

    @Test func `the stream deleted: nobody needs it who has seen everything`() async throws {
        let scene = try await Scene()
        let second = try await Host(scene.redis)
        try await scene.redis.command("DEL", "{syncd}:stream")
        let position = try await scene.host.client.invalidate("users")
        await second.waitUntilApplied(position)
        // A host that reconnects fails the continuity check, and starts from there.
        try await scene.redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        try await scene.redis.command("XTRIM", "{syncd}:stream", "MAXLEN", "0")
        let last = try await scene.host.client.invalidate("users")
        await scene.host.waitUntilAttached()
        await second.waitUntilApplied(last)
        await second.waitUntilAttached()
        for host in [scene.host, second] {
            #expect(host.slot("users") == last)
            #expect(try await host.client.fetch("key").value == nil)
        }
    }

    /// Cuts a host off while it stands still, so that it has to read what others append from the stream.
    private func behindTheBack(
        of host: Host, _ redis: RedisServer, _ body: () async throws -> Void
    ) async throws {
        host.syncd.pause()
        try await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        try await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        try await body()
        host.syncd.resume()
    }

    @Test func `entries trimmed before a host has read them`() async throws {
        let scene = try await Scene()
        let writer = try await Host(scene.redis)
        try await behindTheBack(of: scene.host, scene.redis) {
            await writer.waitUntilAttached()
            for number in 1...20 { try await writer.client.invalidate("t\(number)") }
            try await scene.redis.command("XTRIM", "{syncd}:stream", "MAXLEN", "3")
        }
        await eventually("the epoch is raised", details: { scene.host.syncd.transcript }) {
            scene.host.table.epoch == scene.epoch + 1
        }
        await scene.host.waitUntilAttached()
        #expect(try await scene.host.syncd.status("log", "epoch-reason")?.string == "trimmed")
        #expect(scene.host.table.incarnation == scene.incarnation)
        await scene.host.waitUntilApplied(scene.position + 20)
        #expect(Int(scene.host.table.firstKnownPosition.number) == scene.position + 17)
        #expect(scene.host.slot("t20") == scene.position + 20, "what is retained is applied")
        #expect(try await scene.host.client.fetch("key").value == nil)
    }

    @Test func `a single entry deleted before a host has read it`() async throws {
        let scene = try await Scene()
        let writer = try await Host(scene.redis)
        try await behindTheBack(of: scene.host, scene.redis) {
            await writer.waitUntilAttached()
            for number in 1...5 { try await writer.client.invalidate("t\(number)") }
            try await scene.redis.command("XDEL", "{syncd}:stream", "\(scene.position + 2)-0")
        }
        await eventually("the epoch is raised") { scene.host.table.epoch == scene.epoch + 1 }
        await scene.host.waitUntilAttached()
        await scene.host.waitUntilApplied(scene.position + 5)
        #expect(Int(scene.host.table.firstKnownPosition.number) == scene.position + 2)
        #expect(scene.host.slot("t5") == scene.position + 5)
    }

    @Test func `an entry that says something else than the one that was applied`() async throws {
        let scene = try await Scene()
        let writer = try await Host(scene.redis)
        try await behindTheBack(of: scene.host, scene.redis) {
            await writer.waitUntilAttached()
            // Another history up to the same position, under the same incarnation.
            try await scene.redis.command("DEL", "{syncd}:stream")
            let body = "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$0\r\n\r\n$5\r\nother\r\n"
            let id = "\(scene.position)-0"
            #expect(try await scene.redis.command("XADD", "{syncd}:stream", id, "b", body).string == id)
        }
        try await scene.expectReset()
        #expect(scene.host.table.incarnation != scene.incarnation)
    }

    @Test func `an entry that nobody can read`() async throws {
        let scene = try await Scene()
        let writer = try await Host(scene.redis)
        try await behindTheBack(of: scene.host, scene.redis) {
            let id = "\(scene.position + 1)-0"
            #expect(try await scene.redis.command("XADD", "{syncd}:stream", id, "b", "nonsense").string == id)
            try await scene.redis.command("SET", "{syncd}:position", "\(scene.position + 1)")
        }
        try await scene.expectReset()
        // Each of the two may have replaced the log; the one that was second is the log of both.
        await eventually("both have one log") {
            writer.table.state == .attached && scene.host.table.state == .attached
                && writer.table.incarnation == scene.host.table.incarnation
        }
    }

    @Test func `a server that is made a replica`() async throws {
        let scene = try await Scene()
        let other = try await RedisServer()
        #expect(try await scene.redis.command("REPLICAOF", "127.0.0.1", "\(other.portNumber)").string == "OK")
        let reply = try await scene.host.client.command("INVALIDATE", "TAGS", "during")
        #expect(reply.string == "DEFERRED", "never OK from a replica")
        await scene.host.waitUntilIsolated()
        #expect(try await scene.host.client.fetch("key").isMiss)
        #expect(try await scene.redis.command("REPLICAOF", "NO", "ONE").string == "OK")
        try await scene.expectReset(within: .seconds(10))
        #expect(scene.host.slot("during") > 0)
    }

    @Test func `all hosts agree on one new log`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(3, redis)
        let epochs = hosts.map(\.table.epoch)
        for _ in 0..<3 {
            try await redis.command("FLUSHALL")
            await eventually("each has raised its epoch and is attached") {
                zip(hosts, epochs).allSatisfy { $0.table.epoch > $1 && $0.isAttached }
                    && Set(hosts.map(\.table.incarnation)).count == 1
            }
            let position = try await hosts[0].client.invalidate("a")
            for host in hosts { await host.waitUntilApplied(position) }
        }
        let stored = try await redis.command("GET", "{syncd}:incarnation").string ?? ""
        #expect(stored.hasPrefix(hosts[0].table.incarnation.description))
    }

    /// A value's time to live says how long it may be stale at worst, so it must not get that of another value.
    @Test func `a value never comes with the time to live of another one`() async throws {
        let redis = try await RedisServer()
        // The proxy forwards commands one by one, so that others come in between.
        let between = try await HostileRedis(before: redis)
        let syncd = try await SyncdProcess(environment: ["REDIS_ENABLED": "true", "REDIS_URL": between.url])
        try await syncd.waitUntilAttached()
        let client = try await syncd.connect()
        var kept: [ByteBuffer] = []
        for text in ["short", "long"] {
            try await client.store(text, text, tags: ["t"])
            await eventually("Redis has it") {
                (try? await redis.command("EXISTS", "{syncd}:v:\(text)").number) == 1
            }
            let raw = try await redis.command("GET", "{syncd}:v:\(text)")
            kept.append(try #require({ if case .bulkString(let bytes) = raw { bytes } else { nil } }()))
        }
        let writer = try redis.connect()
        let words = zip(kept, ["5000", "50000"]).map { value, ttl in
            ["SET", "{syncd}:v:key"].map { ByteBuffer(string: $0) } + [value]
                + ["PX", ttl].map { ByteBuffer(string: $0) }
        }
        try await writer.command(words[0])
        let writing = Task {
            while !Task.isCancelled {
                for _ in 0..<50 { for command in words { try await writer.send(command) } }
                for _ in 0..<100 { _ = try await writer.reply() }
            }
        }
        for _ in 0..<1500 {
            guard case .outcome(.hit(let hit)) = try await client.fetch("key") else { continue }
            let isShort = hit.value == ByteBuffer(string: "short")
            #expect(isShort == (hit.ttlMilliseconds <= 5000), "\(hit)")
            if isShort != (hit.ttlMilliseconds <= 5000) { break }
        }
        writing.cancel()
        _ = await writing.result
    }
}
