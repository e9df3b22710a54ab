import IPCWire
import NIOCore
import Synchronization
import TestSupport
import Testing

/// Writers and readers of a few keys through the socket of one syncd, with a separate database: a dictionary of
/// versions. Each read from cache is compared with the newest version that had been acknowledged before it began.
final class StaleReadWatch: Sendable {
    private struct Book {
        var written: [String: Int] = [:]
        var acknowledged: [String: Int] = [:]
        var hits = 0
        var reads = 0
        var writes = 0
        var deferred = 0
        var stale: [String] = []
        var failures: [String] = []
        var isOver = false
        var isResting = false
    }

    private let syncd: SyncdProcess
    private let keys: [String]
    private let book = Mutex(Book())

    init(_ syncd: SyncdProcess, keys: Int = 8) {
        self.syncd = syncd
        self.keys = (0..<keys).map { "watched:\($0)" }
    }

    var hits: Int { book.withLock { $0.hits } }
    var writes: Int { book.withLock { $0.writes } }

    /// Writes and reads while `body` does its harm, then says what was found.
    func during(_ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.write() }
            for _ in 0..<3 { group.addTask { try await self.read() } }
            let result: Result<Void, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            book.withLock { $0.isOver = true }
            do {
                try await group.waitForAll()
            } catch {
                throw TestFailure("\(error)\n\(syncd.transcript)")
            }
            try result.get()
        }
        let found = book.withLock { $0 }
        #expect(found.stale.isEmpty, "older than acknowledged: \(found.stale.prefix(5))\n\(syncd.transcript)")
        #expect(found.failures.isEmpty, "\(found.failures.prefix(5))\n\(syncd.transcript)")
        #expect(found.hits > 0 && found.writes > 0, "nothing was tried: \(found.hits) hits, \(found.writes) writes")
    }

    /// Whether the writer rests: appends are as good as probes, so that syncd sends none beside them.
    func rest(_ isResting: Bool) { book.withLock { $0.isResting = isResting } }

    /// Waits until this number of further reads were answered from cache.
    func moreHits(_ count: Int) async {
        let goal = hits + count
        await eventually("\(count) more reads from cache", within: .seconds(20), details: { self.syncd.transcript }) {
            self.hits >= goal
        }
    }

    private var isOver: Bool { book.withLock { $0.isOver } }

    /// Between two requests of one client. Without it, the watch takes the processors from what is tested.
    private func pause() async throws { try await Task.sleep(for: .milliseconds(1)) }

    private func write() async throws {
        let socket = try await syncd.connect()
        var turn = 0
        while !isOver {
            if book.withLock({ $0.isResting }) {
                try await pause()
                continue
            }
            let key = keys[turn % keys.count]
            turn += 1
            let version = book.withLock { book in
                book.written[key, default: 0] += 1
                return book.written[key, default: 0]
            }
            let reply = try await socket.command("INVALIDATE", "TAGS", key)
            book.withLock { book in
                book.writes += 1
                if reply.number == nil, reply.string != "DEFERRED" {
                    book.failures.append("INVALIDATE: \(reply)")
                } else {
                    if reply.number == nil { book.deferred += 1 }
                    book.acknowledged[key] = version
                }
            }
            try await pause()
        }
    }

    private func read() async throws {
        let socket = try await syncd.connect()
        var turn = 0
        while !isOver {
            let key = keys[turn % keys.count]
            turn += 1
            let newest = book.withLock { $0.acknowledged[key, default: 0] }
            let reply = try await socket.command("FETCH", key)
            switch reply.elements?.first?.string {
            case "hit":
                let version = reply.elements?[1].string.flatMap { Int($0) } ?? -1
                book.withLock { book in
                    book.hits += 1
                    if version < newest { book.stale.append("\(key): \(version) < \(newest)") }
                }
            case "lease":
                let lease = reply.elements?[1].string ?? reply.elements?[1].number.map { "\($0)" } ?? ""
                let version = book.withLock { $0.written[key, default: 0] }
                _ = try await socket.command("FILL", key, lease, "60000", "1", key, "\(version)")
            case "miss": break
            default: book.withLock { $0.failures.append("FETCH: \(reply)") }
            }
            book.withLock { $0.reads += 1 }
            try await pause()
        }
    }
}
