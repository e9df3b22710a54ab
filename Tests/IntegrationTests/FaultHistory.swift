import Synchronization
import TestSupport

/// Acknowledged writes and reads over HTTP on several hosts, and whether they are consistent.
///
/// **The rule.** Each key is a register that goes through numbered rounds. All writes of one round ask for the same
/// state, from however many workers and hosts at once, and however often they are repeated. A round begins only after
/// the one before was acknowledged and none of its writes can land any more. So the database goes through the rounds
/// in order, and every state that a read may show belongs to a round from *floor* to *newest*:
///
/// - *newest* is the last round that had begun when the read ended;
/// - *floor* is the last round that was known to have happened when the read began.
///
/// A read that shows no state of these rounds is stale (or shows what nobody has written). States may repeat: a
/// friendship is there in odd rounds and not there in even ones. Then a read says nothing while two rounds are
/// possible, and is judged as soon as it is one.
///
/// A round is known to have happened
///
/// 1. on a host, as soon as a response of one of its workers showed the round's state: 200 with or without a change,
///    201, 404 after a deletion, 409 after a creation;
/// 2. on every host, 2 s after such a response by a host with which nothing was wrong;
/// 3. for a read on any host that brings the position of such a response;
/// 4. on every host, if a committed read of the database showed its state ``afterObservation`` before, and syncd and
///    Redis have been well since. That covers the writes that nobody got an answer to.
///
/// The knowledge about a key is a list of (time, round) with both rising, so that each read costs one look at its end.
/// Entries that are too old to matter are dropped: the whole check is linear, and its memory is bounded.
final class FaultHistory: Sendable {
    /// The state that a read shows of a register.
    enum Shown: Sendable, Equatable {
        /// The state of one round and of no other.
        case round(Int)
        /// The state of all odd rounds, or of all even ones.
        case odd(Bool)
        /// An object that was made in this round and is deleted in the next one. A later round makes another one, and
        /// acknowledges nothing about this.
        case owner(Int)
        /// Not the state of this round.
        case otherThan(Int)

        /// Whether a round from `floor` to `newest` has this state.
        func fits(_ floor: Int, _ newest: Int) -> Bool {
            switch self {
            case .round(let round): floor <= round && round <= newest
            case .odd(let isOdd): floor < newest || (floor % 2 == 1) == isOdd
            case .owner(let round): floor != round + 1 && round <= newest
            case .otherThan(let round): floor < newest || floor != round
            }
        }
    }

    /// The hosts that a fault prevents from telling others of writes.
    enum Scope: Sendable, Equatable {
        case host(Int)
        case everybody
        /// The promises hold in spite of it.
        case nobody
    }

    /// A round that has happened, since when, and how that is known.
    private struct Knowledge {
        var time: ContinuousClock.Instant
        var round: Int
        var source: String
    }

    private struct Register {
        var newest = 0
        /// Per host: shown by a response there.
        var own: [Knowledge?]
        /// Shown somewhere while nothing was wrong there.
        var others: [Knowledge] = []
        /// Shown by the database itself.
        var observed: [Knowledge] = []
    }

    private struct State {
        var registers: [Register]
        /// Faults of each host that go on, and when the last one ended; the last element is what all hosts share.
        var faults: [Int]
        var faultEnded: [ContinuousClock.Instant]
        var figures = Figures()
        /// How often each worker, by its port, was harmed or came back.
        var lives: [Int: Int] = [:]
        /// Writes that each worker, by its port, has not answered.
        var flights: [Int: Int] = [:]
        var isCalm = false
        var isOver = false
    }

    /// Longer than the bound between hosts, and what a busy machine adds.
    private static let acrossHosts = Duration.seconds(2)
    /// A fault that has been over for this time is no reason for a host to be behind.
    private static let recovery = Duration.seconds(3)
    /// A file that a writer left behind is in the log again 5 s after the last time, that of a writer that hangs after
    /// 3 s. The rest is for a busy machine.
    static let afterObservation = Duration.seconds(8)

    let hosts: Int
    private let begin = ContinuousClock.now
    private let state: Mutex<State>

    init(hosts: Int, keys: Int) {
        self.hosts = hosts
        state = Mutex(
            State(
                registers: Array(repeating: Register(own: Array(repeating: nil, count: hosts)), count: keys),
                faults: Array(repeating: 0, count: hosts + 1),
                faultEnded: Array(repeating: .now, count: hosts + 1)))
    }

    // MARK: Faults

