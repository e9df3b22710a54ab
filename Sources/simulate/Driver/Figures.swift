/// Counts of events, by name; `goal: …` are the rare situations that a campaign must have reached.
struct Figures {
    private(set) var counts: [String: Int] = [:]

    mutating func add(_ name: String, _ count: Int = 1) { counts[name, default: 0] += count }

    mutating func merge(_ other: Figures) { counts.merge(other.counts, uniquingKeysWith: +) }

    subscript(_ name: String) -> Int { counts[name] ?? 0 }

    /// The rare situations of docs/simulation.md.
    static let goals: [String] = [
        "goal: link lost and resumed in the same epoch",
        "goal: epoch raised: incarnation",
        "goal: epoch raised: trimmed",
        "goal: epoch raised: discontinuous",
        "goal: read on an idle host",
        "goal: isolated: another process",
        "goal: isolated: log vanished",
        "goal: isolated: another log",
        "goal: isolated: went back",
        "goal: isolated: changed",
        "goal: isolated: damaged",
        "goal: isolated: replica",
        "goal: isolated: entries missing",
        "goal: isolated: append timed out",
        "goal: isolated: no probe for 2 s",
        "goal: stale fill refused",
        "goal: lease passed on after its holder left",
        "goal: lease passed on after its time",
        "goal: L1 not believed for an old heartbeat while connected",
        "goal: heartbeat received late",
        "goal: L1 hit in the last percent of the trust window",
        "goal: append timed out but happened",
        "goal: invalidation appended twice",
        "goal: pushes collapsed into one",
        "goal: output limit closed a client",
        "goal: all workers read the database",
        "goal: failover lost an acknowledged entry",
        "goal: subscription lost and caught up from the stream",
        "goal: link lost while catching up",
        "goal: link lost while replacing the log",
        "goal: write deferred",
        "goal: marker written",
        "goal: intent of a dead owner collected",
        "goal: orphan repeated to its end",
        "goal: write landed long after its end",
        "goal: write changed nothing",
        "goal: intent of a living owner appended",
        "goal: renamed journal followed",
        "goal: write of unknown outcome that only its worker remembers",
        "goal: write at once without syncd",
        "goal: syncd without its table ended",
        "goal: transaction changed two keys",
        "goal: half of a write taken back",
        "goal: value of two keys read from L1",
        "goal: write rolled back",
        "goal: rolled-back value still cached",
        "goal: read with a position answered from cache",
        "goal: FETCH waited for a hit",
        "goal: FETCH … AFTER waited for a hit",
        "goal: uncovered write",
        "goal: feed reset",
        "goal: history of changes lost",
        "goal: journal file not deleted",
        "goal: undeletable file found by the next syncd",
        "goal: marker obeyed that can't be deleted",
    ]

    /// The goals that were not reached.
    var missing: [String] { Self.goals.filter { self[$0] == 0 } }
}
