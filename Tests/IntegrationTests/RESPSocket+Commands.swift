import IPCWire
import NIOCore
import TestSupport
import Testing

/// Commands of a syncd client, in one line each.
extension RESPSocket {
    /// FETCH; with `wait`, for this number of milliseconds.
    func fetch(_ key: String, wait: Int? = nil) async throws -> FetchReply {
        let reply =
            if let wait {
                try await command("FETCH", key, "WAIT", "\(wait)")
            } else {
                try await command("FETCH", key)
            }
        return try FetchReply(reply)
    }

    /// FETCH of a key that nobody has: its lease.
    ///
    /// On a machine that is very busy syncd may be isolated for a moment, or Redis may answer too late: then it asks
    /// again.
    func lease(_ key: String, sourceLocation: SourceLocation = #_sourceLocation) async throws -> Lease {
        let reply = try await fetch(key) { $0.isMiss }
        let lease: Lease? = if case .outcome(.lease(let lease)) = reply { lease } else { nil }
        return try #require(lease, "\(key): \(reply)", sourceLocation: sourceLocation)
    }

    /// FETCH of a key that syncd has. Asks again as ``lease(_:sourceLocation:)`` does.
    func hit(_ key: String, sourceLocation: SourceLocation = #_sourceLocation) async throws -> Hit {
        let reply = try await fetch(key) { $0.isMiss || $0.isLease }
        let hit: Hit? = if case .outcome(.hit(let hit)) = reply { hit } else { nil }
        return try #require(hit, "\(key): \(reply)", sourceLocation: sourceLocation)
    }

    /// The value that syncd has for a key at this moment. Leaves no lease.
    func present(_ key: String) async throws -> Hit? {
        switch try await fetch(key) {
        case .outcome(.hit(let hit)): return hit
        case .outcome(.lease(let lease)):
            try await command("ABANDON", key, "\(lease.id)")
            return nil
        default: return nil
        }
    }

    /// FETCH, again and again as long as the answer may be due to a busy machine.
    private func fetch(_ key: String, unless isProvisional: (FetchReply) -> Bool) async throws -> FetchReply {
        let deadline = PatientClock.now + .seconds(5)
        while true {
            let reply = try await fetch(key)
            guard isProvisional(reply), PatientClock.now < deadline else { return reply }
            // A lease that nobody fills would be in the way.
            if case .outcome(.lease(let lease)) = reply { try await command("ABANDON", key, "\(lease.id)") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// FETCH of a key that somebody else loads: the ticket.
    func ticket(
        _ key: String, wait: Int = 5000, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> UInt64 {
        let reply = try await fetch(key, wait: wait)
        let ticket: UInt64? = if case .wait(let ticket) = reply { ticket } else { nil }
        return try #require(ticket, "\(key): \(reply)", sourceLocation: sourceLocation)
    }

    /// The outcome of a fetch that had to wait; `nil`: none came in time.
    func fetched(_ ticket: UInt64, within limit: Duration = .seconds(5)) async throws -> FetchOutcome? {
        let push = try await push("fetched", within: limit) { $0.count > 1 && $0[1].number == Int(ticket) }
        guard let push, case .fetched(_, let outcome) = try Push.decode(.push(push)) else { return nil }
        return outcome
    }

    /// FILL with any lease; `nil`: taken, else the code of the refusal.
    func fill(
        _ key: String, _ lease: LeaseID, _ value: String?, tags: [String] = [], ttl: Int = 60_000
    ) async throws -> String? {
        var arguments = ["FILL", key, "\(lease)", "\(ttl)", "\(tags.count)"] + tags
        if let value { arguments.append(value) }
        let reply = try await command(arguments.map { ByteBuffer(string: $0) })
        return reply.string == "OK" ? nil : reply.errorText.map { String($0.prefix { $0 != " " }) } ?? "\(reply)"
    }

    /// Loads and fills a key.
    func store(
        _ key: String, _ value: String?, tags: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let lease = try await lease(key, sourceLocation: sourceLocation)
        let refusal = try await fill(key, lease.id, value, tags: tags)
        #expect(refusal == nil, sourceLocation: sourceLocation)
    }

    /// Stores a value unless the key has one, which may have come from another host in the meantime.
    func storeIfAbsent(
        _ key: String, _ value: String, tags: [String], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let reply = try await fetch(key) { !$0.isLease && !$0.isHit }
        if case .outcome(.lease(let lease)) = reply {
            let refusal = try await fill(key, lease.id, value, tags: tags)
            #expect(refusal == nil, sourceLocation: sourceLocation)
        } else {
            #expect(reply.isHit, "\(key): \(reply)", sourceLocation: sourceLocation)
        }
    }

    /// INVALIDATE; the position. A busy machine may not finish it within 250 ms: then it is pending, which is no
    /// failure, and tried again.
    @discardableResult
    func invalidate(_ tags: String..., sourceLocation: SourceLocation = #_sourceLocation) async throws -> Int {
        let deadline = PatientClock.now + .seconds(15)
        while true {
            let reply = try await command((["INVALIDATE", "TAGS"] + tags).map { ByteBuffer(string: $0) })
            if reply.string != "DEFERRED" || PatientClock.now > deadline {
                return try #require(reply.number, "\(reply)", sourceLocation: sourceLocation)
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}

extension FetchReply {
    var isMiss: Bool { self == .outcome(.miss) }
    var isHit: Bool { if case .outcome(.hit) = self { true } else { false } }
    var isLease: Bool { if case .outcome(.lease) = self { true } else { false } }
    var value: String? { if case .outcome(.hit(let hit)) = self { hit.value.map { String(buffer: $0) } } else { nil } }
}

extension Hit {
    var text: String? { value.map { String(buffer: $0) } }
}

extension FetchOutcome {
    var value: String? { if case .hit(let hit) = self { hit.value.map { String(buffer: $0) } } else { nil } }
    var lease: Lease? { if case .lease(let lease) = self { lease } else { nil } }
}

/// Where log and cache are in a test.
enum Home: String, CaseIterable, CustomTestStringConvertible {
    case embedded
    case redis

    var testDescription: String { rawValue }

    /// A server if one is needed, and an attached syncd.
    func start(_ environment: [String: String] = [:]) async throws -> (RedisServer?, SyncdProcess) {
        let redis = self == .redis ? try await RedisServer() : nil
        let syncd = try await SyncdProcess(redis: redis, environment: environment)
        try await syncd.waitUntilAttached()
        return (redis, syncd)
    }
}
