import Foundation
import IPC
import IPCTesting
import Logging
import NIOCore
import NIOPosix
import TestSupport
import Testing

/// The example of docs/cache.md is in this file, word for word.
@Suite(.timeLimit(.minutes(10))) struct TestKitTests {
    @Test func `the example is what this suite runs`() throws {
        let page = try String(contentsOfFile: "\(Executables.packageFolder)/docs/cache.md", encoding: .utf8)
        let source = try String(contentsOfFile: #filePath, encoding: .utf8)
        let block = try #require(page.firstRange(of: "```swift\nimport IPC\n"))
        let end = try #require(page[block.upperBound...].firstRange(of: "```\n"))
        for line in page[block.lowerBound..<end.lowerBound].split(separator: "\n").dropFirst() {
            #expect(source.contains("    \(line)\n") || source.contains("\(line)\n"), "\(line)")
        }
    }

    @Test func `a price is forgotten when it changes, and read from the database while syncd is silent`() async throws {
        let clock = ManualClock()
        let syncd = try ScriptedSyncd(clock: clock)
        try await syncd.start()
        let cache = SyncedCache(
            configuration: SyncedCacheConfiguration(socketPath: syncd.socketPath),
            eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "test"), clock: clock)
        let running = Task { try await cache.run() }
        for await notification in cache.notifications where notification == .connected { break }

        func price() async throws -> CachedValue {
            try await cache.value(for: "price:tea", tags: ["product:tea"], ttl: .seconds(300)) {
                ByteBuffer(string: "3.50")
            }
        }
        #expect(try await price().source == .miss)
        #expect(try await price().source == .l1)
        syncd.invalidate(["product:tea"])  // As if another process had written.
        #expect(try await price().source == .miss)
        #expect(syncd.fetchCount(of: "price:tea") == 2)

        syncd.standStill()
        clock.advance(by: .seconds(2))
        #expect(try await price().source == .bypass)
        running.cancel()
        await syncd.stop()
    }

    @Test func `isolation, epochs and the end of a connection are played, too`() async throws {
        let clock = ManualClock()
        let syncd = try ScriptedSyncd(clock: clock)
        try await syncd.start()
        let cache = SyncedCache(
            configuration: SyncedCacheConfiguration(
                socketPath: syncd.socketPath, subscribedChannels: [ByteBuffer(string: "c")]),
            eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "test"), clock: clock)
        let running = Task { try await cache.run() }
        var notifications = cache.notifications.makeAsyncIterator()
        #expect(await notifications.next() == .connected)
        #expect(cache.status.sync == .attached)
        syncd.isolate()
        #expect(cache.status.sync == .isolated)
        syncd.attach()
        syncd.raiseEpoch()
        syncd.advance(by: .seconds(1))
        #expect(cache.status.sync == .attached && cache.status.epoch > 1)
        let event = Event(channel: "c", payload: "p")
        syncd.publish(event)
        #expect(await notifications.next() == .event(event))
        try await cache.invalidating(["t"]) { .changed((), event: event) }
        #expect(syncd.invalidations == [["t"]] && syncd.events == [event])
        syncd.closeConnections()
        while await notifications.next() != .disconnected {}
        running.cancel()
        await syncd.stop()
    }
}
