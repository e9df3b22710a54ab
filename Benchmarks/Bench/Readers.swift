import ArgumentParser
import Foundation
import IPC
import Logging
import NIOCore
import NIOPosix
import TestSupport

/// Workers of one process that read, each with a connection, an L1, and the table and the arena mapped.
final class Readers: Sendable {
    private let caches: [SyncedCache]
    private let running: [Task<Void, any Error>]

    /// Returns when each is attached.
    init(_ count: Int, socketPath: String, l1Bytes: Int) async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        caches = (0..<count).map { _ in
            let cache = SyncedCache(
                configuration: SyncedCacheConfiguration(
                    socketPath: socketPath, l1Bytes: l1Bytes, clientName: "bench"),
                eventLoop: loop, logger: Logger(label: "bench"))
            // As a worker without event streams.
            cache.notifiesInvalidations = false
            return cache
        }
        running = caches.map { cache in Task { try await cache.run() } }
        for cache in caches {
            while cache.status.sync != .attached { try await Task.sleep(for: .milliseconds(5)) }
        }
    }

    deinit { for task in running { task.cancel() } }

    /// Reads one key by all of them, at the same time or one after the other. The value has to be `value`, which the
    /// first of them loads.
    func read(_ key: CacheKey, tag: CacheTag, expecting value: ByteBuffer, atOnce: Bool) async throws {
        @Sendable func read(_ cache: SyncedCache) async throws {
            let read = try await cache.value(for: key, tags: [tag], ttl: .seconds(3600)) { value }
            guard read.value == value, read.source != .bypass else { throw TestFailure("an old value, or no cache") }
        }
        guard atOnce else {
            for cache in caches { try await read(cache) }
            return
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for cache in caches { group.addTask { try await read(cache) } }
            try await group.waitForAll()
        }
    }

    /// Reads many keys by each of them, twice, so that values get into L1 as well.
    func readAll(_ keys: [CacheKey]) async throws {
        for cache in caches {
            for key in keys {
                for _ in 0..<2 {
                    let value = try await cache.value(for: key, tags: [], ttl: .seconds(3600), load: { nil })
                    guard value.value != nil else { throw TestFailure("no value for \(key)") }
                }
            }
        }
    }

    /// Some of the workers as a process: says `ready` when they are attached, reads when it is told to, says `done`.
    struct Command: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "readers", abstract: "Workers that read all keys.", shouldDisplay: false)

        @Option var socket: String
        @Option var count: Int
        @Option var l1Bytes: Int
        @Option var keys: Int
        @Option(help: "The file whose presence starts the reading.") var start: String

        func run() async throws {
            let readers = try await Readers(count, socketPath: socket, l1Bytes: l1Bytes)
            print("ready")
            fflush(nil)
            while !FileManager.default.fileExists(atPath: start) { try await Task.sleep(for: .milliseconds(10)) }
            try await readers.readAll((0..<keys).map { CacheKey(Scenario.workingSetKey($0)) })
            print("done")
            fflush(nil)
            try await Task.sleep(for: .seconds(3600))
            withExtendedLifetime(readers) {}
        }
    }
}