    func faultBegan(_ name: String, _ scope: Scope) {
        state.withLock { state in
            state.figures.applied[name, default: 0] += 1
            if let place = place(scope) { state.faults[place] += 1 }
        }
    }

    func faultEnded(_ scope: Scope, now: ContinuousClock.Instant = .now) {
        state.withLock { state in
            guard let place = place(scope) else { return }
            state.faults[place] -= 1
            state.faultEnded[place] = now
        }
    }

    private func place(_ scope: Scope) -> Int? {
        switch scope {
        case .host(let host): host
        case .everybody: hosts
        case .nobody: nil
        }
    }

    /// Whether a fault of this host goes on, or of what all share.
    func isHarmed(_ host: Int) -> Bool { state.withLock { $0.faults[host] > 0 || $0.faults[hosts] > 0 } }

    /// A worker is about to be killed, or is back.
    func lifeChanged(ofWorkerAt port: Int) { state.withLock { $0.lives[port, default: 0] += 1 } }
    /// Even while the worker lives. If a request fails between two equal even numbers, a living worker has failed it.
    func life(ofWorkerAt port: Int) -> Int { state.withLock { $0.lives[port, default: 0] } }

    // MARK: Writes

    /// Begins the next round, or the last one again if nobody knows that it has happened.
    ///
    /// - Parameter isDirect: it has happened as soon as the database has shown it. There is one writer, who waits until it
    ///   has landed.
    func roundBegins(_ key: Int, isDirect: Bool = false) -> Int {
        state.withLock { state in
            let newest = state.registers[key].newest
            let isObserved = isDirect && state.registers[key].observed.last?.round == newest
            let isKnown = isObserved || state.registers[key].own.contains { $0?.round == newest }
            if isKnown || newest == 0 { state.registers[key].newest += 1 }
            return state.registers[key].newest
        }
    }

    func newest(_ key: Int) -> Int { state.withLock { $0.registers[key].newest } }

    func isAcknowledged(_ key: Int, round: Int) -> Bool {
        state.withLock { $0.registers[key].own.contains { $0?.round ?? 0 >= round } }
    }

    /// A response showed that a round has happened.
    ///
    /// - Parameter source: what showed it, for failure messages.
    func acknowledged(
        _ key: Int, round: Int, on host: Int, by source: String = "a write", now: ContinuousClock.Instant = .now
    ) {
        state.withLock { state in
            state.figures.acknowledged[source, default: 0] += 1
            if state.registers[key].own[host]?.round ?? 0 < round {
                state.registers[key].own[host] = Knowledge(time: now, round: round, source: source)
            }
            // A host that is cut off, or whose syncd is down, cannot tell the others.
            if isWell([host, hosts], for: Self.recovery, state, now),
                round > state.registers[key].others.last?.round ?? 0
            {
                state.registers[key].others.append(Knowledge(time: now, round: round, source: source))
                Self.prune(&state.registers[key].others, upTo: now - Self.acrossHosts)
            }
        }
    }

    /// The database showed the state of a round, and cannot lose it any more.
    func observed(_ key: Int, round: Int, now: ContinuousClock.Instant = .now) {
        state.withLock { state in
            guard round > state.registers[key].observed.last?.round ?? 0 else { return }
            state.figures.observations += 1
            state.registers[key].observed.append(Knowledge(time: now, round: round, source: "the database"))
            Self.prune(&state.registers[key].observed, upTo: now - Self.afterObservation)
        }
    }

    /// Keeps the last one that counts for all reads that begin from now on, and the later ones.
    private static func prune(_ list: inout [Knowledge], upTo time: ContinuousClock.Instant) {
        if let last = list.lastIndex(where: { $0.time <= time }) { list.removeFirst(last) }
    }

    private func isWell(
        _ places: [Int], for length: Duration, _ state: State, _ now: ContinuousClock.Instant
    ) -> Bool {
        places.allSatisfy { state.faults[$0] == 0 && now - state.faultEnded[$0] > length }
    }

    func flightBegins(at port: Int) { state.withLock { $0.flights[port, default: 0] += 1 } }
    func flightEnds(at port: Int) { state.withLock { $0.flights[port, default: 0] -= 1 } }
    /// Whether a worker is in the middle of a write.
    func isFlying(at port: Int) -> Bool { state.withLock { $0.flights[port, default: 0] > 0 } }

    /// Nobody knows whether it has happened.
    func unknownOutcome() { state.withLock { $0.figures.unknown += 1 } }
    /// The database was away, and the API said so.
    func wasUnavailable() { state.withLock { $0.figures.unavailable += 1 } }
    func failed(_ why: String) { state.withLock { Figures.note(why, &$0.figures.failures, &$0.figures.failureCount) } }

