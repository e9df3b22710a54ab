import IPCWire
import TestSupport
import Testing

@testable import IPC

/// A syncd that has slept answers nothing from cache until it knows what it has missed.
@Suite(.tags(.servers), .processes) struct FenceTests {
    @Test(arguments: Home.allCases) func `stopped for longer than the trust window`(home: Home) async throws {
        let redis = home == .redis ? try await RedisServer() : nil
        let host = try await Host(redis)
        let journal = try WorkerJournal(path: host.syncd.directory.file("journal"))
        for round in 1...3 {
            let key = "key\(round)"
            try await host.client.store(key, "old", tags: ["users"])
            #expect(try await host.client.hit(key).text == "old")
            host.syncd.pause()
            let heartbeat = host.table.heartbeat
            await eventually("workers do not believe the table any more") { BootClock.now > heartbeat + 1_100_000_000 }
            // A worker whose write nobody takes renames its intent, and answers after one trust window.
            #expect(try journal.begin(["users"]).becomePending())
            try await host.client.send("FETCH", key)
            host.syncd.resume()
            let reply = try FetchReply(try await host.client.reply())
            #expect(reply.value == nil, "asked while it stood still, answered when it had just woken: \(reply)")
            let woken = BootClock.now
            await eventually("it writes heartbeats again") { host.table.heartbeat > woken && host.isAttached }
            #expect(host.slot("users") > 0)
            #expect(try await host.client.fetch(key).value == nil)
        }
        withExtendedLifetime(redis) {}
    }

    @Test func `another host's write while it stood still`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        for round in 1...3 {
            let key = "key\(round)"
            try await hosts[0].client.store(key, "old", tags: ["users"])
            #expect(try await hosts[0].client.hit(key).text == "old")
            hosts[0].syncd.pause()
            let heartbeat = hosts[0].table.heartbeat
            await eventually("time passes") { BootClock.now > heartbeat + 1_500_000_000 }
            let position = try await hosts[1].client.invalidate("users")
            try await hosts[0].client.send("FETCH", key)
            hosts[0].syncd.resume()
            #expect(try FetchReply(try await hosts[0].client.reply()).value == nil)
            await hosts[0].waitUntilApplied(position)
            await hosts[0].waitUntilAttached()
            #expect(try await hosts[0].client.fetch(key).value == nil)
        }
    }

    @Test func `a short pause is nothing`() async throws {
        let host = try await Host(nil)
        try await host.client.store("key", "value")
        for _ in 0..<5 {
            host.syncd.pause()
            let paused = ContinuousClock.now
            await eventually("some time passes") { ContinuousClock.now - paused > .milliseconds(100) }
            host.syncd.resume()
            #expect(try await host.client.hit("key").text == "value")
        }
        #expect(host.isAttached)
    }

    @Test func `nothing that was asked while it slept is lost`() async throws {
        let host = try await Host(nil)
        host.syncd.pause()
        let clients = try (0..<20).map { _ in try RESPSocket(path: host.syncd.socketPath) }
        for client in clients { try await client.send("INVALIDATE", "TAGS", "a") }
        let paused = ContinuousClock.now
        await eventually("some time passes") { ContinuousClock.now - paused > .milliseconds(1200) }
        host.syncd.resume()
        var positions: Set<Int> = []
        for client in clients { positions.insert(try await client.reply().number ?? 0) }
        #expect(positions == Set(1...20))
    }
}
