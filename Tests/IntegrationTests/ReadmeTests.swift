import Foundation
import IPC
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

/// The README's example is this file's, word for word, and it works.
@Suite(.tags(.servers), .processes) struct ReadmeTests {
    @Test func `the example is what this test runs`() throws {
        let readme = try String(contentsOfFile: "\(Executables.packageFolder)/README.md", encoding: .utf8)
        let source = try String(contentsOfFile: #filePath, encoding: .utf8)
        let block = try #require(readme.firstRange(of: "```swift\n"))
        let end = try #require(readme[block.upperBound...].firstRange(of: "```\n"))
        let example = readme[block.upperBound..<end.lowerBound]
        let body = try #require(example.firstRange(of: "\n\n"), "imports, then what they are for")
        for line in example[..<body.lowerBound].split(separator: "\n") { #expect(source.contains("\(line)\n")) }
        #expect(source.contains(example[body.upperBound...]))
    }

    @Test func `the example reads through the cache of another process, and is told of its writes`() async throws {
        let syncd = try await SyncdProcess()
        try await syncd.waitUntilAttached()
        let database = Database()
        let shops = (0..<2).map { _ in Prices(database: database, socket: syncd.socketPath) }
        try await withThrowingTaskGroup { group in
            for shop in shops { group.addTask { try await shop.run() } }
            for shop in shops { await eventually("attached") { shop.cache.status.sync == .attached } }

            try await shops[0].setPrice(of: "tea", to: "3.50")
            for shop in shops { #expect(try await shop.price(of: "tea") == "3.50") }
            #expect(database.reads == 1, "the second process has it from the first")
            try await shops[1].setPrice(of: "tea", to: "3.80")
            for shop in shops { #expect(try await shop.price(of: "tea") == "3.80") }
            #expect(database.reads == 2)
            #expect(try await shops[0].price(of: "coffee") == nil)
            group.cancelAll()
        }
    }
}

/// A database that counts its reads.
final class Database: Sendable {
    private let state = Mutex((prices: [String: String](), reads: 0))

    var reads: Int { state.withLock { $0.reads } }

    func readPrice(_ product: String) async throws -> String? {
        state.withLock { state in
            state.reads += 1
            return state.prices[product]
        }
    }

    func writePrice(_ product: String, _ price: String) async throws {
        state.withLock { $0.prices[product] = price }
    }
}

/// Prices, cached in every process that shows them.
struct Prices: Sendable {
    let database: Database
    let cache: SyncedCache

    init(database: Database, socket: String) {
        self.database = database
        cache = SyncedCache(
            configuration: SyncedCacheConfiguration(socketPath: socket, clientName: "shop"),
            eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "shop"))
    }

    /// Keeps the connection to syncd up until its task is cancelled.
    func run() async throws { try await cache.run() }

    func price(of product: String) async throws -> String? {
        let price = try await cache.value(for: "price:\(product)", tags: ["product:\(product)"], ttl: .seconds(300)) {
            // Only if no process of this host has it.
            try await database.readPrice(product).map { ByteBuffer(string: $0) }
        }
        return price.value.map { String(buffer: $0) }
    }

    func setPrice(of product: String, to price: String) async throws {
        try await cache.invalidating(["product:\(product)"]) {
            try await database.writePrice(product, price)
            return .changed((), event: Event(channel: "price:changed", payload: product))
        }
    }
}
