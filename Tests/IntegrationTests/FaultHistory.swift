import Synchronization
import TestSupport

/// What was acknowledged and what was read over HTTP on several hosts, and whether the one fits the other.
///
/// Each key is a register that one writer at a time gives increasing versions. What is known about a key is a list of
/// (time, version) with both rising, so that each read costs one look at its end: the whole check is linear.
final class FaultHistory: Sendable {
    /// Where an acknowledged write counts from when on.
    private struct Floors {
        /// Per host: acknowledged there.
        var own: [Int]
        /// Acknowledged somewhere while nothing was wrong there, with the time.
        var others: [(time: ContinuousClock.Instant, version: Int)] = []
    }

    private struct State {
        var keys: [Floors]
        /// Faults of each host that go on, and when the last one ended; the last element is what all hosts share.
        var faults: [Int]
        var faultEnded: [ContinuousClock.Instant]
        var reads = 0
        var writes = 0
        var unknown = 0
        var unavailable = 0
        var sources: [String: Int] = [:]
        var applied: [String: Int] = [:]
        var stale: [String] = []
        var failures: [String] = []
        var slowest = Duration.zero
        /// How often each worker, by its port, was harmed or came back.
        var lives: [Int: Int] = [:]
        var isOver = false
    }

    /// Longer than the bound between hosts, and what a busy machine adds.
    private static let acrossHosts = Duration.seconds(2)
    /// A fault that has been over for so long is no reason for a host to be behind.
    private static let recovery = Duration.seconds(3)

    private let hosts: Int
    private let state: Mutex<State>

    init(hosts: Int, keys: Int) {
        self.hosts = hosts
        state = Mutex(
            State(
                keys: Array(repeating: Floors(own: Array(repeating: 0, count: hosts)), count: keys),
                faults: Array(repeating: 0, count: hosts + 1),
                faultEnded: Array(repeating: .now, count: hosts + 1)))
    }

    // MARK: Faults

    /// A fault of a host (`nil`: of something that all share) begins.
    func faultBegan(_ name: String, host: Int?) {
        state.withLock { state in
            state.faults[host ?? hosts] += 1
            state.applied[name, default: 0] += 1
        }
    }

    func faultEnded(host: Int?) {
        state.withLock { state in
            state.faults[host ?? hosts] -= 1
            state.faultEnded[host ?? hosts] = .now
        }
    }

    /// A worker is about to be killed, or is back.
    func lifeChanged(ofWorkerAt port: Int) { state.withLock { $0.lives[port, default: 0] += 1 } }
    /// Even while it lives. What fails between two equal answers that are even fails a living worker.
    func life(ofWorkerAt port: Int) -> Int { state.withLock { $0.lives[port, default: 0] } }

    // MARK: Requests

    struct Read: Sendable {
        fileprivate var key: Int
        fileprivate var own: Int
        fileprivate var others: Int
        fileprivate var begin: ContinuousClock.Instant
    }

    func readBegins(_ key: Int, on host: Int) -> Read {
        let now = ContinuousClock.now
        return state.withLock { state in
            Read(
                key: key, own: state.keys[key].own[host],
                others: state.keys[key].others.last { $0.time <= now - Self.acrossHosts }?.version ?? 0, begin: now)
        }
    }

    func readEnded(_ read: Read, version: Int, source: String, worker: String) {
        let took = ContinuousClock.now - read.begin
        state.withLock { state in
            state.reads += 1
            state.sources[source, default: 0] += 1
            state.slowest = max(state.slowest, took)
            if version < read.own {
                state.stale.append(
                    "\(worker) read \(version) of key \(read.key) from \(source); its host had \(read.own)")
            } else if version < read.others {
                state.stale.append(
                    "\(worker) read \(version) of key \(read.key) from \(source) 2 s after \(read.others)")
            }
        }
    }

    func acknowledged(_ key: Int, version: Int, on host: Int) {
        let now = ContinuousClock.now
        state.withLock { state in
            state.writes += 1
            state.keys[key].own[host] = max(state.keys[key].own[host], version)
            // A host that is cut off, or whose syncd is down, cannot tell the others.
            let isWell = [host, hosts].allSatisfy {
                state.faults[$0] == 0 && now - state.faultEnded[$0] > Self.recovery
            }
            if isWell, version > state.keys[key].others.last?.version ?? 0 {
                state.keys[key].others.append((now, version))
            }
        }
    }

    /// Nobody knows whether it has happened.
    func unknownOutcome() { state.withLock { $0.unknown += 1 } }
    /// The database was away, and the API said so.
    func wasUnavailable() { state.withLock { $0.unavailable += 1 } }
    func failed(_ why: String) { state.withLock { $0.failures.append(why) } }

    // MARK: The end

    var isOver: Bool { state.withLock { $0.isOver } }
    func end() { state.withLock { $0.isOver = true } }

    var unavailableCount: Int { state.withLock { $0.unavailable } }
    var stale: [String] { state.withLock { $0.stale } }
    var failures: [String] { state.withLock { $0.failures } }
    var counts: (reads: Int, writes: Int) { state.withLock { ($0.reads, $0.writes) } }
    func count(_ source: String) -> Int { state.withLock { $0.sources[source, default: 0] } }

    var summary: String {
        state.withLock { state in
            let sorted: ([String: Int]) -> String = { table in
                table.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            }
            return """
                reads \(state.reads) (\(sorted(state.sources))), slowest \(state.slowest)
                writes \(state.writes), of unknown outcome \(state.unknown), 503 \(state.unavailable)
                stale \(state.stale.count), failed \(state.failures.count)
                faults: \(sorted(state.applied))
                """
        }
    }
}
