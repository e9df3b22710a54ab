import IPCWire
import NIOCore

/// Counters of an auditor (docs/cache.md, "The auditor").
struct AuditCounts: Sendable, Hashable {
    var sampled: UInt64 = 0
    var stale: UInt64 = 0
    var superseded: UInt64 = 0

    private static let fields: [(name: ByteBuffer, path: WritableKeyPath<AuditCounts, UInt64> & Sendable)] = [
        (ByteBuffer(string: "audit-sampled"), \.sampled), (ByteBuffer(string: "audit-stale"), \.stale),
        (ByteBuffer(string: "audit-superseded"), \.superseded),
    ]

    init(sampled: UInt64 = 0, stale: UInt64 = 0, superseded: UInt64 = 0) {
        (self.sampled, self.stale, self.superseded) = (sampled, stale, superseded)
    }

    /// The counters among the values that a client reported; `nil`: there are none, or one is no number.
    init?(_ reported: [ReportField]) {
        var isFound = false
        for field in reported {
            guard let (_, path) = Self.fields.first(where: { $0.name == field.name }) else { continue }
            guard let number = PlainNumber.parse(field.value.readableBytesView) else { return nil }
            isFound = true
            self[keyPath: path] = number
        }
        if !isFound { return nil }
    }

    mutating func add(_ other: AuditCounts) {
        sampled = sampled.saturatingAdd(other.sampled)
        stale = stale.saturatingAdd(other.stale)
        superseded = superseded.saturatingAdd(other.superseded)
    }

    /// Whether counters that only grow may have had these values before.
    func mayFollow(_ former: AuditCounts) -> Bool {
        sampled >= former.sampled && stale >= former.stale && superseded >= former.superseded
    }

    /// The counts since `former`: all of them, if the counters began anew.
    func since(_ former: AuditCounts) -> AuditCounts {
        guard mayFollow(former) else { return self }
        return AuditCounts(
            sampled: sampled - former.sampled, stale: stale - former.stale, superseded: superseded - former.superseded)
    }
}

/// The counters of workers whose connections have ended: a worker that connects again goes on with them, and what it
/// counted before is not counted twice.
struct AuditLedger: Sendable, Hashable {
    struct Entry: Sendable, Hashable {
        /// ``Peer/holder`` of the connection.
        var holder: Int64
        var counts: AuditCounts
    }

    /// The oldest first.
    private(set) var entries: [Entry] = []
    static let capacity = 1024

    init(_ entries: [Entry] = []) { self.entries = entries.suffix(Self.capacity) }

    mutating func left(_ holder: Int64, _ counts: AuditCounts) {
        if entries.count >= Self.capacity { entries.removeFirst() }
        entries.append(Entry(holder: holder, counts: counts))
    }

    /// Takes the counters that a new connection of this process goes on with: the greatest that may come before `counts`.
    mutating func takeFormer(of holder: Int64, before counts: AuditCounts) -> AuditCounts {
        let fitting = entries.indices.filter { entries[$0].holder == holder && counts.mayFollow(entries[$0].counts) }
        guard let index = fitting.max(by: { entries[$0].counts.sampled < entries[$1].counts.sampled }) else {
            return AuditCounts()
        }
        return entries.remove(at: index).counts
    }
}
