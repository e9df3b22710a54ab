import DequeModule
import IPCWire
import NIOCore

/// One change feed as this host knows it (docs/change-feed.md): the client that reads it, and the reports of that client.
///
/// One client at a time has the role of the reader. Embedded, this syncd gives it; with Redis, a key in Redis names the
/// host. The role ends with the client's connection, or if the client saves nothing for ``Limits/feedRoleNanoseconds``.
struct ChangeFeed {
    /// The client that reads, and when it was heard last.
    var reader: (client: ClientID, heardAt: BootTime)?
    /// When a client asked for the role last.
    var claimedAt: BootTime = 0
    /// A save whose changes may still turn out to be covered, or that is on its way to Redis.
    var save: HeldSave?
    /// The last answer of Redis about the role, and its time.
    var holder = Holder.unknown
    private(set) var holderShownAt: BootTime = 0
    /// The host that has the role, as the key in Redis names it, and since when as far as is known.
    private var held: (by: ByteBuffer?, since: BootTime)?
    /// A host that has the role for this long reads: one that cannot gives it back before.
    private static let probationNanoseconds: UInt64 = 5_000_000_000
    /// When a reader of this host gave the role back, since it could not read.
    var leftAt: BootTime?
    /// When a token was stored last, and whether this host was idle then.
    var stored: (at: BootTime, isIdle: Bool)?

    /// Changes that were invalidated, and whose own invalidation may still come: until when they are waited for.
    var suspects: Deque<(change: FeedChange, until: BootTime)> = []
    /// Further ones, and long ones, count at once.
    static let maximumSuspects = 512
    private static let maximumSuspectBytes = 8192

    // Figures since the start.
    var changes: UInt64 = 0
    var covered: UInt64 = 0
    /// Changes whose own invalidation came too late: they were invalidated twice.
    var late: UInt64 = 0
    var resets: UInt64 = 0
    /// Uncovered writes of each collection.
    var uncovered: [ByteBuffer: UInt64] = [:]
    /// All changes up to this time are known here, or somebody else reads: when the feed was last not behind.
    var currentAt: BootTime
    /// Further collections count as `otherCollections`.
    static let maximumCollections = 64
    static let otherCollections = ByteBuffer(string: "others")

    /// - Parameter now: nobody knows of earlier changes.
    init(now: BootTime) { currentAt = now }

    /// The time since which changes may be unknown, in ms; `nil`: another host reads, so that it knows.
    func lagMilliseconds(_ now: BootTime) -> UInt64? {
        isReadElsewhere(now) ? nil : (now > currentAt ? now - currentAt : 0) / 1_000_000
    }

    struct HeldSave {
        var client: ClientID
        var request: RequestID
        var token: ByteBuffer
        /// Changes that no entry of the log covers; of a reset, none.
        var uncovered: [FeedChange]
        var isReset = false
        /// When the newest change of it was made, or the request came if it has none.
        var currentAt: BootTime
        /// Changes in it, and those that were covered.
        var changes: UInt64 = 0
        var covered: UInt64 = 0
        /// Whether this host was idle when its command was made.
        var isIdle = false
        /// Its append is under way, or its token on its way to Redis.
        var isSent = false
    }

    /// The host that has the role in Redis.
    enum Holder {
        case unknown
        case none
        /// A host on which nobody reads: another one may take the role.
        case idle
        case busy

        /// - Parameter own: this host. It may ask for its own role at any time.
        init(_ text: ByteBuffer?, own: ByteBuffer) {
            guard let text, !FeedCommand.isSame(text, own) else {
                self = .none
                return
            }
            self = FeedCommand.isIdle(text) ? .idle : .busy
        }
    }

    /// Redis has shown who has the role.
    ///
    /// - Parameter name: the text of the key; `nil`: it was not shown.
    mutating func shown(_ holder: Holder, name: ByteBuffer?, at now: BootTime) {
        (self.holder, holderShownAt) = (holder, now)
        if !isHeldElsewhere {
            held = nil
        } else if held == nil || name != nil && held?.by != nil && name != held?.by {
            held = (name?.compacted, now)
        } else if let name, held?.by == nil {
            held?.by = name.compacted
        }
        if isReadElsewhere(now) { currentAt = now }
    }

