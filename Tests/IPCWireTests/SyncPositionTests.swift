import NIOCore
import Testing

@testable import IPCWire

/// docs/consistency.md, "Reading your own writes".
@Suite struct SyncPositionTests {
    private static let log = Incarnation(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)
    private static let other = Incarnation(high: 1, low: 2)

    private static func position(_ number: LogPosition, in log: Incarnation = log) -> SyncPosition {
        SyncPosition(SyncPosition.Place(incarnation: log, position: number))
    }

    @Test(arguments: [0, 7, 9_007_199_254_740_992] as [LogPosition])
    func `a position is read as it was written`(number: LogPosition) {
        let position = Self.position(number)
        #expect(position.description == "0123456789abcdeffedcba9876543210-\(number)")
        #expect(SyncPosition(position.description) == position)
        #expect(SyncPosition(position.description.uppercased()) == position)
    }

    @Test(arguments: [
        "", "-", "unknown", "0123456789abcdeffedcba9876543210", "0123456789abcdeffedcba9876543210-",
        "0123456789abcdeffedcba9876543210-07", "0123456789abcdeffedcba9876543210--7",
        "0123456789abcdeffedcba9876543210-7 ", " 0123456789abcdeffedcba9876543210-7",
        "0123456789abcdeffedcba9876543210-9007199254740993", "0123456789abcdeffedcba9876543210+7",
        "0123456789abcdeffedcba987654321-7", "g123456789abcdeffedcba9876543210-7",
        "0123456789abcdeffedcba9876543210-7, 0123456789abcdeffedcba9876543210-8",
    ])
    func `a text that is no position is unknown`(text: String) {
        #expect(SyncPosition(text) == .unknown)
        #expect(SyncPosition.unknown.description == "-")
    }

    @Test func `the position of two writes`() {
        let (first, second) = (Self.position(3), Self.position(4))
        #expect(first.joined(with: second) == second && second.joined(with: first) == second)
        #expect(first.joined(with: Self.position(4, in: Self.other)) == .unknown)
        #expect(first.joined(with: .unknown) == .unknown && SyncPosition.unknown.joined(with: first) == .unknown)
    }

    @Test func `a table has applied a position of its own log only, and while it is attached`() {
        let table = TagTable.inMemory()
        table.setIncarnation(Self.log)
        table.setApplied(4)
        let place = SyncPosition.Place(incarnation: Self.log, position: 4)
        #expect(table.verdict(on: place) == .incomparable && table.attachedLog == nil, "isolated")
        table.setState(.attached)
        #expect(table.verdict(on: place) == .applied && table.attachedLog == Self.log)
        #expect(table.verdict(on: SyncPosition.Place(incarnation: Self.log, position: 5)) == .pending)
        #expect(table.verdict(on: SyncPosition.Place(incarnation: Self.other, position: 1)) == .incomparable)
        table.setIncarnation(Self.other)
        #expect(table.verdict(on: place) == .incomparable)
    }
}
