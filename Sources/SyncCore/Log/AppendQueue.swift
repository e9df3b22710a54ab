import DequeModule
import IPCWire
import NIOCore

/// An append that the server has not answered.
struct PendingAppend: Sendable {
    var requester: AppendRequester
    var tags: [ByteBuffer]
    var event: Event?
    var operationTime: OperationTime?
    /// The token of a change feed that is stored with it.
    var feed: FeedCommand?
    var nonce: UInt64
    var startedAt: BootTime
    /// The wall clock when it was sent last, in ms since 1970.
    var sentAt: UInt64?
    /// Whether it was written to the present connection.
    var isSent = false
    /// The applied position when it was sent: its own position must be greater.
    var appliedWhenSent: LogPosition = 0
    /// Memory of the append, in bytes.
    var bytes: Int
}

/// Appends that wait for the server, and their deadlines. Ids ascend in the order of the requests.
struct AppendQueue: Sendable {
    private var appends: [UpstreamID: PendingAppend] = [:]
    /// Memory of the tags, in bytes.
    private var bytes = 0
    private var deadlines: Deque<(time: BootTime, id: UpstreamID)> = []

    /// Whether an append has waited for `limit` ns or longer.
    func hasLate(_ now: BootTime, limit: UInt64) -> Bool { appends.values.contains { $0.startedAt + limit <= now } }

    func hasRoom(_ limits: Limits) -> Bool {
        appends.count < limits.pendingAppends && bytes < limits.pendingAppendBytes
    }

    mutating func add(_ append: PendingAppend, id: UpstreamID, deadline: BootTime) {
        appends[id] = append
        bytes += append.bytes
        deadlines.append((deadline, id))
    }

    mutating func take(_ id: UpstreamID) -> PendingAppend? {
        guard let append = appends.removeValue(forKey: id) else { return nil }
        bytes -= append.bytes
        return append
    }

    /// Takes all but those of the event bridge.
    mutating func takeAllButBridged() -> [PendingAppend] {
        appends.keys.sorted().compactMap { id in
            appends[id]?.requester.isBridge == true ? nil : take(id)
        }
    }

    /// Marks the append as sent and returns it; `nil` if it is unknown or sent already.
    mutating func send(_ id: UpstreamID, applied: LogPosition, at wallClock: UInt64?) -> PendingAppend? {
        guard var append = appends[id], !append.isSent else { return nil }
        append.isSent = true
        append.appliedWhenSent = applied
        append.sentAt = wallClock
        appends[id] = append
        return append
    }

    /// Ids of all appends, ascending.
    var ids: [UpstreamID] { appends.keys.sorted() }

    /// The outcome of each append that was sent is unknown. Each is sent again later, without its event, which is
    /// delivered at most once.
    mutating func connectionLost() {
        for id in appends.keys {
            guard let append = appends[id], append.isSent else { continue }
            appends[id]?.isSent = false
            appends[id]?.event = nil
        }
    }

    /// The deadline of the first append. Most are answered in order and long before, and must not cause a wakeup.
    mutating func nextDeadline() -> BootTime? {
        while let first = deadlines.first, appends[first.id] == nil { deadlines.removeFirst() }
        return deadlines.first?.time
    }

    /// Whether an append has become late since the last call.
    mutating func takeLate(_ now: BootTime) -> Bool {
        var isLate = false
        while let first = deadlines.first, first.time <= now {
            deadlines.removeFirst()
            if appends[first.id] != nil { isLate = true }
        }
        return isLate
    }
}