    // MARK: Reads

    struct Read: Sendable {
        fileprivate var host: Int
        fileprivate var floors: [Int: Floor]
        fileprivate var begin: ContinuousClock.Instant
    }

    fileprivate struct Floor {
        var round = 0
        var why = "nothing was known"
        var source = "nothing"
        var isObserved = false
    }

    /// - Parameter round: of the acknowledged write whose position the read brings.
    func readBegins(
        _ keys: [Int], on host: Int, after round: Int = 0, now: ContinuousClock.Instant = .now
    ) -> Read {
        state.withLock { state in
            let isCalm = isWell(Array(0...hosts), for: Self.afterObservation, state, now)
            if round > 0 { state.figures.readsWithPosition += 1 }
            let floors = keys.map { key in
                let known = floor(state.registers[key], host, isCalm: isCalm, now)
                let isAfter = round > known.round
                return (key, isAfter ? Floor(round: round, why: "its position is brought", source: "position") : known)
            }
            return Read(host: host, floors: Dictionary(uniqueKeysWithValues: floors), begin: now)
        }
    }

    private func floor(_ register: Register, _ host: Int, isCalm: Bool, _ now: ContinuousClock.Instant) -> Floor {
        var floor = Floor()
        func raise(_ known: Knowledge?, _ how: String, isObserved: Bool = false) {
            guard let known, known.round > floor.round else { return }
            let ago = (now - known.time) / .milliseconds(1)
            floor = Floor(
                round: known.round, why: "\(known.source) \(how) \(Int(ago)) ms before", source: known.source,
                isObserved: isObserved)
        }
        raise(register.own[host], "on this host")
        raise(register.others.last { $0.time <= now - Self.acrossHosts }, "on another host")
        if isCalm {
            raise(register.observed.last { $0.time <= now - Self.afterObservation }, "had it", isObserved: true)
        }
        return floor
    }

    /// A read of whatever is judged has been answered.
    func answered(_ read: Read, from source: String) {
        let took = ContinuousClock.now - read.begin
        state.withLock { state in
            state.figures.reads += 1
            state.figures.sources[source, default: 0] += 1
            state.figures.slowest = max(state.figures.slowest, took)
        }
    }

    /// The state that an answer showed of one register.
    func showed(_ read: Read, _ key: Int, _ shown: Shown, from source: String, worker: String) {
        guard let floor = read.floors[key] else { return }
        state.withLock { state in
            let newest = state.registers[key].newest
            if floor.isObserved { state.figures.judgedByObservation += 1 }
            guard !shown.fits(floor.round, newest) else { return }
            let seconds = Int((ContinuousClock.now - begin) / .seconds(1))
            let after = "\(floor.source) (first at \(state.figures.firstStale[floor.source] ?? seconds) s)"
            state.figures.firstStale[floor.source] = state.figures.firstStale[floor.source] ?? seconds
            let text = """
                at \((ContinuousClock.now - begin) / .seconds(1)) s \(worker) on host \(read.host) read \(shown) of \
                key \(key) from \(source); possible are \(floor.round)…\(newest): \(floor.why)
                """
            state.figures.staleAfter[after, default: 0] += 1
            // Some of each kind: the first ones are often of one kind.
            if state.figures.staleAfter[after, default: 0] <= Figures.notesKeptOfAKind {
                state.figures.stale.append(text)
            }
            state.figures.staleCount += 1
        }
    }

    // MARK: The end

    /// Whether nothing is harmed at the moment.
    var isCalm: Bool { state.withLock { $0.isCalm || $0.isOver } }
    func setCalm(_ isCalm: Bool) { state.withLock { $0.isCalm = isCalm } }
    var isOver: Bool { state.withLock { $0.isOver } }
    func end() { state.withLock { $0.isOver = true } }

    /// How much is remembered of what happened.
    var knowledgeCount: Int {
        state.withLock { $0.registers.reduce(0) { $0 + $1.others.count + $1.observed.count } }
    }

    var figures: Figures { state.withLock { $0.figures } }
    var unavailableCount: Int { figures.unavailable }
    var stale: [String] { figures.stale }
    var failures: [String] { figures.failures }
    var counts: (reads: Int, writes: Int) {
        let figures = figures
        return (figures.reads, figures.acknowledged.values.reduce(0, +))
    }
    func count(_ source: String) -> Int { state.withLock { $0.figures.sources[source, default: 0] } }
    var summary: String { figures.summary }
}
