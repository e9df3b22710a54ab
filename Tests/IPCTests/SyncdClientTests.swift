import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

@Suite(.tags(.preciseTiming), .timeLimit(.minutes(10))) struct SyncdClientTests {
    @Test func `it greets, asks and hears`() async throws {
        let syncd = try ScriptedSyncd(clock: ManualClock())
        try await syncd.start()
        let client = try await SyncdClient.connect(path: syncd.socketPath)
        #expect(client.greeting.table == syncd.tablePath)
        #expect(try await client.request(.invalidate(tags: [ByteBuffer(string: "a")], event: nil)) == .integer(1))
        #expect(try await client.request(.subscribe([ByteBuffer(string: "a"), ByteBuffer(string: "b")])).isOK)
        syncd.send(.invalidate(position: 1, tags: []))
        var pushes = client.pushes.makeAsyncIterator()
        #expect(await pushes.next() == .invalidate(position: 1, tags: []))
        await syncd.stop()
        #expect(await pushes.next() == nil)
        await #expect(throws: SyncdClientError.unanswered) { try await client.request(.ping(nil)) }
    }

    /// Their answers are pushes, a refusal is a reply.
    @Test func `a refusal of a subscription is its answer`() async throws {
        let syncd = try ScriptedSyncd(clock: ManualClock())
        try await syncd.start()
        syncd.script {
            if case .patternSubscribe = $0 { [.reply(.error(ReplyError(.busy, "no room")))] } else { nil }
        }
        let client = try await SyncdClient.connect(path: syncd.socketPath)
        let answer = try await client.request(.patternSubscribe([ByteBuffer(string: "a")]))
        #expect(answer == .error(ByteBuffer(string: "BUSY no room")))
        #expect(try await client.request(.invalidate(tags: [ByteBuffer(string: "a")], event: nil)) == .integer(1))
        await syncd.stop()
    }

    @Test func `who isn't there and who isn't syncd`() async throws {
        let syncd = try ScriptedSyncd(clock: ManualClock())
        await #expect {
            _ = try await SyncdClient.connect(path: syncd.socketPath)
        } throws: { error in
            (error as? SyncdClientError)?.label == "unreachable"
        }
        try await syncd.start()
        syncd.script { if case .hello = $0 { [.reply(.ok)] } else { nil } }
        await #expect(throws: SyncdClientError.notGreeted(path: syncd.socketPath)) {
            try await SyncdClient.connect(path: syncd.socketPath)
        }
        await syncd.stop()
    }
}
