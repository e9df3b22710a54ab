import Foundation
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import IPC
@testable import IPCWire

/// The values that all processes of a host share (docs/consistency.md, "The value arena"), with real processes.
@Suite(.tags(.servers), .processes) struct ValueArenaTests {
    @Test func `without Redis, values outlive syncd, unless their tags were invalidated meanwhile`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        for key in ["kept", "changed", "pending"] { try await client.store(key, key, tags: ["of \(key)"]) }
        try await client.invalidate("of changed")
        for _ in 0..<3 {
            syncd.kill()
            // As a worker does whose INVALIDATE was not answered.
            try syncd.directory.write(
                "*1\r\n$10\r\nof pending\r\n", to: "journal/\(String(repeating: "a", count: 16))-9-1.pending")
            try await syncd.start()
            try await syncd.waitUntilAttached()
            let client = try await syncd.connect()
            #expect(try await client.present("kept")?.text == "kept")
            for key in ["changed", "pending"] { #expect(try await client.present(key) == nil, "\(key)") }
        }
        syncd.kill()
        try FileManager.default.removeItem(atPath: syncd.directory.file("tags.table"))
        try await syncd.start()
        #expect(try await syncd.connect().present("kept") == nil, "another table is another log")
    }

    /// The last applied entry shows whether Redis has the same history.
    @Test func `with Redis, values outlive syncd if the log still has the entry that was applied last`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        let (host, other) = (hosts[0], hosts[1])
        let keys = ["kept", "changed"]
        let before = try await other.client.invalidate("before")
        await host.waitUntilApplied(before)
        for key in keys { try await host.client.store(key, key, tags: ["of \(key)"]) }
        for key in keys { try await redis.command("DEL", "{syncd}:v:\(key)") }
        host.syncd.kill()
        try await other.client.invalidate("of changed")
        try await host.syncd.start()
        try await host.syncd.waitUntilAttached()
        let client = try await host.syncd.connect()
        #expect(try await client.hit("kept").text == "kept")
        #expect(try await client.present("changed") == nil)
        host.syncd.kill()
        try await redis.command("XTRIM", "{syncd}:stream", "MAXLEN", "0")
        try await host.syncd.start()
        try await host.syncd.waitUntilAttached()
        #expect(try await host.syncd.connect().present("kept") == nil, "nothing shows which history the log has")
    }

    /// Writes of other hosts meanwhile are in no table of this one.
    @Test func `values of a host that had Redis are cold without it`() async throws {
        let redis = try await RedisServer()
        let directory = try TemporaryDirectory()
        let host = try await Host(redis, directory: directory)
        try await host.client.store("k", "v")
        host.syncd.kill()
        let embedded = try await Host(nil, directory: directory)
        #expect(try await embedded.client.present("k") == nil)
        try await embedded.client.store("k", "w")
        embedded.syncd.kill()
        try await embedded.syncd.start()
        #expect(try await embedded.syncd.connect().hit("k").text == "w", "the one before had none either")
    }

    @Test func `with Redis, what one process has asked for is there for all`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        try await hosts[0].client.store("k", "v", tags: ["t"])
        #expect(try await hosts[1].client.hit("k").text == "v")
        try await redis.command("DEL", "{syncd}:v:k")
        #expect(try await hosts[1].client.hit("k").text == "v")
        let position = try await hosts[0].client.invalidate("t")
        await hosts[1].waitUntilApplied(position)
        #expect(try await hosts[1].client.present("k") == nil)
    }

    @Test func `a worker finds in shared memory what another one has loaded, without a word to syncd`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        let mapped = try MappedArena(path: syncd.directory.file("values.arena"))
        let table = try MappedTagTable(path: syncd.directory.file("tags.table")).table
        func value() -> String? {
            let key = ByteBuffer(string: "k")
            return mapped.arena.hit(
                for: key, hash: TagHash.key(key), keepsSlots: false, by: table, clock: { BootClock.now }
            )?.value.map { String(buffer: $0) }
        }
        try await client.store("k", "v", tags: ["t"])
        await eventually("it is there") { value() == "v" }
        try await client.invalidate("t")
        #expect(value() == nil)
        try await client.store("k", "w", tags: ["t"])
        await eventually("it is there") { value() == "w" }
        syncd.pause()
        await eventually("without heartbeats nothing is believed") { value() == nil }
        syncd.resume()
        await eventually("it is believed again") { value() == "w" }
    }

    /// SIGKILL at any instant, again and again, while records are written, and readers in this process that copy them.
    @Test func `a syncd that is killed while it writes leaves whole values only`() async throws {
        let (_, syncd) = try await Home.embedded.start(["SYNCD_CACHE_BYTES": "\(1 << 20)"])
        let reading = Reading(syncd.directory)
        for _ in 0..<2 { Thread.detachNewThread { reading.run() } }
        for round in 0..<25 {
            let client = try await syncd.connect()
            let first = reading.written.load(ordering: .relaxed)
            let killer = Task {
                await eventually("values are written") { reading.written.load(ordering: .relaxed) >= first + 20 }
                try await Task.sleep(for: .milliseconds(7 * round))
                syncd.kill()
            }
            while syncd.child.isRunning {
                let number = reading.written.add(1, ordering: .relaxed).newValue
                let key = "k\(number % 40)"
                guard case .outcome(.lease(let lease))? = try? await client.fetch(key) else {
                    _ = try? await client.command("INVALIDATE", "TAGS", "=\(key)")
                    continue
                }
                _ = try? await client.fill(key, lease.id, Reading.value(key, number), tags: ["t"])
            }
            try await killer.value
            try await syncd.start()
        }
        await eventually("many were read") { reading.whole.load(ordering: .relaxed) > 1000 }
        reading.isOver.store(true, ordering: .relaxed)
        #expect(reading.torn.load(ordering: .relaxed) == 0)
    }

    /// Reads all keys again and again, and checks each value against itself.
    private final class Reading: Sendable {
        let written = Atomic(0)
        let isOver = Atomic(false)
        let torn = Atomic(0)
        let whole = Atomic(0)
        private let path: String

        init(_ directory: TemporaryDirectory) {
            path = directory.file("values.arena")
        }

        static func value(_ key: String, _ number: Int) -> String {
            let mark = "\(key):\(number)"
            return "\(mark)|\(String(repeating: "\(number % 10)", count: 50 + number * 37 % 9000))|\(mark)"
        }

        func run() {
            while !isOver.load(ordering: .relaxed) {
                guard let mapped = try? MappedArena(path: path) else { continue }
                for number in 0..<4000 {
                    let key = "k\(number % 40)"
                    let copy = mapped.arena.record(
                        of: ByteBuffer(string: key), hash: TagHash.key(ByteBuffer(string: key))
                    ) { record, header in
                        String(
                            decoding: UnsafeRawBufferPointer(
                                start: record + header.valueOffset, count: header.valueBytes), as: UTF8.self)
                    }
                    guard let copy else { continue }
                    let parts = copy.split(separator: "|")
                    let mark = parts.first.flatMap { Int($0.split(separator: ":").last ?? "") }
                    let isWhole = mark.map { copy == Self.value(key, $0) } ?? false
                    if isWhole { whole.add(1, ordering: .relaxed) } else { torn.add(1, ordering: .relaxed) }
                }
            }
        }
    }
}
