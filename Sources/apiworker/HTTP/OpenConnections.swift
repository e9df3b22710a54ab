import NIOCore
import Synchronization

/// The connections of a server, so that they can be asked to end.
final class OpenConnections: Sendable {
    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        var isQuiescing = false
        var isFull = false
    }

    /// The decision about a new connection.
    enum Admission: Equatable {
        case admitted
        /// The limit is reached. `isNews`: it was not at the last refusal.
        case refused(isNews: Bool)
    }

    private let state = Mutex(State())
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    /// Adds a connection. One that comes after ``quiesce(within:on:)`` is asked to end at once.
    func add(_ channel: any Channel) -> Admission {
        let (admission, isQuiescing) = state.withLock { state -> (Admission, Bool) in
            let isNews = !state.isFull
            state.isFull = state.channels.count >= limit
            guard !state.isFull else { return (.refused(isNews: isNews), false) }
            state.channels[ObjectIdentifier(channel)] = channel
            return (.admitted, state.isQuiescing)
        }
        guard admission == .admitted else { return admission }
        channel.closeFuture.whenComplete { [self] _ in
            state.withLock { _ = $0.channels.removeValue(forKey: ObjectIdentifier(channel)) }
        }
        // Deferred: the channel has no handlers yet.
        if isQuiescing { channel.eventLoop.execute { self.ask(channel) } }
        return .admitted
    }

    /// Number of open connections.
    var count: Int { state.withLock { $0.channels.count } }

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
        for channel in state.withLock({ Array($0.channels.values) }) { channel.close(promise: nil) }
    }

    private func ask(_ channel: any Channel) {
        channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    }
}
