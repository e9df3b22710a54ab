import Foundation
import NIOCore
import TestSupport
import Testing

/// Clients that take all they can get, memory, time or places, harm themselves alone: syncd stays small, its heartbeats
/// come, and a client of another process is answered.
@Suite(.tags(.wholeMachine), .processes, .serialized) struct HoardingTests {
    private static let mebibyte = 1 << 20
    private static let longValue = String(repeating: "v", count: 8 << 20)

    /// Reads the heartbeats of a daemon from its table.
    private struct Heartbeats {
        private let table: FileHandle
        private var last: UInt64 = 0
        /// The longest time between two of them.
        private(set) var longest = Duration.zero

        init(_ syncd: SyncdProcess) throws {
            let end = try #require(syncd.socketPath.lastIndex(of: "/"))
            table = try #require(FileHandle(forReadingAtPath: syncd.socketPath[..<end] + "/tags.table"))
        }

        mutating func read() throws {
            try table.seek(toOffset: 80)
            let heartbeat = try #require(try table.read(upToCount: 8)).withUnsafeBytes { $0.load(as: UInt64.self) }
            if last > 0 { longest = max(longest, .nanoseconds(Int64(heartbeat - last))) }
            last = heartbeat
        }
    }

    /// One syncd under attack, and one beside it that shows what the machine does to everybody.
    private final class Stage {
        let syncd: SyncdProcess
        private let other: SyncdProcess
        private var peak = 0

        init() async throws {
            syncd = try await Home.embedded.start().1
            other = try await Home.embedded.start().1
        }

        /// Watches memory and heartbeats while the attack goes on, and asks as another process.
        func watch(_ attack: String, _ duration: Duration = .seconds(3)) async throws {
            var (attacked, quiet) = (try Heartbeats(syncd), try Heartbeats(other))
            let end = ContinuousClock.now + duration
            var asked = ContinuousClock.now
            while ContinuousClock.now < end {
                peak = max(peak, try ProcessMemory.resident(syncd.pid))
                try attacked.read()
                try quiet.read()
                if ContinuousClock.now - asked > .seconds(1) {
                    asked = .now
                    let tool = try await syncd.runTool(["invalidate", "a"], within: .seconds(10))
                    #expect(tool.exit == .status(0), "\(tool)")
                }
                try await Task.sleep(for: .milliseconds(10))
            }
            print(
                "\(attack): at most \(peak >> 20) MiB; heartbeats at most \(attacked.longest) apart, those of an idle syncd",
                quiet.longest)
            #expect(peak < 256 << 20)
            #expect(attacked.longest < .milliseconds(400) + quiet.longest)
        }
    }

    @Test func `300 connections that do not read one value of 8 MiB`() async throws {
        let stage = try await Stage()
        try await stage.syncd.connect().store("long", Self.longValue)
        var clients: [RESPSocket] = []
        for _ in 0..<300 {
            let client = try await stage.syncd.connect()
            try await client.send("FETCH", "long")
            clients.append(client)
        }
        try await stage.watch("300 that do not read")
        // There is one value, not 300: no connection has to be closed for it.
        #expect(!stage.syncd.log.contains("client closed"))
        clients.removeAll()
    }

    @Test func `connections that do not read values of their own`() async throws {
        let stage = try await Stage()
        var clients: [RESPSocket] = []
        for _ in 0..<60 {
            let client = try await stage.syncd.connect()
            try await client.send("ECHO", Self.longValue)
            clients.append(client)
        }
        try await stage.watch("60 that do not read 8 MiB of their own")
        #expect(stage.syncd.log.contains("and this one most"), "who holds most is closed")
        clients.removeAll()
    }

    @Test func `150 unfinished requests of 15 MB`() async throws {
        let stage = try await Stage()
        let before = try ProcessMemory.resident(stage.syncd.pid)
        let part = ByteBuffer(repeating: UInt8(ascii: "v"), count: 64 << 10)
        var clients: [RESPSocket] = []
        for _ in 0..<150 {
            let client = try RESPSocket(path: stage.syncd.socketPath)
            try await client.send(raw: "*2\r\n$4\r\nECHO\r\n$15000000\r\n")
            clients.append(client)
        }
        let senders = Task { [clients] in
            await withTaskGroup { group in
                for client in clients {
                    group.addTask {
                        // A client that waits for room is not read from: the loop stops there.
                        for _ in 0..<220 {
                            do { try await client.send(bytes: part, within: .seconds(20)) } catch { return }
                        }
                    }
                }
            }
        }
        try await stage.watch("150 unfinished requests", .seconds(5))
        #expect(stage.syncd.log.contains("has not come whole"))
        senders.cancel()
        clients.removeAll()
        await senders.value
        try await eventually("memory is returned", within: .seconds(20)) {
            try ProcessMemory.resident(stage.syncd.pid) < before + 16 * Self.mebibyte
        }
    }

    @Test func `three clients that ask for the list of 450 clients in a loop`() async throws {
        let stage = try await Stage()
        var clients: [RESPSocket] = []
        for _ in 0..<450 { clients.append(try await stage.syncd.connect(name: "one of many")) }
        let loops = try await Self.loops(3, stage.syncd, ["CLIENT", "LIST"])
        try await stage.watch("three that send CLIENT LIST")
        loops.forEach { $0.cancel() }
        clients.removeAll()
    }

    @Test func `three clients that publish to 512 patterns in a loop`() async throws {
        let stage = try await Stage()
        let listener = try RESPSocket(path: stage.syncd.socketPath)
        for number in 0..<512 {
            _ = try await listener.command("PSUBSCRIBE", "*a*a*a*\(number)*")
        }
        #expect(try await listener.command("PSUBSCRIBE", "one more").errorText?.hasPrefix("BUSY") == true)
        let channel = String(repeating: "a", count: 100)
        let loops = try await Self.loops(3, stage.syncd, ["PUBLISH", channel, "x"])
        try await stage.watch("three that publish to patterns")
        loops.forEach { $0.cancel() }
    }

    @Test(arguments: [
        ["STATUS"], ["INFO"], ["EXPLAIN", "key"], ["INVALIDATE", "TAGS"] + (0..<1024).map { "tag-\($0)" },
        ["SUBSCRIBE"] + (0..<2000).map { "channel-\($0)" }, ["REPORT"] + (0..<128).map { "field-\($0)" },
        ["X"] + Array(repeating: "", count: 60_000),
        ["METRICS", "SET", "0", String(repeating: "m", count: 256 << 10)],
    ])
    func `eight clients that send what is dear in a loop`(request: [String]) async throws {
        let stage = try await Stage()
        var clients: [RESPSocket] = []
        for _ in 0..<200 { clients.append(try await stage.syncd.connect(name: "one of many")) }
        let loops = try await Self.loops(8, stage.syncd, request)
        try await stage.watch("eight that send \(request[0])")
        loops.forEach { $0.cancel() }
        clients.removeAll()
    }

    @Test func `200 clients with long metrics, and eight that ask for all of them in a loop`() async throws {
        let stage = try await Stage()
        var clients: [RESPSocket] = []
        let report = String(repeating: "m", count: 256 << 10)
        for number in 0..<200 {
            let client = try await stage.syncd.connect()
            let refusal = try await client.command("METRICS", "SET", "", report).errorText
            #expect(
                refusal == (number < 16 ? nil : "BUSY no room for these metrics"), "half of 8 MiB is for one process")
            clients.append(client)
        }
        let loops = try await Self.loops(8, stage.syncd, ["METRICS", "GET"])
        try await stage.watch("eight that send METRICS GET")
        loops.forEach { $0.cancel() }
        clients.removeAll()
    }

    /// Pipelined, so that the next request is there when one is answered.
    private static func loops(
        _ count: Int, _ syncd: SyncdProcess, _ request: [String]
    ) async throws -> [Task<Void, any Error>] {
        var text = "*\(request.count)\r\n"
        for argument in request { text += "$\(argument.utf8.count)\r\n\(argument)\r\n" }
        let bytes = ByteBuffer(string: text)
        var loops: [Task<Void, any Error>] = []
        for _ in 0..<count {
            let client = try await syncd.connect()
            loops.append(
                Task {
                    for _ in 0..<4 { try await client.send(bytes: bytes, within: .seconds(20)) }
                    while !Task.isCancelled {
                        _ = try await client.reply(within: .seconds(20))
                        try await client.send(bytes: bytes, within: .seconds(20))
                    }
                })
        }
        return loops
    }
}
