import IPCTesting
import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// The figures of `syncd report`, collected with times that the test gives.
@Suite struct ReportRecorderTests {
    /// 2023-11-15 00:00 in UTC.
    private static let midnight: UInt64 = 19_676 * 86_400_000
    private static let second: UInt64 = 1_000_000_000
    private static let start: BootTime = 5_000_000_000_000

    /// A recorder whose host's clocks the test moves, in heartbeats as the engine does.
    private struct Host {
        var recorder: ReportRecorder
        var now: BootTime
        var wallClock: UInt64

        init(at wallClock: UInt64, _ earlier: ReportRecord? = nil, now: BootTime = start, hasTable: Bool = true) {
            (self.now, self.wallClock) = (now, wallClock)
            recorder = ReportRecorder(earlier, now: now, wallClock: wallClock, hasTable: hasTable)
        }

        mutating func pass(_ milliseconds: UInt64) {
            now += milliseconds * 1_000_000
            wallClock += milliseconds
        }

        mutating func run(seconds: UInt64) {
            for _ in 0..<(seconds * 10) {
                pass(100)
                _ = recorder.heartbeat(now: now, wallClock: wallClock)
            }
        }

        mutating func enter(_ state: ReportedState) { recorder.enter(state, now: now) }
        var record: ReportRecord { recorder.record(now: now, workers: []) }
        func figures(_ day: UInt64) -> PeriodFigures? { record.days.first { $0.number == day }?.figures }
    }

    @Test func `a day ends at midnight in UTC, and the states add up to the whole time`() throws {
        var host = Host(at: Self.midnight - 10_000)
        host.run(seconds: 1)
        host.enter(.attached)
        host.run(seconds: 12)
        host.enter(.isolated(.lateProbe))
        // No heartbeat comes exactly at the change.
        host.pass(50)
        host.enter(.idle)
        host.run(seconds: 5)
        let record = host.record
        #expect(record.days.map(\.number) == [19_675, 19_676])
        #expect(record.days[0].figures.time == 10 * Self.second)
        #expect(record.days[0].figures.attached == 9 * Self.second)
        #expect(record.days[0].figures.isolated == [.starting: Self.second])
        #expect(record.days[1].figures.attached == 3 * Self.second)
        #expect(record.days[1].figures.isolated == [.lateProbe: 50_000_000])
        #expect(record.days[1].figures.isolations == [.lateProbe: 1])
        #expect(record.days[1].figures.idle == 5 * Self.second)
        #expect(record.total.time == host.now - Self.start)
        #expect(record.since == Self.midnight - 10_000 && record.countedTo == host.wallClock)
    }

    @Test func `the time of a stopped process counts as not running, once workers trusted it no more`() throws {
        var host = Host(at: Self.midnight - 20_000)
        host.enter(.attached)
        host.run(seconds: 10)
        host.pass(30_000)
        let hasRun = host.recorder.heartbeat(now: host.now, wallClock: host.wallClock)
        #expect(!hasRun)
        host.run(seconds: 2)
        #expect(host.figures(19_675)?.attached == 11 * Self.second)
        #expect(host.figures(19_675)?.isolated == [.notRunning: 9 * Self.second])
        #expect(host.figures(19_676)?.isolated == [.notRunning: 20 * Self.second])
        #expect(host.figures(19_676)?.attached == 2 * Self.second)
        #expect(host.record.total.isolations[.notRunning] == 1)
        #expect(host.record.total.time == host.now - Self.start)
    }

    @Test func `31 days are kept, and the total is the whole time`() throws {
        var host = Host(at: Self.midnight)
        host.enter(.attached)
        for _ in 0..<40 {
            host.pass(86_400_000 - 1000)
            _ = host.recorder.heartbeat(now: host.now, wallClock: host.wallClock)
            host.run(seconds: 1)
            host.recorder.visibleHere(nanoseconds: 1_000_000)
        }
        let record = host.record
        #expect(record.days.count == ReportRecord.keptDays)
        #expect(try #require(record.days.last).number == 19_676 + 40)
        #expect(record.total.time == 40 * 86_400 * Self.second && record.total.visibleHere.count == 40)
    }