    /// Whether a client of another host reads, as far as is known.
    func isReadElsewhere(_ now: BootTime) -> Bool {
        guard reader == nil, isHeldElsewhere, let held else { return false }
        return now >= held.since + Self.probationNanoseconds
    }

    /// Whether another client than the reader may have the role now.
    func isFree(_ now: BootTime, limits: Limits) -> Bool {
        reader.map { now > $0.heardAt + limits.feedRoleNanoseconds } ?? true
    }

    /// Whether a token that says nothing but that all is well has to be stored.
    func isStoreDue(_ now: BootTime, isIdle: Bool, limits: Limits) -> Bool {
        guard let stored else { return true }
        if stored.isIdle && !isIdle { return true }
        // The role was taken for as long as the host's state of that time demands.
        let isLong = stored.isIdle && isIdle
        return now >= stored.at + (isLong ? limits.idleFeedStoreNanoseconds : limits.feedStoreNanoseconds)
    }

    /// Whether another host has the role, as far as is known.
    private var isHeldElsewhere: Bool {
        switch holder {
        case .idle, .busy: true
        case .unknown, .none: false
        }
    }

    /// Whether the changes of this save are still waited for.
    func holds(_ client: ClientID, _ request: RequestID) -> Bool {
        save.map { $0.client == client && $0.request == request && !$0.isSent } ?? false
    }

    /// Waits for a change's own invalidation. Returns false if there is no room: it counts at once.
    mutating func suspect(_ change: FeedChange, until: BootTime) -> Bool {
        let bytes = change.tags.reduce(0) { $0 + $1.readableBytes }
        guard suspects.count < Self.maximumSuspects, bytes <= Self.maximumSuspectBytes else { return false }
        let kept = FeedChange(
            collection: change.collection.compacted, time: change.time, tags: change.tags.map(\.compacted))
        suspects.append((kept, until))
        return true
    }

    /// Whether nothing is lost with it.
    var isUnused: Bool { reader == nil && save == nil && suspects.isEmpty }

    mutating func count(_ change: FeedChange) {
        let isKnown = uncovered[change.collection] != nil || uncovered.count < Self.maximumCollections
        uncovered[isKnown ? change.collection.compacted : Self.otherCollections, default: 0] += 1
    }
}

/// The role and the token of a feed in Redis.
package struct FeedCommand: Sendable, Hashable {
    package var name: ByteBuffer
    /// The host, as the key names it.
    package var holder: ByteBuffer
    /// For how long the role is kept.
    package var ttlMilliseconds: UInt64
    /// The token to store, if this host has the role; `nil`: it wants the role.
    package var token: ByteBuffer?

    package init(name: ByteBuffer, holder: ByteBuffer, ttlMilliseconds: UInt64, token: ByteBuffer?) {
        self.name = name
        self.holder = holder
        self.ttlMilliseconds = ttlMilliseconds
        self.token = token
    }

    private static let idleMark = " idle"

    /// The text of the key: the host's number, and whether somebody reads there.
    static func holder(_ origin: UInt64, isIdle: Bool) -> ByteBuffer {
        ByteBuffer(string: "\(origin)" + (isIdle ? idleMark : ""))
    }

    /// Whether a host that is in use may take the role from this one.
    package static func isIdle(_ holder: ByteBuffer) -> Bool { holder.readableBytesView.contains(UInt8(ascii: " ")) }

    /// Whether both texts name the same host.
    package static func isSame(_ one: ByteBuffer, _ other: ByteBuffer) -> Bool {
        let space = UInt8(ascii: " ")
        return one.readableBytesView.prefix { $0 != space } == other.readableBytesView.prefix { $0 != space }
    }
}

/// The holder of a feed's role, as a probe has found it.
package struct FeedHolder: Sendable, Hashable {
    package var name: ByteBuffer
    /// `nil`: there is none.
    package var holder: ByteBuffer?

    package init(name: ByteBuffer, holder: ByteBuffer?) {
        self.name = name
        self.holder = holder
    }
}
