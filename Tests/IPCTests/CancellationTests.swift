import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

@Suite(.timeLimit(.minutes(10))) struct CancellationTests {
    @Test func `the first caller's cancellation leaves the load to the others`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let first = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            let second = harness.read()
            await eventually("both wait") { harness.cache.singleFlight.waitingCount == 2 }
            first.cancel()
            await #expect(throws: CancellationError.self) { try await first.value }
            await harness.loads.answer(1, "v")
            #expect(try await second.value == CachedValue("v", .l2))
            #expect(harness.loads.cancelled == 0)
        }
    }

    @Test func `when nobody is left the load is cancelled and the lease given back`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let reads = (0..<3).map { _ in harness.read() }
            await eventually("all wait") { harness.cache.singleFlight.waitingCount == 3 && harness.loads.begun == 1 }
            for read in reads { read.cancel() }
            await eventually("the lease is given back") { harness.syncd.abandons.count == 1 }
            #expect(harness.loads.cancelled == 1)
            let next = harness.read()
            await harness.loads.answer(2, "v")
            #expect(try await next.value == CachedValue("v", .miss))
        }
    }

    @Test func `a lease that arrives after everybody has gone is given back`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let (syncd, lease) = (harness.syncd, harness.syncd.newLease())
            syncd.script { if case .fetch = $0 { [.reply(.wait(ticket: 1))] } else { nil } }
            let read = harness.read()
            await eventually("it asks") { syncd.fetchCount == 1 }
            read.cancel()
            await #expect(throws: CancellationError.self) { try await read.value }
            syncd.send(.fetched(ticket: 1, .lease(lease)))
            await eventually("the lease is given back") { syncd.abandons.count == 1 }
            #expect(harness.loads.begun == 0)
        }
    }
}
