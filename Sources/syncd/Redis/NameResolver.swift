import IPCWire
import Logging
import NIOCore

/// Resolves names for the connections of one event loop.
///
/// A lookup blocks for up to half a minute and cannot be cancelled. Each name therefore has one lookup under way at
/// most. Later requests wait for the same one, and its result is used whenever it comes. The result is used for two
/// seconds without another lookup, so that a result which comes while no request waits is not lost.
///
/// The last addresses are kept for a day after they were last looked up or in use. They are used when a lookup fails,
/// or does not answer within a second. Only other addresses, or the answer that the name has none, replace them.
final class NameResolver {
    typealias Completion = (Result<[SocketAddress], ConnectionLoss>) -> Void

    private let eventLoop: any EventLoop
    private let logger: Logger
    private let start: NameLookup.Start
    private var names: [String: Entry] = [:]
    private var lastWaiter = 0

    private struct Entry {
        var startedAt: NIODeadline?
        var slowness: Scheduled<Void>?
        var waiters: [(id: Int, completion: Completion)] = []
        var addresses: [SocketAddress] = []
        /// Time when `addresses` were looked up.
        var foundAt: NIODeadline?
        /// Time when `addresses` were last looked up or in use.
        var goodAt: NIODeadline?
        /// The last logged failure: each reason is logged once.
        var loggedFailure: String?
    }

    /// Time for which a result is used without another lookup: longer than any pause between two attempts of a
    /// connection.
    private static let freshness = TimeAmount.seconds(2)
    /// After this time a lookup is logged, and connections use the last addresses.
    private static let patience = TimeAmount.seconds(1)
    /// Time for which good addresses are kept.
    private static let keeping = TimeAmount.hours(24)
    /// Maximum number of names: more than sentinels, primaries and nodes have in any deployment. They could name ever
    /// new hosts.
    private static let maximumNames = 32

    init(eventLoop: any EventLoop, logger: Logger, start: @escaping NameLookup.Start = NameLookup.start) {
        self.eventLoop = eventLoop
        self.logger = logger
        self.start = start
    }

    /// Requests the addresses of a name; the result has at least one.
    ///
    /// - Parameter completion: called once, possibly at once, unless it is cancelled before.
    /// - Returns: a function that cancels the request, and not the lookup.
    func addresses(of name: String, _ completion: @escaping Completion) -> () -> Void {
        let now = eventLoop.now
        var entry = names[name] ?? Entry()
        if let foundAt = entry.foundAt, now - foundAt < Self.freshness {
            completion(.success(entry.addresses))
            return {}
        }
        if let startedAt = entry.startedAt, now - startedAt >= Self.patience, let kept = kept(entry) {
            completion(.success(kept))
            return {}
        }
        guard names[name] != nil || makeRoom() else {
            completion(.failure(ConnectionLoss("more than \(Self.maximumNames) names are being looked up")))
            return {}
        }
        lastWaiter += 1
        let id = lastWaiter
        entry.waiters.append((id, completion))
        names[name] = entry
        if entry.startedAt == nil { look(up: name) }
        return { [weak self] in self?.names[name]?.waiters.removeAll { $0.id == id } }
    }

    /// A connection to an address of the name worked until now.
    func wasReached(_ name: String) {
        if names[name]?.goodAt != nil { names[name]?.goodAt = eventLoop.now }
    }

    /// Names with a slow lookup, for STATUS.
    var warnings: [String] {
        let now = eventLoop.now
        return names.compactMap { name, entry -> String? in
            guard let startedAt = entry.startedAt, now - startedAt >= Self.patience else { return nil }
            return
                "the lookup of the name \(name) has not answered for \((now - startedAt).wholeSeconds) s: check the name servers (/etc/resolv.conf)"
        }.sorted()
    }

    private func kept(_ entry: Entry) -> [SocketAddress]? {
        guard let goodAt = entry.goodAt, eventLoop.now - goodAt < Self.keeping else { return nil }
        return entry.addresses
    }

    /// Makes room for one more name by removing the one that was good least recently.
    private func makeRoom() -> Bool {
        guard names.count >= Self.maximumNames else { return true }
        let idle = names.filter { $0.value.startedAt == nil }
        guard
            let oldest = idle.min(by: {
                ($0.value.goodAt ?? .uptimeNanoseconds(0), $0.key) < ($1.value.goodAt ?? .uptimeNanoseconds(0), $1.key)
            })
        else { return false }
        names[oldest.key] = nil
        return true
    }

    // MARK: Lookups

    private func look(up name: String) {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        names[name]?.startedAt = eventLoop.now
        names[name]?.slowness = eventLoop.scheduleTask(in: Self.patience) { bound.value.isSlow(name) }
        start(name) { [eventLoop] outcome in
            eventLoop.execute { bound.value.ended(name, outcome) }
        }
    }

    private func isSlow(_ name: String) {
        guard let entry = names[name] else { return }
        let kept = kept(entry)
        logger.warning(
            kept == nil
                ? "waiting for the lookup of a name: check the name servers (/etc/resolv.conf)"
                : "the lookup of a name takes long, its last addresses are used: check the name servers (/etc/resolv.conf)",
            metadata: ["name": "\(name)"])
        if let kept { answer(name, .success(kept)) }
    }

    private func ended(_ name: String, _ outcome: NameLookup.Outcome) {
        guard var entry = names[name], let startedAt = entry.startedAt else { return }
        let now = eventLoop.now
        entry.slowness?.cancel()
        entry.slowness = nil
        entry.startedAt = nil
        if now - startedAt >= Self.patience {
            logger.notice(
                "a slow lookup has ended",
                metadata: ["name": "\(name)", "seconds": "\((now - startedAt).wholeSeconds)"])
        }
        switch outcome {
        case .success(let addresses):
            entry.addresses = addresses
            entry.foundAt = now
            entry.goodAt = now
            entry.loggedFailure = nil
            names[name] = entry
            answer(name, .success(addresses))
        case .failure(let failure): failed(name, entry, failure)
        }
    }

    private func failed(_ name: String, _ entry: Entry, _ failure: LookupFailure) {
        var entry = entry
        entry.foundAt = nil
        if failure.isDefinite {
            entry.goodAt = nil
            names[name] = entry
            return answer(
                name,
                .failure(
                    ConnectionLoss(
                        "the name \(name) has no address (\(failure.text)): check its spelling (in REDIS_URL, or as sentinels or nodes announce it), DNS and /etc/hosts"
                    )))
        }
        guard let kept = kept(entry) else {
            names[name] = entry
            return answer(
                name,
                .failure(
                    ConnectionLoss(
                        "the name \(name) cannot be looked up (\(failure.text)): check the name servers (/etc/resolv.conf)"
                    )))
        }
        if entry.loggedFailure != failure.text {
            logger.warning(
                "a name cannot be looked up, its last addresses are used: check the name servers (/etc/resolv.conf)",
                metadata: ["name": "\(name)", "reason": "\(failure.text)"])
        }
        entry.loggedFailure = failure.text
        names[name] = entry
        answer(name, .success(kept))
    }

    private func answer(_ name: String, _ result: Result<[SocketAddress], ConnectionLoss>) {
        guard let waiters = names[name]?.waiters else { return }
        names[name]?.waiters.removeAll()
        for waiter in waiters { waiter.completion(result) }
    }
}

extension TimeAmount {
    fileprivate var wholeSeconds: Int64 { nanoseconds / 1_000_000_000 }
}