    @Test func `a wall clock that is set changes no sum, and a day that comes again goes on`() throws {
        var host = Host(at: Self.midnight - 5000)
        host.enter(.attached)
        host.run(seconds: 10)
        host.wallClock -= 7000
        host.run(seconds: 1)
        host.wallClock += 3 * 86_400_000
        host.run(seconds: 1)
        host.wallClock = 5
        host.run(seconds: 1)
        let record = host.record
        #expect(record.total.attached == 13 * Self.second)
        #expect(record.days.reduce(0) { $0 + $1.figures.attached } == 13 * Self.second)
        #expect(record.days.map(\.number) == [0, 19_675, 19_676, 19_678, 19_679])
        // Up to the next heartbeat, the old clock counts: 100 ms more of this day, and 100 ms less.
        #expect(host.figures(19_675)?.attached == 6 * Self.second)
    }

    @Test func `a restart goes on, and the time in between counts as not running`() throws {
        var host = Host(at: Self.midnight + 1000, hasTable: false)
        host.enter(.attached)
        host.run(seconds: 9)
        host.recorder.visibleHere(nanoseconds: 700_000)
        host.recorder.becamePending(3, now: host.now)
        host.recorder.uncoveredWrites(0)
        host.recorder.audited(AuditCounts(sampled: 10, stale: 1, superseded: 2))
        host.run(seconds: 1)
        let kept = host.recorder.record(
            now: host.now, workers: [AuditLedger.Entry(holder: -4, counts: AuditCounts(sampled: 10))])
        let read = try #require(ReportRecord(encoded: kept.encoded()))
        #expect(read == kept)

        var next = Host(at: host.wallClock + 4000, read, now: host.now + 4 * Self.second)
        next.run(seconds: 2)
        next.recorder.nothingIsPending(now: next.now)
        let total = next.record.total
        #expect(next.record.starts == 2 && next.record.since == Self.midnight + 1000)
        #expect(total.isolated == [.notRunning: 4 * Self.second, .starting: 2 * Self.second])
        #expect(total.attached == 10 * Self.second && total.time == 16 * Self.second)
        #expect(total.coldStarts == [.noTable: 1, .started: 1])
        #expect(total.mostPending == 3 && total.longestWait == 7 * Self.second)
        #expect(total.uncovered == 0 && total.audits.sampled == 10 && total.visibleHere.count == 1)
        #expect(next.recorder.ledger.entries == kept.workers)
    }

    @Test(arguments: [-2 * 86_400_000, 32 * 86_400_000])
    func `figures from the future, or of long ago, are not gone on with`(distance: Int64) throws {
        var host = Host(at: Self.midnight)
        host.run(seconds: 1)
        let begin = UInt64(Int64(host.wallClock) + distance)
        var next = Host(at: begin, host.record)
        next.run(seconds: 1)
        #expect(next.record.since == begin && next.record.starts == 1 && next.record.total.time == Self.second)
    }

    @Test func `a damaged file is no record, and its numbers trap nothing`() throws {
        var host = Host(at: Self.midnight)
        host.recorder.visibleHere(nanoseconds: 5_000_000)
        host.run(seconds: 2)
        let text = String(buffer: host.record.encoded())
        for count in 0..<text.utf8.count {
            #expect(ReportRecord(encoded: ByteBuffer(bytes: text.utf8.prefix(count))) == nil, "\(count) bytes")
        }
        for index in text.utf8.indices {
            for byte in ["9", "-", " ", "\n", "\0", "x"].flatMap({ Array($0.utf8) }) {
                var bytes = Array(text.utf8)
                bytes[text.utf8.distance(from: text.utf8.startIndex, to: index)] = byte
                let damaged = String(decoding: bytes, as: UTF8.self)
                #expect(damaged == text || ReportRecord(encoded: ByteBuffer(string: damaged)) == nil, "\(damaged)")
                // Written by somebody who knows how.
                guard let record = sealed(damaged) else { continue }
                var next = Host(at: Self.midnight + 5000, record)
                next.run(seconds: 1)
                _ = next.record.encoded()
            }
        }
        let huge = text.replacing("idle 0", with: "idle \(UInt64.max)").replacing(
            "starts 1", with: "starts \(UInt64.max)"
        )
        .replacing("here 5000", with: "here \(UInt64.max) 3 \(UInt64.max) 4 \(UInt64.max)")
        let extreme = sealed(huge)
        var next = Host(at: Self.midnight + 5000, extreme)
        next.run(seconds: 1)
        #expect(extreme != nil && next.record.total.time == .max && next.record.total.visibleHere.percentile(99) == 3)
        let unknown = text.replacing("\ntotal", with: "\nlater 1 2\ntotal\nlater x")
        #expect(sealed(unknown) == host.record, "of a later version")
        #expect(sealed(text.replacing("report 1", with: "report 2")) == nil)
    }

