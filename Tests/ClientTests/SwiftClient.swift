import IPC
import Logging
import NIOCore
import NIOPosix
import TestSupport

@testable import ClientCheck

/// A worker in Swift, with a separate cache, in the process of the test.
final class SwiftClient: CheckedClient {
    private let cache: SyncedCache
    private let store: RegisterStore
    private let running: Task<Void, any Error>

    init(socketPath: String, databasePath: String) async throws {
        store = try await RegisterStore.connect(databasePath)
        cache = SyncedCache(
            configuration: SyncedCacheConfiguration(socketPath: socketPath, clientName: "swift"),
            eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "swift-client"))
        running = Task { [cache] in try await cache.run() }
    }

    var processGroup: pid_t { getpgrp() }
    var complaints: String { "" }

    func ask(_ verb: ScriptedDatabase.Verb, _ key: String) async throws -> ClientAnswer {
        let tags: [CacheTag] = ["register:\(key)"]
        do {
            switch verb {
            case .load:
                let found = try await cache.value(for: CacheKey(key), tags: tags, ttl: .seconds(60)) {
                    [store] in try await store.read(key)
                }
                return .value(found.value.map { String(buffer: $0) } ?? "-", source: found.source.rawValue)
            case .write:
                let value = try await cache.invalidating(tags) { .changed(try await store.write(key), event: nil) }
                return .value("\(value)", source: "-")
            }
        } catch {
            return .error("\(error)")
        }
    }

    func end() async {
        running.cancel()
        _ = await running.result
        store.close()
    }
}
