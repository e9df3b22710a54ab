import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Many pages of the log, two of which are asked for at once.
@Suite struct CatchingUpTests {
    let server = HarnessServer()

    /// A host that has just been inspected, with pages of four entries and twenty of them in the log, and the reads
    /// that it asked for.
    private func catchingUp() throws -> (EngineHarness, [UpstreamCommand]) {
        _ = EngineHarness.attached(server)
        for _ in 0..<20 { server.appendElsewhere("a", isPublished: false) }
        var limits = Limits()
        limits.entriesPerPage = 4
        let host = EngineHarness(.redis, server: server, limits: limits, seed: 2)
        _ = host.take()
        host.event(.commandsConnected)
        let inspection = try #require(host.upstreamCommands().first)
        host.event(try #require(server.execute(inspection)))
        return (host, host.upstreamCommands())
    }

    private func positions(_ reads: [UpstreamCommand]) -> [LogPosition] {
        reads.map { if case .read(_, let after, 4) = $0 { after } else { .max } }
    }

    @Test func `while a page is applied the server reads the next`() throws {
        var (host, reads) = try catchingUp()
        let epoch = host.epoch
        #expect(positions(reads) == [0, 4])
        for (page, next) in [[8], [12], [16], [], []].enumerated() {
            let answer = try #require(server.execute(reads.removeFirst()))
            host.event(answer)
            #expect(host.applied.number == UInt64(page + 1) * 4)
            let more = host.upstreamCommands().filter { if case .read = $0 { true } else { false } }
            #expect(positions(more) == next.map { LogPosition(UInt64($0)) })
            reads += more
        }
        #expect(reads.isEmpty && host.epoch == epoch && host.slot("a") == 20)
    }

    @Test func `a short page is no hole`() throws {
        let (host, reads) = try catchingUp()
        let (epoch, incarnation) = (host.epoch, server.incarnation)
        guard case .read(let id, _, _) = reads[0] else { throw UnexpectedCommand() }
        host.event(.reply(id, .entries(incarnation, Array(server.entries.prefix(2)))))
        let again = host.upstreamCommands()
        #expect(host.applied == 2 && positions(again) == [2, 6])
        host.event(try #require(server.execute(reads[1])))
        #expect(host.applied == 2 && host.upstreamCommands().isEmpty, "nobody waits for it any more")
        host.event(try #require(server.execute(again[0])))
        #expect(host.applied == 6 && host.epoch == epoch && host.firstKnownPosition == 0)
    }

    private struct UnexpectedCommand: Error {}
}