    /// The record of a text whose last line fits the others.
    private func sealed(_ text: String) -> ReportRecord? {
        ReportRecord(encoded: ReportRecord.sealed(text.split(separator: "\n").dropLast().map { String($0) }))
    }
}

@Suite struct LatencyDistributionTests {
    @Test(arguments: 1...20) func `a percentile is never too small, and at most 6.25 percent too large`(
        seed: UInt64
    ) throws {
        var random = SeededRandom(seed: seed)
        var (distribution, values) = (LatencyDistribution(), [UInt64]())
        for _ in 0..<Int.random(in: 1...3000, using: &random) {
            let value = UInt64.random(in: 0..<(1 << UInt64.random(in: 1...39, using: &random)), using: &random)
            values.append(value)
            distribution.add(value)
        }
        values.sort()
        for percent in [1, 50, 90, 99, 100] {
            let exact = values[(values.count * percent + 99) / 100 - 1]
            let shown = distribution.percentile(UInt64(percent))
            #expect(shown >= exact && Double(shown) <= Double(exact) * 1.0625, "p\(percent): \(shown) for \(exact)")
        }
        #expect(distribution.maximum == values.last && distribution.percentile(100) == values.last)
        #expect(distribution.count == UInt64(values.count))
    }

    @Test func `distributions of two times add up to that of both`() {
        var (both, first, second) = (LatencyDistribution(), LatencyDistribution(), LatencyDistribution())
        for value in stride(from: UInt64(0), to: 100_000, by: 37) {
            both.add(value)
            if value % 2 == 0 { first.add(value) } else { second.add(value) }
        }
        first.merge(second)
        #expect(first == both)
    }

    @Test func `memory is bounded whatever comes`() {
        var distribution = LatencyDistribution()
        distribution.add(.max)
        distribution.add(0)
        #expect(distribution.counts.count == LatencyDistribution.capacity && LatencyDistribution.capacity < 700)
        #expect(distribution.percentile(50) == 0 && distribution.maximum == LatencyDistribution.greatest)
        #expect(LatencyDistribution().percentile(99) == 0)
    }
}

@Suite struct AuditLedgerTests {
    @Test func `a worker that comes back goes on where it was`() {
        var ledger = AuditLedger()
        ledger.left(7, AuditCounts(sampled: 100, stale: 1))
        ledger.left(7, AuditCounts(sampled: 20))
        ledger.left(8, AuditCounts(sampled: 110))
        let former = (0..<3).map { _ in ledger.takeFormer(of: 7, before: AuditCounts(sampled: 120, stale: 1)).sampled }
        #expect(former == [100, 20, 0])
        let other = ledger.takeFormer(of: 8, before: AuditCounts(sampled: 5))
        #expect(other == AuditCounts(), "the number is another process's")
    }

    @Test func `the ledger is bounded`() {
        var ledger = AuditLedger()
        for holder in 0..<5000 { ledger.left(Int64(holder), AuditCounts(sampled: 1)) }
        #expect(ledger.entries.count == AuditLedger.capacity && ledger.entries.last?.holder == 4999)
    }
}
