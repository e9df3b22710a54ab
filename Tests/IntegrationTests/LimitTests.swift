import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

/// A client that asks for too much, or reads too slowly, harms itself alone.
@Suite(.tags(.servers), .processes) struct LimitTests {
    @Test func `one client too many`() async throws {
        let (_, syncd) = try await Home.embedded.start(["SYNCD_LIMIT_CLIENTS": "3"])
        try await eventually("nobody else is connected") {
            try await syncd.status()["clients"]?.elements?.count == 1
        }
        var clients = [try await syncd.connect(), try await syncd.connect(), try await syncd.connect()]
        let fourth = try RESPSocket(path: syncd.socketPath)
        #expect(try await fourth.reply().errorText == "ERR max number of clients reached")
        #expect(try await fourth.closes())
        for client in clients { #expect(try await client.command("PING").string == "PONG") }
        clients.removeLast()
        await eventually("there is room again") { (try? await syncd.connect()) != nil }
    }

    @Test func `leases, waiters and subscriptions`() async throws {
        let (_, syncd) = try await Home.embedded.start([
            "SYNCD_LIMIT_LEASES": "2", "SYNCD_LIMIT_WAITERS_PER_KEY": "2", "SYNCD_LIMIT_WAITERS": "3",
            "SYNCD_LIMIT_SUBSCRIPTIONS": "2",
        ])
        let client = try await syncd.connect()
        func busy(_ reply: FetchReply) -> Bool {
            if case .error(let error) = reply { error.code == .busy } else { false }
        }
        let first = try await client.lease("a")
        _ = try await client.lease("b")
        #expect(busy(try await client.fetch("c")))
        for key in ["a", "a", "b"] { _ = try await client.ticket(key) }
        #expect(busy(try await client.fetch("a", wait: 1000)))
        #expect(busy(try await client.fetch("b", wait: 1000)))
        #expect(try await client.fetch("b").isMiss)
        #expect(try await client.fill("a", first.id, "x") == nil)
        #expect(try await client.fetch("c").isLease, "there is room again")
        #expect(try await client.command("SUBSCRIBE", "a", "b", "c").errorText?.hasPrefix("BUSY ") == true)
        try await client.send("SUBSCRIBE", "a", "b")
        #expect(try await client.push("subscribe") != nil)
        #expect(try await client.command("PSUBSCRIBE", "c").errorText?.hasPrefix("BUSY ") == true)
    }

    @Test(arguments: [20, 200]) func `requests in flight, then reading pauses`(limit: Int) async throws {
        let syncd = try await SyncdProcess(environment: ["SYNCD_LIMIT_REQUESTS_IN_FLIGHT": "\(limit)"])
        var greatest = 0
        // Under a new table answers to INVALIDATE wait for a second: time to look, unless the machine is very busy.
        for _ in 0..<5 where greatest < limit {
            syncd.kill()
            try FileManager.default.removeItem(atPath: syncd.directory.file("tags.table"))
            try await syncd.start()
            let client = try await syncd.connect(name: "flood")
            let other = try await syncd.connect()
            try await client.send(
                raw: String(repeating: "*3\r\n$10\r\nINVALIDATE\r\n$4\r\nTAGS\r\n$1\r\na\r\n", count: 3000))
            let deadline = ContinuousClock.now + .seconds(1)
            while greatest < limit, ContinuousClock.now < deadline {
                let clients = try await other.command("STATUS", "clients")["clients"]?.elements ?? []
                let flood = clients.first { $0["name"]?.string == "flood" }
                greatest = max(greatest, flood?["in-flight"]?.number ?? 0)
            }
            for number in 1...3000 { #expect(try await client.reply().number == number) }
        }
        #expect(greatest == limit)
    }

    @Test func `a reader that is slow gets one epoch push for all`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let slow = try await syncd.connect(name: "slow")
        #expect(try await slow.command("TRACK", "ON").string == "OK")
        let quick = try await syncd.connect(name: "quick")
        #expect(try await quick.command("TRACK", "ON").string == "OK")
        let writer = try await syncd.connect()
        let tags = (0..<1000).map { "\($0)" + String(repeating: "t", count: 250) }
        for number in 1...12 {
            let reply = try await writer.command((["INVALIDATE", "TAGS"] + tags).map { ByteBuffer(string: $0) })
            #expect(reply.number == number)
            #expect(try await quick.push("invalidate")?[1].number == number, "others see everything")
        }
        await eventually("it is logged", details: { syncd.transcript }) {
            syncd.log.contains("client is slow: its pushes collapsed into one")
        }
        // Pushes on their way arrive, then the epoch instead of the rest, and later pushes arrive again.
        let push = try #require(try await slow.push("epoch", where: { $0[2] == .text("slow") }))
        #expect(push[1].number == (try await syncd.status("log", "epoch")?.number))
        try await writer.invalidate("last")
        #expect(try await slow.push("invalidate") { $0[2] == .array([.text("last")]) } != nil)
        #expect(try await slow.command("PING").string == "PONG", "its replies were never lost")
    }

    @Test func `who lets its output grow is closed`() async throws {
        let (_, syncd) = try await Home.embedded.start(["SYNCD_LIMIT_UNSENT_BYTES": "1000000"])
        let client = try await syncd.connect(name: "deaf")
        let loader = try await syncd.connect()
        let value = String(repeating: "v", count: 300_000)
        // Outcomes of fetches are answers: they are never dropped.
        var leases: [LeaseID] = []
        for number in 0..<8 {
            leases.append(try await loader.lease("key\(number)").id)
            _ = try await client.ticket("key\(number)")
        }
        for (number, lease) in leases.enumerated() {
            #expect(try await loader.fill("key\(number)", lease, value) == nil)
        }
        await eventually("its end is logged", details: { syncd.transcript }) {
            syncd.log.contains("client closed") && syncd.log.contains("bytes are unsent")
        }
        #expect(try await client.closes())
        #expect(try await loader.command("PING").string == "PONG")
    }

    @Test func `who asks for more than it reads at once gets everything`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        try await client.store("big", String(repeating: "v", count: 1_000_000))
        try await client.send(raw: String(repeating: "*2\r\n$5\r\nFETCH\r\n$3\r\nbig\r\n", count: 200))
        for _ in 0..<200 {
            let reply = try FetchReply(try await client.reply())
            #expect(reply.value?.utf8.count == 1_000_000)
        }
    }

    @Test func `a client that never reads costs little`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        let text = String(repeating: "x", count: 1000)
        let frames = String(repeating: "*2\r\n$4\r\nECHO\r\n$1000\r\n\(text)\r\n", count: 1000)
        // 100 MB, as far as they are taken.
        for _ in 0..<100 {
            do {
                try await client.send(bytes: ByteBuffer(string: frames), within: .milliseconds(200))
            } catch {
                break
            }
        }
        #expect(try ProcessMemory.resident(syncd.pid) < 150 << 20)
        #expect(try await syncd.command("PING").string == "PONG")
    }

    @Test func `values up to 8 MiB, in Redis up to 1 MiB`() async throws {
        for home in Home.allCases {
            let (redis, syncd) = try await home.start()
            let client = try await syncd.connect()
            let lease = try await client.lease("key")
            let tooBig = String(repeating: "v", count: (8 << 20) + 1)
            #expect(try await client.fill("key", lease.id, tooBig) == "TOOBIG")
            #expect(try await client.fill("key", lease.id, String(tooBig.dropLast())) == nil)
            #expect(try await client.hit("key").value?.readableBytes == 8 << 20)
            // The arena alone has it.
            if let redis { #expect(try await redis.command("EXISTS", "{syncd}:v:key").number == 0) }
        }
    }

    @Test func `without descriptors it goes on, and takes clients again when there are some`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(syncd.pid)/fd").count
        let limit = try await ChildProcess.run(
            try Executables.find("prlimit"), ["--pid", "\(syncd.pid)", "--nofile=\(open + 4)"])
        #expect(limit.exit == .status(0))
        var others: [RESPSocket] = []
        for _ in 0..<20 { others.append(try RESPSocket(path: syncd.socketPath)) }
        #expect(try await client.command("PING").string == "PONG")
        try await client.invalidate("a")
        others.removeAll()
        let start = PatientClock.now
        await eventually("it accepts again", within: .seconds(3)) {
            (try? await RESPSocket(path: syncd.socketPath).command("PING", within: .seconds(1)))?.string == "PONG"
        }
        #expect(PatientClock.now - start < .seconds(2))
        #expect(try await syncd.isAttached)
    }
}
