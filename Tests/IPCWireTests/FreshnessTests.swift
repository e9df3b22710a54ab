import NIOCore
import Testing

@testable import IPCWire

/// The one rule as a worker applies it (docs/consistency.md, "Reading", step 1).
///
/// The tests show that every condition alone turns a hit into a miss, at its boundary. They also show that the clock is
/// read after everything has been loaded, and that state, heartbeat and freshAsOf are loaded before the slots and the
/// epoch. The order shows by the effect of a change at the moment of reading the clock: nothing that was loaded before
/// it may be replaced by it. The order among loads without a call between them can't be tested from outside; the code
/// loads with acquire ordering in the order of its lines.
@Suite struct FreshnessTests {
    private static let start: BootTime = 1_000_000_000_000
    private static let second: UInt64 = 1_000_000_000

    /// A table and an entry that is fresh by it at `start`.
    private struct Scene {
        let table = TagTable.inMemory(epoch: 7)
        var slots: [UInt32] = [3, 5, 65_535]
        var asOf: LogPosition = 100
        var epoch: Epoch = 7
        var now = FreshnessTests.start

        init() {
            table.setState(.attached)
            table.setHeartbeat(FreshnessTests.start)
            table.setFreshAsOf(FreshnessTests.start)
            table.raise(3, to: 100)
        }

        var deadline = BootTime.max

        var isFresh: Bool { table.isFresh(slots: slots, asOf: asOf, epoch: epoch) { now } }
        var verdict: FreshnessVerdict {
            table.verdict(slots: slots, asOf: asOf, epoch: epoch, deadline: deadline) { now }
        }
    }

    @Test func `fresh`() {
        #expect(Scene().isFresh)
        var scene = Scene()
        scene.slots = []
        #expect(scene.isFresh)
    }

    @Test func `every slot counts, and only a greater position`() {
        for slot in [3, 5, 65_535] {
            let scene = Scene()
            scene.table.raise(UInt64(slot), to: 100)
            #expect(scene.isFresh, "invalidated at asOf: the value was read after it")
            scene.table.raise(UInt64(slot), to: 101)
            #expect(!scene.isFresh)
        }
        let scene = Scene()
        scene.table.raise(4, to: .greatest)
        #expect(scene.isFresh, "not one of its slots")
    }

    @Test(arguments: [0, 6, 8, .max] as [Epoch]) func `another epoch`(epoch: Epoch) {
        var scene = Scene()
        scene.epoch = epoch
        #expect(!scene.isFresh)
    }

    @Test func `isolated`() {
        let scene = Scene()
        scene.table.setState(.isolated)
        #expect(!scene.isFresh)
    }

    /// Age of the heartbeat, age of freshAsOf, verdict.
    @Test(
        arguments: [
            (0, 0, true), (1, 1, true), (second - 1, 0, true), (second, 0, true), (second + 1, 0, false),
            (0, 2 * second, true),
            (0, 2 * second + 1, false), (second, 2 * second, true), (second + 1, 2 * second, false),
            (second, 2 * second + 1, false),
            (start.number, 0, false), (0, start.number, false),
        ] as [(UInt64, UInt64, Bool)]) func `age`(heartbeat: UInt64, freshAsOf: UInt64, isFresh: Bool)
    {
        let scene = Scene()
        scene.table.setHeartbeat(Self.start - heartbeat)
        scene.table.setFreshAsOf(Self.start - freshAsOf)
        #expect(scene.isFresh == isFresh)
    }

    @Test func `a time in the future is not believed`() {
        var scene = Scene()
        scene.now = Self.start - 1
        #expect(!scene.isFresh)
        scene = Scene()
        scene.table.setFreshAsOf(Self.start + 1)
        #expect(!scene.isFresh)
        scene = Scene()
        scene.table.setHeartbeat(.max)
        #expect(!scene.isFresh)
        scene.now = 0
        #expect(!scene.isFresh, "a clock that can't be read")
    }

    @Test func `a table without a heartbeat`() {
        let scene = Scene()
        scene.table.setHeartbeat(0)
        #expect(!scene.isFresh)
    }

    // MARK: Order

    /// syncd was stopped, wakes up, applies missed entries and writes a heartbeat, all while a reader is between its
    /// loads and its clock. If the heartbeat were loaded last, the new one would make the old slot look trustworthy.
    @Test func `a heartbeat that comes late vouches for nothing that was loaded before it`() {
        let scene = Scene()
        scene.table.setHeartbeat(Self.start - 2 * Self.second)
        let isFresh = scene.table.isFresh(slots: scene.slots, asOf: scene.asOf, epoch: scene.epoch) {
            scene.table.raise(3, to: 101)
            scene.table.setHeartbeat(Self.start)
            return Self.start
        }
        #expect(!isFresh)
    }

