import IPCWire
import NIOCore

/// Names a client as long as syncd runs.
package struct ClientID: TypedNumber {
    package var number: UInt64

    @inlinable package init(_ number: UInt64) { self.number = number }
}

/// Names a request of one client, in the order of arrival.
package struct RequestID: TypedNumber {
    package var number: UInt64

    @inlinable package init(_ number: UInt64) { self.number = number }
}

/// An action that the engine decides on. ``EngineLoop`` performs the effects in order, after the engine has returned.
package enum Effect: Sendable, Hashable {
    /// Answer a request. Replies may come in another order than the requests; the connection sorts them.
    case reply(ClientID, RequestID, Reply)
    case push(ClientID, Push)
    /// Push to every client that said `TRACK ON`, in the order of `ClientID`.
    case pushTracking([ClientID], Push)
    case close(ClientID, reason: String)
    case upstream(UpstreamCommand)
    /// Read the journal directory now and pass the result to ``SyncEngine/journalScanned(_:sampledAt:isLast:_:)``,
    /// whole or in parts.
    case scanJournal(sampledAt: BootTime)
    /// Remove a journal file. A failure is reported to ``SyncEngine/journalFileNotRemoved(_:version:now:)``.
    case removeJournalFile(String, version: UInt64)
    /// Store an invalidation that is not in the log yet: before the turn's replies are sent, and before the journal is
    /// read.
    case writePending([ByteBuffer])
    /// Replace all pending files of syncd by one marker: "replace the incarnation".
    case writeMarker
    /// Answer `FEED CLAIM` with the token that was stored last on this host.
    case answerFeedClaim(ClientID, RequestID, ByteBuffer)
    /// Store the token of a feed on this host: everything before it is in the table. `nil`: forget the one that is stored.
    case storeFeedToken(ByteBuffer, ByteBuffer?)
    case notice(Notice)
    /// Answer STATUS, or INFO as text: the host has sections in addition to ``SyncEngine/statusSections``.
    case answerStatus(ClientID, RequestID, sections: [String], asText: Bool)
    /// Answer CLIENT INFO or CLIENT LIST with ``SyncEngine/clientLines(_:now:transport:)``.
    case answerClients(ClientID, RequestID, [ClientID])
    /// A client asked for the end; the host knows whether it may.
    case shutdownAsked(ClientID, RequestID)
}

/// News for an administrator; the host logs them.
package enum Notice: Sendable, Hashable {
    case attached(epoch: Epoch, applied: LogPosition)
    case isolated(IsolationReason)
    /// The log in Redis is replaced, and all caches of all hosts are cold.
    case logReplaced(IsolationReason)
    case epochRaised(Epoch, EpochReason)
    case upstreamWarning(String)
    /// Another deployment publishes its log on the channel of ours.
    case foreignLog(Incarnation)
    /// Everything was invalidated because of an unreadable event.
    case unreadableEvent(UnreadableEvent)
    /// The server refuses a command that syncd needs: its settings or ours are wrong.
    case upstreamDenied(String)
    case upstreamReady(version: String)
    /// The changes of a feed up to now are unknown: everything was invalidated.
    case feedReset(ByteBuffer)
    /// A program has written to the database without an invalidation.
    case uncoveredWrites(feed: ByteBuffer, count: Int, FeedChange)
}
