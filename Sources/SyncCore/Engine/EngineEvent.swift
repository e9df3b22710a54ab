import IPCWire

/// An event that a host should log, or count.
package enum EngineEvent: Sendable {
    case clientConnected(ClientID, Peer)
    case clientGone(ClientID, Peer)
    /// A client is cut off before its requests are answered.
    case clientCutOff(ClientID, Peer, CutOffReason)
    case pushesCollapsed(ClientID, Peer)
    /// A frame that is no request that syncd knows, or beyond a limit.
    case requestRefused(ClientID, ReplyError)
    case protocolError(ClientID, Peer, RESPError)
    /// Something is wrong with the journal, or is right again (`nil`). `isSame`: another text is no news.
    case journal(JournalTrouble, String?, isSame: Bool)
    /// Pending invalidations are known to this process alone: they end with it.
    case pendingInMemory
    case notice(Notice)
}

/// Why a client is cut off.
package enum CutOffReason: Sendable, Hashable, CustomStringConvertible {
    case doesNotRead(unsentBytes: Int)
    case slowRequest(milliseconds: UInt64)
    case holdsMost(bytes: Int, limit: Int)

    package var description: String {
        switch self {
        case .doesNotRead(let bytes): "it does not read: \(bytes) bytes are unsent"
        case .slowRequest(let milliseconds):
            "its request has not come whole for \(milliseconds) ms, and others wait for the memory"
        case .holdsMost(let bytes, let limit):
            "all connections hold more than \(limit) bytes, and this one most: \(bytes) bytes"
        }
    }
}

/// Kinds of trouble with the journal.
package enum JournalTrouble: Sendable, Hashable {
    case reading
    case writing
    /// Leftovers of dead processes stay.
    case cleaning
    /// Files whose tags are in the log cannot be deleted.
    case deleting
}