    @Test func `the same for freshAsOf and the state`() {
        var scene = Scene()
        scene.table.setFreshAsOf(Self.start - 3 * Self.second)
        #expect(
            !scene.table.isFresh(slots: scene.slots, asOf: scene.asOf, epoch: scene.epoch) {
                scene.table.setFreshAsOf(Self.start)
                return Self.start
            })
        scene = Scene()
        scene.table.setState(.isolated)
        #expect(
            !scene.table.isFresh(slots: scene.slots, asOf: scene.asOf, epoch: scene.epoch) {
                scene.table.setState(.attached)
                return Self.start
            })
    }

    /// A reader that sleeps between its loads and its clock finds its heartbeat too old.
    @Test func `the clock is taken once, after everything`() {
        let scene = Scene()
        var calls = 0
        let isFresh = scene.table.isFresh(slots: scene.slots, asOf: scene.asOf, epoch: scene.epoch) {
            calls += 1
            return Self.start + Self.second + 1
        }
        #expect(!isFresh)
        #expect(calls == 1)
    }

    // MARK: Reasons

    @Test func `each reason has a verdict of its own, and distrust comes first`() {
        func verdict(_ change: (inout Scene) -> Void) -> FreshnessVerdict {
            var scene = Scene()
            change(&scene)
            return scene.verdict
        }
        #expect(verdict { _ in } == .fresh)
        #expect(verdict { $0.table.raise(5, to: 101) } == .invalidated(place: 1, position: 101))
        #expect(verdict { $0.deadline = $0.now } == .expired)
        #expect(verdict { $0.deadline = $0.now + 1 } == .fresh)
        #expect(verdict { $0.epoch = 8 } == .otherLog)
        #expect(verdict { $0.table.setFreshAsOf(1) } == .notTrusted(.freshAsOfTooOld))
        #expect(verdict { $0.table.setHeartbeat(1) } == .notTrusted(.heartbeatTooOld))
        let everything = verdict {
            $0.table.setState(.isolated)
            $0.table.raise(5, to: 101)
            ($0.epoch, $0.deadline) = (8, 0)
        }
        #expect(everything == .notTrusted(.isolated))
    }

    @Test func `after a sleep, only a probe from since then counts`() {
        var trust = Trust(state: .attached, heartbeat: Self.start, freshAsOf: Self.start)
        trust.awakeSince = Self.start
        #expect(trust.distrust(at: Self.start) == nil)
        trust.awakeSince = Self.start + 1
        #expect(trust.distrust(at: Self.start) == .notAskedSinceSleep)
        trust.heartbeatWindow = Self.second / 2
        #expect(trust.distrust(at: Self.start + Self.second / 2 + 1) == .heartbeatTooOld)
    }

    /// One writer that keeps the invariant "the value 2n was written at position n" and readers that check it.
    @Test func `readers on other threads never see a slot older than the heartbeat they believe`() async {
        let table = TagTable.inMemory(epoch: 1)
        table.setState(.attached)
        let rounds: UInt64 = 20_000
        await withTaskGroup(of: Int.self) { group in
            group.addTask {
                for round in 1...rounds {
                    // The order of syncd: the slot first, then the heartbeat.
                    table.raise(9, to: LogPosition(round))
                    table.setFreshAsOf(BootTime(round))
                    table.setHeartbeat(BootTime(round))
                }
                return 0
            }
            for _ in 0..<2 {
                group.addTask {
                    var violations = 0
                    var seen: BootTime = 0
                    while seen.number < rounds {
                        let heartbeat = table.heartbeat
                        // An entry as of one position earlier is not fresh once that heartbeat was written.
                        if heartbeat > 0,
                            table.isFresh(
                                slots: [9], asOf: LogPosition(heartbeat.number - 1), epoch: 1, clock: { heartbeat })
                        {
                            violations += 1
                        }
                        if heartbeat < seen { violations += 1 }
                        seen = heartbeat
                    }
                    return violations
                }
            }
            for await violations in group { #expect(violations == 0) }
        }
    }
}

extension TagTable {
    fileprivate func isFresh(slots: [UInt32], asOf: LogPosition, epoch: Epoch, clock: () -> BootTime) -> Bool {
        verdict(slots: slots, asOf: asOf, epoch: epoch, deadline: .max, clock: clock) == .fresh
    }
}
