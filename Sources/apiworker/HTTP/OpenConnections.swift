import NIOCore
import Synchronization

/// The connections of a server, so that they can be asked to end.
final class OpenConnections: Sendable {
    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        var isQuiescing = false
    }

    private let state = Mutex(State())

    /// A new connection. One that comes after ``quiesce(within:on:)`` is asked to end at once.
    func add(_ channel: any Channel) {
        let isQuiescing = state.withLock { state in
            state.channels[ObjectIdentifier(channel)] = channel
            return state.isQuiescing
        }
        channel.closeFuture.whenComplete { [self] _ in
            state.withLock { _ = $0.channels.removeValue(forKey: ObjectIdentifier(channel)) }
        }
        if isQuiescing { ask(channel) }
    }

    /// Connections at this moment.
    var count: Int { state.withLock { $0.channels.count } }

    /// Lets each connection finish its requests; whatever still runs after `grace` is cut.
    func quiesce(within grace: TimeAmount, on eventLoop: any EventLoop) {
        let channels = state.withLock { state in
            state.isQuiescing = true
            return Array(state.channels.values)
        }
        for channel in channels { ask(channel) }
        eventLoop.scheduleTask(in: grace) { [self] in
            for channel in state.withLock({ Array($0.channels.values) }) { channel.close(promise: nil) }
        }
    }

    private func ask(_ channel: any Channel) {
        channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    }
}
