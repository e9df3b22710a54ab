import IPCWire
import NIOCore

/// The surroundings of an ``EngineLoop``: clock, timers, journal, connections to Redis, log. The daemon, the simulator, the
/// unit tests and the cost benchmark are hosts. A host decides nothing: it carries out, and submits what happens.
///
/// A class that owns its loop and outlives it. An existential and no generic parameter: the loop is compiled in another
/// module than its hosts, where a generic one would not be specialized.
package protocol EngineHost: AnyObject {
    /// CLOCK_BOOTTIME in ns.
    var now: BootTime { get }
    /// CLOCK_REALTIME in ms since 1970. No decision depends on it: the report divides its figures by days.
    var wallClock: UInt64 { get }
    var journalDirectory: any EngineJournal { get }
    /// Whether the path of the tag table, and that of its lock, still name this process's.
    var ownsTable: Bool { get }

    /// Submits ``Input/due(_:)`` at `time`, or as soon as the connections have been looked at once if that is past.
    /// Replaces an earlier request for the same timer.
    func schedule(_ timer: EngineTimer, at time: BootTime)
    /// Takes a command for the server that holds the log. It may leave with ``flushUpstream()``.
    func send(_ command: UpstreamCommand)
    /// The turn has ended: whatever was sent has to leave soon.
    func flushUpstream()

    /// The token of a change feed that was stored last beside the table.
    func feedToken(_ name: ByteBuffer) -> ByteBuffer?
    /// Stores it so that a reader finds this token or the one before. A failure is reported by the host, and harmless: the
    /// changes behind an older token come again. `nil`: nobody reads this feed any more, and its token goes.
    func storeFeedToken(_ name: ByteBuffer, _ token: ByteBuffer?)

    func log(_ event: EngineEvent)
    /// The fields of the sections of STATUS that are the host's: `server` and `redis`. `nil`: there is no such section.
    func statusFields(_ section: String) -> [StatusField]?
    /// Whether this client may end syncd.
    func mayShutDown(_ peer: Peer) -> Bool
    func shutdownAsked()
    /// The table at the path is another syncd's by now: this process has to end, and says nothing more to anybody.
    func tableLost()
    /// A heartbeat is through; for what a host does as often.
    func heartbeatEnded()

    /// Asked before each effect and each part of the journal. After `false` the loop stands still where it is until
    /// ``EngineLoop/resume()``: the simulator stops and kills processes there.
    func mayProceed() -> Bool
    /// Called before an effect is performed.
    func willPerform(_ effect: Effect)
    /// Called before a request is decided.
    func willDecide(_ request: Request, _ id: RequestID, of client: ClientID)
    /// Called before the engine hears of files of the journal.
    func willTake(_ items: [JournalItem])
}

extension EngineHost {
    package func feedToken(_ name: ByteBuffer) -> ByteBuffer? { nil }
    package func storeFeedToken(_ name: ByteBuffer, _ token: ByteBuffer?) {}
    package func heartbeatEnded() {}
    package func mayProceed() -> Bool { true }
    package func willPerform(_ effect: Effect) {}
    package func willDecide(_ request: Request, _ id: RequestID, of client: ClientID) {}
    package func willTake(_ items: [JournalItem]) {}
}

/// Everything that a loop wants to be woken up for. At most one of each is scheduled.
package enum EngineTimer: Sendable, Hashable, CaseIterable {
    /// Every 100 ms.
    case heartbeat
    /// The engine's next deadline.
    case deadline
    /// The journal has further files.
    case journalPart
    /// Clients wait whose share of time was used up.
    case slice
    /// Leftovers of dead processes are to be removed.
    case leftovers
}

/// The socket of one client.
package protocol ClientChannel: AnyObject {
    /// Writes. Returns whether the kernel has taken everything; else ``Input/sent(_:_:)`` follows when it has.
    func write(_ bytes: ByteBuffer) -> Bool
    /// The same of several parts, which are memory that other clients may be sent as well.
    func write(_ parts: [ByteBuffer]) -> Bool
    /// Whether it is read from. From the start it is.
    func setReading(_ isReading: Bool)
    /// Whether a long argument is being read, of which nothing but a copy is made: larger pieces are in order.
    func setReadingArgument(_ isLong: Bool)
    /// Closes it; ``Input/disconnected(_:)`` follows.
    func close()
}

/// The journal directory (docs/consistency.md, "Writing").
package protocol EngineJournal: AnyObject {
    /// Begins to read what the path names now.
    func beginReading() throws -> any EngineJournalReading
    /// The directory at the path, when it was last opened.
    var identity: FileIdentity { get }
    func remove(_ name: String) throws
    /// Writes invalidations down, in as few files as may be. Returns false, and some are missing, if all such files would
    /// take more than `limit` bytes.
    func writePending(_ invalidations: [[ByteBuffer]], limit: Int) throws -> Bool
    func writeMarker() throws
    /// Removes what dead processes have left and nobody needs.
    func removeLeftovers() throws
}

/// One reading of the journal, in parts.
package protocol EngineJournalReading {
    var isAtEnd: Bool { get }
    /// The next files, of at most `count` names. `isWanted`: whether the content is of interest, not only the name.
    mutating func next(
        _ count: Int, isWanted: (_ name: String, _ isLiving: Bool, _ version: UInt64) -> Bool
    ) throws -> [JournalItem]
}
