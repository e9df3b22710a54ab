import IPC
import IPCWire
import NIOCore
import SyncCore

/// Whether a read sees the latest write, and how long a probe takes.
extension Doctor {
    private static let rounds = 100
    /// Maximum time of the rounds. A distant server gets fewer of them.
    private static let patience = TimeAmount.seconds(20)

    /// Writes over one connection and reads over the other at once, in both directions. A proxy or a service that
    /// answers reads from replicas shows an older value, sooner or later.
    func checkReads(_ first: DoctorConnection, _ second: DoctorConnection) async throws(ConnectionLoss) {
        let deadline = NIODeadline.now() + Self.patience
        var (rounds, misses) = (0, [0, 0])
        for round in 0..<Self.rounds {
            for (index, pair) in [(first, second), (second, first)].enumerated() {
                let value = ByteBuffer(string: "\(2 * round + index + 1)")
                let written = try await pair.0.ask([.word("SET"), scratch.position, value, .word("PX"), .word("60000")])
                let sentAt = NIODeadline.now()
                let read = try await pair.1.ask(encoding.probe())
                roundTrips.add(UInt64(clamping: (NIODeadline.now() - sentAt).nanoseconds))
                if let failure = written.failure ?? read.failure { return add(Self.unreadable(failure)) }
                guard case .array(let parts) = read, parts.count == 2 else {
                    return add(Self.unreadable(.refused("MGET is not answered by two values")))
                }
                if parts[1] != .bulkString(value) { misses[index] += 1 }
            }
            rounds += 1
            if NIODeadline.now() > deadline { break }
        }
        add(Self.readYourWrites(rounds: rounds, misses: misses))
        add(roundTrip())
        _ = try await first.ask([.word("DEL"), scratch.position])
    }

    private static func unreadable(_ failure: UpstreamFailure) -> Finding {
        Finding(
            .readYourWrites, .failure, "SET or MGET: \(failure.message)",
            follows: "the log cannot be kept here: hosts are isolated", remedy: failure.remedy(permitting: "+set +mget")
        )
    }

    static func readYourWrites(rounds: Int, misses: [Int]) -> Finding {
        let figures = [
            StatusField("rounds", .number(UInt64(rounds))), StatusField("misses-1-2", .number(UInt64(misses[0]))),
            StatusField("misses-2-1", .number(UInt64(misses[1]))),
        ]
        guard misses.contains(where: { $0 > 0 }) else {
            return Finding(
                .readYourWrites, .ok,
                "\(rounds) writes over each of two connections were there for the other at once", figures: figures)
        }
        return Finding(
            .readYourWrites, .failure,
            "of \(rounds) writes over one connection, \(misses[0]) were missing for the other at once; in the other direction \(misses[1])",
            follows: "replicas answer reads: probes show old positions, so that a host trusts values that are invalid",
            remedy: "use an address of the primary alone: no reader endpoint, no balancing or splitting of reads",
            figures: figures)
    }

    // MARK: Time

    private func roundTrip() -> Finding {
        let times = roundTrips.microseconds([0.5, 0.99])
        return Self.roundTrip(p50: times[0], p99: times[1], limits: Limits())
    }

    /// - Parameters:
    ///   - p50: of probes, in µs.
    ///   - p99: of probes, in µs.
    static func roundTrip(p50: UInt64, p99: UInt64, limits: Limits) -> Finding {
        func text(_ microseconds: UInt64) -> String { TimeAmount.microseconds(Int64(clamping: microseconds)).text }
        let (append, lookup) = (limits.appendNanoseconds / 1000, limits.lookupNanoseconds / 1000)
        let seen = "p50 \(text(p50)), p99 \(text(p99))"
        let figures = [StatusField("p50-us", .number(p50)), StatusField("p99-us", .number(p99))]
        let remedy = "use a server that is nearer, or find out what slows it down (SLOWLOG GET, its CPU)"
        if p50 >= append {
            return Finding(
                .roundTrip, .failure, seen,
                follows: "an invalidation has \(text(append)): hosts are isolated most of the time", remedy: remedy,
                figures: figures)
        }
        if p99 >= min(append, lookup) / 2 {
            return Finding(
                .roundTrip, .warning, seen,
                follows:
                    "an invalidation has \(text(append)), a lookup \(text(lookup)): under load, hosts are isolated for moments and workers read the database",
                remedy: remedy, figures: figures)
        }
        return Finding(
            .roundTrip, .ok, "\(seen); an invalidation has \(text(append)), a lookup \(text(lookup))", figures: figures)
    }
}
