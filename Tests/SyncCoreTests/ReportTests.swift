import EngineTesting
import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// The report of a whole engine: what each event of the host does to the figures.
@Suite struct ReportTests {
    let server = HarnessServer()

    private func total(_ host: EngineHarness) -> PeriodFigures { host.loop.reportRecord().total }

    @Test func `states and their reasons add up to the time since the start`() {
        let host = EngineHarness(.redis, server: server)
        host.advance(milliseconds: 3000)
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        host.advance(milliseconds: 5000)
        host.disconnect()
        host.advance(milliseconds: 4000)
        host.connect()
        host.settle()
        let figures = total(host)
        #expect(figures.time == host.now - BootTime(1_000_000_000_000))
        #expect(figures.isolated[.starting] == 3_000_000_000)
        // Workers trusted the last probe for 2 s.
        let disconnected = figures.isolated[.disconnected] ?? 0
        #expect((1_900_000_000...2_400_000_000).contains(disconnected), "\(figures.isolated)")
        #expect(figures.isolations == [.starting: 1, .disconnected: 1])
        #expect(figures.attached + figures.isolatedTime == figures.time)
    }

    @Test func `a host that nobody reads from is idle`() {
        let host = EngineHarness.attached(server)
        host.advance(milliseconds: 60_000)
        #expect(host.shownState == .idle)
        #expect(total(host).idle > 40_000_000_000)
    }

    @Test func `a journal that cannot be read is a reason`() {
        let host = EngineHarness.attached(server)
        host.isJournalReadable = false
        host.advance(milliseconds: 5000)
        #expect(total(host).isolated.keys.sorted { $0.rawValue < $1.rawValue } == [.journal])
        #expect(total(host).isolated[.journal] ?? 0 > 3_500_000_000)
    }

    @Test func `an append counts once it is in the table`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.request(.invalidate(tags: [.text("t")], event: nil))
        #expect(total(host).visibleHere.count == 1)
        let embedded = EngineHarness(.embedded)
        embedded.client(1)
        embedded.request(.invalidate(tags: [.text("t")], event: nil))
        #expect(total(embedded).visibleHere.count == 0, "without Redis nothing takes time")
    }

    @Test func `entries of other hosts are measured by the clocks of both, but not those before the start`() {
        let writer = EngineHarness.attached(server)
        writer.client(1)
        writer.request(.invalidate(tags: [.text("early")], event: nil))
        let reader = EngineHarness(.redis, server: server, seed: 2, wallClockAtZero: 1_700_000_000_250)
        reader.connect()
        reader.settle()
        #expect(reader.state == .attached && total(reader).visibleFromOthers.count == 0)
        reader.now = writer.now
        reader.heartbeat()
        writer.request(.invalidate(tags: [.text("t")], event: nil))
        reader.deliver()
        #expect(total(reader).visibleFromOthers.count == 1 && total(reader).visibleFromOthers.maximum == 250)
        #expect(total(writer).visibleFromOthers.count == 0, "its own")
        writer.wallClockAtZero += 3_600_000
        writer.heartbeat()
        writer.request(.invalidate(tags: [.text("t")], event: nil))
        reader.deliver()
        #expect(total(reader).visibleFromOthers.count == 2 && total(reader).visibleFromOthers.maximum == 250)
    }

    @Test func `an invalidation waits from the moment when it is deferred until it is in the log`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.disconnect()
        host.advance(milliseconds: 3000)
        #expect(host.request(.invalidate(tags: [.text("t")], event: nil)) == .simple(.deferred))
        host.advance(milliseconds: 1000)
        host.request(.invalidate(tags: [.text("u")], event: nil))
        host.advance(milliseconds: 4000)
        #expect(total(host).mostPending == 2 && total(host).longestWait == 5_000_000_000, "it still waits")
        host.connect()
        host.settle()
        #expect(host.state == .attached && host.status("pending") == .number(0))
        let wait = total(host).longestWait
        #expect((5_000_000_000...5_300_000_000).contains(wait))
        host.advance(milliseconds: 5000)
        #expect(total(host).longestWait == wait)
    }

    @Test func `cold starts have their causes`() {
        let table = TagTable.inMemory()
        let host = EngineHarness.attached(server, table: table)
        #expect(total(host).coldStarts == [.noTable: 1])
        server.data = RedisData()
        host.disconnect()
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(total(host).coldStarts == [.noTable: 1, .incarnation: 1], "the same fact counts once")

        host.client(1)
        host.request(.invalidate(tags: [.text("t")], event: nil))
        let next = EngineHarness.attached(server, table: table, seed: 2)
        #expect(total(next).coldStarts == [.started: 1], "the log is the same")
        server.data = RedisData()
        let other = EngineHarness.attached(server, table: table, seed: 3)
        #expect(total(other).coldStarts == [.started: 1, .otherHistory: 1])
    }

    @Test func `counters of workers are added up over their connections and restarts`() {
        func report(_ host: EngineHarness, _ client: ClientID, _ values: [String: String]) {
            let fields = values.sorted { $0.key < $1.key }
                .map { ReportField(name: .text($0.key), value: .text($0.value)) }
            host.request(.report(fields), from: client)
        }
        func counts(sampled: Int, stale: Int = 0, superseded: Int = 0) -> [String: String] {
            ["audit-sampled": "\(sampled)", "audit-stale": "\(stale)", "audit-superseded": "\(superseded)"]
        }
        let host = EngineHarness(.embedded)
        host.client(1, peer: Peer(pid: 10, uid: 0))
        host.client(2, peer: Peer(pid: 20, uid: 0))
        report(host, 1, counts(sampled: 5))
        report(host, 1, counts(sampled: 100, superseded: 2))
        report(host, 2, counts(sampled: 50, stale: 1))
        #expect(total(host).audits == AuditCounts(sampled: 150, stale: 1, superseded: 2))
        host.close(1)
        host.client(1, peer: Peer(pid: 10, uid: 0))
        report(host, 1, counts(sampled: 101, superseded: 2))
        #expect(total(host).audits.sampled == 151, "the same process has connected again")
        host.close(2)
        host.client(2, peer: Peer(pid: 21, uid: 0))
        report(host, 2, counts(sampled: 3))
        #expect(total(host).audits.sampled == 154, "a new one begins at 0")
        report(host, 2, counts(sampled: 1))
        #expect(total(host).audits.sampled == 155)
        report(host, 2, ["audit-sampled": "x"])
        report(host, 2, counts(sampled: 1))
        #expect(total(host).audits.sampled == 155, "a text is no number")

        let next = EngineHarness(.embedded, report: host.loop.reportRecord())
        next.client(1, peer: Peer(pid: 10, uid: 0))
        report(next, 1, counts(sampled: 102, superseded: 2))
        #expect(total(next).audits == AuditCounts(sampled: 156, stale: 1, superseded: 2), "syncd was restarted")
    }

    @Test func `the section has the state and the times`() throws {
        let host = EngineHarness(.embedded)
        guard case .fields(let report) = host.loop.statusSection("report") else { throw TestFailure("no fields") }
        #expect(report.first { $0.name == "state" }?.value == .text("attached"))
        #expect(report.first { $0.name == "since" }?.value == .text("2023-11-14T22:30:00.000Z"))
    }
}
