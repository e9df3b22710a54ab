import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// docs/protocol.md, "Metrics": what syncd keeps of them.
@Suite struct MetricsTests {
    let host = EngineHarness(.embedded)

    private func set(_ worker: String, _ text: String = "", from client: ClientID) -> Reply? {
        host.request(.setMetrics(worker: .text(worker), text: .text(text)), from: client)
    }

    private func expectName(
        _ name: String, for worker: String, from client: ClientID, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(set(worker, from: client) == .bulk(.text(name)), sourceLocation: sourceLocation)
    }

    private func all(_ host: EngineHarness? = nil) -> [ReportedMetrics] {
        guard case .array(let items)? = (host ?? self.host).request(.metrics) else { return [] }
        return items.compactMap { item in
            guard case .array(let parts) = item, case .bulk(let worker) = parts[0], case .integer(let age) = parts[1],
                case .bulk(let text) = parts[2]
            else { return nil }
            return ReportedMetrics(worker: worker, ageMilliseconds: age, text: text)
        }
    }

    @Test func `the last report of each client, with its age`() {
        host.client(1)
        host.client(2)
        #expect(all() == [])
        _ = set("0", "old", from: 1)
        _ = set("1", "other", from: 2)
        host.advance(milliseconds: 300)
        _ = set("0", "new", from: 1)
        host.advance(milliseconds: 50)
        #expect(
            all() == [
                ReportedMetrics(worker: .text("0"), ageMilliseconds: 50, text: .text("new")),
                ReportedMetrics(worker: .text("1"), ageMilliseconds: 350, text: .text("other")),
            ])
        host.close(2)
        #expect(all().map(\.worker) == [.text("0")])
    }

    /// An old worker that still answers its last requests, or two workers on one core.
    @Test func `no two clients have one name at a time`() {
        for id in ClientID.all(1...4) { host.client(id) }
        expectName("0", for: "0", from: 1)
        expectName("0-2", for: "0", from: 2)
        expectName("0-3", for: "0", from: 3)
        expectName("0-2", for: "0", from: 2)
        host.close(1)
        expectName("0-2", for: "0", from: 2)
        expectName("0-2", for: "0-2", from: 2)
        expectName("0", for: "0", from: 4)
        expectName("1", for: "1", from: 4)
        expectName("0-3", for: "0", from: 3)
    }

    @Test func `who wants no name gets the lowest free number`() {
        for id in ClientID.all(1...4) { host.client(id) }
        expectName("0", for: "", from: 1)
        expectName("1", for: "1", from: 2)
        expectName("2", for: "", from: 3)
        host.close(1)
        expectName("0", for: "", from: 4)
        expectName("2", for: "", from: 3)
    }

    @Test func `the longest name may be wanted again as it was given`() {
        for id in ClientID.all(1...3) { host.client(id) }
        let longest = String(repeating: "x", count: 64)
        expectName(longest, for: longest, from: 1)
        guard case .bulk(let name)? = set(longest, from: 2) else {
            Issue.record("no name")
            return
        }
        #expect(name.readableBytes <= 64)
        host.close(2)
        expectName(String(buffer: name), for: String(buffer: name), from: 3)
    }

    @Test func `all reports together have a limit, of which a process has half and a user three quarters`() {
        var limits = Limits()
        limits.metricsBytes = 64
        let host = EngineHarness(.embedded, limits: limits)
        func set(_ bytes: Int, from client: ClientID) -> Bool {
            let text = ByteBuffer(repeating: 0x20, count: bytes)
            if case .bulk? = host.request(.setMetrics(worker: ByteBuffer(), text: text), from: client) { return true }
            return false
        }
        host.client(1, peer: Peer(pid: 1, uid: 1000))
        host.client(2, peer: Peer(pid: 1, uid: 1000))
        host.client(3, peer: Peer(pid: 2, uid: 1000))
        host.client(4, peer: Peer(pid: 3, uid: 1001))
        #expect(set(20, from: 1) && set(12, from: 2), "half")
        #expect(!set(13, from: 2), "of all connections of the process")
        #expect(set(16, from: 3) && !set(17, from: 3), "three quarters")
        #expect(set(16, from: 4) && !set(17, from: 4), "everything")
        #expect(set(19, from: 1), "what is replaced does not count")
        host.close(2)
        #expect(set(29, from: 4), "what is given back can be used")
        #expect(all(host).map(\.text.readableBytes) == [19, 16, 29])
    }
}
