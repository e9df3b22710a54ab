import NIOCore

/// The platform of the worker's side: clock, sockets, the mapped table, the journal, random numbers. The simulator
/// replaces it.
package struct WorkerPlatform: Sendable {
    package var clock: WorkerClock
    /// Connects to the socket at a path, with this handler on the channel.
    package var connect:
        @Sendable (_ path: String, any EventLoop, _ makeHandler: @escaping @Sendable () -> any ChannelHandler)
            async throws -> any Channel
    package var openTable: @Sendable (_ path: String) throws -> MappedTagTable
    package var openArena: @Sendable (_ path: String) throws -> MappedArena
    package var openJournal: @Sendable (_ path: String) throws -> WorkerJournal
    /// A random number in a range.
    package var random: @Sendable (ClosedRange<UInt64>) -> UInt64

    package init(
        clock: WorkerClock,
        connect:
            @escaping @Sendable (String, any EventLoop, @escaping @Sendable () -> any ChannelHandler)
            async throws -> any Channel,
        openTable: @escaping @Sendable (String) throws -> MappedTagTable,
        openArena: @escaping @Sendable (String) throws -> MappedArena,
        openJournal: @escaping @Sendable (String) throws -> WorkerJournal,
        random: @escaping @Sendable (ClosedRange<UInt64>) -> UInt64
    ) {
        self.clock = clock
        self.connect = connect
        self.openTable = openTable
        self.openArena = openArena
        self.openJournal = openJournal
        self.random = random
    }

    /// The platform of this machine, optionally with another clock.
    package static func system(clock: WorkerClock = .boot) -> WorkerPlatform {
        WorkerPlatform(
            clock: clock,
            connect: { try await SyncdConnection.connect(path: $0, eventLoop: $1, makeHandler: $2) },
            openTable: { try MappedTagTable(path: $0) },
            openArena: { try MappedArena(path: $0) },
            openJournal: { try WorkerJournal(path: $0) },
            random: { UInt64.random(in: $0) })
    }
}
