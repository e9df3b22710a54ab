import IPCWire
import NIOCore
import TestSupport
import Testing

@testable import IPC

/// A host as a test sees it: its syncd, a connection to it, and its table.
struct Host {
    let syncd: SyncdProcess
    let client: RESPSocket
    let table: TagTable

    /// Starts an attached host.
    init(
        _ redis: RedisServer?, _ environment: [String: String] = [:], directory: TemporaryDirectory? = nil
    ) async throws {
        syncd = try await SyncdProcess(redis: redis, environment: environment, directory: directory)
        try await syncd.waitUntilAttached()
        client = try await syncd.connect()
        table = try MappedTagTable(path: syncd.directory.file("tags.table")).table
    }

    /// Several attached hosts on one server.
    static func several(_ count: Int, _ redis: RedisServer) async throws -> [Host] {
        try await withThrowingTaskGroup { group in
            for _ in 0..<count { group.addTask { try await Host(redis) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    var isAttached: Bool { table.state == .attached }

    /// The position at which a tag was invalidated, as this host's workers see it.
    func slot(_ tag: String) -> Int { Int(table.slot(table.slotIndex(TagHash.tag(ByteBuffer(string: tag)))).number) }

    /// Waits until a position is in the table.
    func waitUntilApplied(
        _ position: Int, within limit: Duration = .seconds(5), sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        await eventually(
            "position \(position) is applied", within: limit, details: { syncd.transcript },
            sourceLocation: sourceLocation
        ) { table.applied.number >= UInt64(position) }
    }

    func waitUntilIsolated(
        within limit: Duration = .seconds(5), sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        await eventually(
            "it is isolated", within: limit, details: { syncd.transcript }, sourceLocation: sourceLocation
        ) { !isAttached }
    }

    func waitUntilAttached(
        within limit: Duration = .seconds(10), sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        await eventually(
            "it is attached", within: limit, details: { syncd.transcript }, sourceLocation: sourceLocation
        ) { isAttached }
    }

    /// Files of the journal by their kind.
    func journal(_ kind: String) -> [String] {
        syncd.directory.names(in: "journal").filter { $0.hasSuffix(".\(kind)") }
    }

    /// INVALIDATE that the log cannot take now.
    func deferred(
        _ tags: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let reply = try await client.command((["INVALIDATE", "TAGS"] + tags).map { ByteBuffer(string: $0) })
        #expect(reply.string == "DEFERRED", sourceLocation: sourceLocation)
    }
}
