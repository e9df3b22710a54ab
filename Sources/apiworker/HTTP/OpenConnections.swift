import NIOCore
import Synchronization

/// The connections of a server and the tasks that answer their requests, so that they can be asked to end, and waited
/// for.
final class OpenConnections: Sendable {
    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        /// Requests that are being answered, also for clients that have left.
        var tasks = 0
        var isQuiescing = false
        var isFull = false
        var isListening = true
        /// Tasks are not waited for any more, and further connections are refused.
        var isCut = false

        var isOver: Bool { !isListening && channels.isEmpty && (tasks == 0 || isCut) }
    }

    /// The decision about a new connection.
    enum Admission: Equatable {
        case admitted
        /// The limit is reached. `isNews`: it was not at the last refusal.
        case refused(isNews: Bool)
    }

    private let state = Mutex(State())
    private let limit: Int
    private let over: AsyncStream<Never>.Continuation

    /// Ends when the listener is closed, all connections are, and every request is answered or cut.
    let isOver: AsyncStream<Never>

    init(limit: Int) {
        self.limit = limit
        (isOver, over) = AsyncStream.makeStream()
    }

    /// Adds a connection. One that comes after ``quiesce(within:on:)`` is asked to end at once.
    func add(_ channel: any Channel) -> Admission {
        let (admission, isQuiescing) = state.withLock { state -> (Admission, Bool) in
            let isNews = !state.isFull
            state.isFull = state.channels.count >= limit
            guard !state.isFull, !state.isCut else { return (.refused(isNews: isNews && !state.isCut), false) }
            state.channels[ObjectIdentifier(channel)] = channel
            return (.admitted, state.isQuiescing)
        }
        guard admission == .admitted else { return admission }
        channel.closeFuture.whenComplete { [self] _ in
            change { $0.channels[ObjectIdentifier(channel)] = nil }
        }
        // Deferred: the channel has no handlers yet.
        if isQuiescing { channel.eventLoop.execute { self.ask(channel) } }
        return .admitted
    }

    /// Number of open connections.
    var count: Int { state.withLock { $0.channels.count } }

    /// A task begins to answer a request.
    func taskBegan() { change { $0.tasks += 1 } }

    func taskEnded() { change { $0.tasks -= 1 } }

    /// No further connection is accepted.
    func listenerClosed() { change { $0.isListening = false } }

    private func change(_ change: (inout State) -> Void) {
        let isOver = state.withLock { state in
            change(&state)
            return state.isOver
        }
        if isOver { over.finish() }
    }

    /// Lets each connection finish its requests, and cuts those that still run after `grace`.
    func quiesce(within grace: TimeAmount, on eventLoop: any EventLoop) {
        let channels = state.withLock { state in
            state.isQuiescing = true
            return Array(state.channels.values)
        }
        for channel in channels { ask(channel) }
        eventLoop.scheduleTask(in: grace) { [self] in cut() }
    }

    /// Closes every connection in any state.
    func cut() {
        change { $0.isCut = true }
        for channel in state.withLock({ Array($0.channels.values) }) { channel.close(promise: nil) }
    }

    private func ask(_ channel: any Channel) {
        channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    }
}
