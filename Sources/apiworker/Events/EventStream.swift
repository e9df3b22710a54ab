import NIOCore
import Synchronization

/// What one client has yet to be sent: one task offers from anywhere, one takes.
final class EventStream: Sendable {
    private struct State {
        var queue: [ByteBuffer] = []
        /// Of the queue, and of what was taken last: it is being written until more is asked for.
        var bytes = 0
        var bytesBeingWritten = 0
        var isEnded = false
        var waiting: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let limit: Int

    /// - Parameter limit: bytes that may wait. A single message may be longer.
    init(limit: Int) { self.limit = limit }

    /// Queues a message. Waits for nothing.
    ///
    /// - Returns: false if the client is too far behind to get it.
    func offer(_ message: ByteBuffer) -> Bool {
        let (isTaken, waiting) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
            guard !state.isEnded else { return (true, nil) }
            guard state.bytes == 0 || state.bytes + message.readableBytes <= limit else { return (false, nil) }
            state.queue.append(message)
            state.bytes += message.readableBytes
            defer { state.waiting = nil }
            return (true, state.waiting)
        }
        waiting?.resume()
        return isTaken
    }

    /// Nothing more is offered; what is queued is still taken.
    func end() {
        let waiting = state.withLock { state in
            state.isEnded = true
            defer { state.waiting = nil }
            return state.waiting
        }
        waiting?.resume()
    }

    /// Everything that is queued, as soon as there is something; `nil` after the end. What was taken before counts as
    /// sent. For one task at a time; it is woken by ``end()``, not by cancellation.
    func next() async -> [ByteBuffer]? {
        let isEmpty = state.withLock { state in
            state.bytes -= state.bytesBeingWritten
            state.bytesBeingWritten = 0
            return state.queue.isEmpty
        }
        if isEmpty {
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    guard state.queue.isEmpty, !state.isEnded else { return true }
                    state.waiting = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        }
        return state.withLock { state in
            guard !state.queue.isEmpty else { return nil }
            defer { state.queue = [] }
            state.bytesBeingWritten = state.bytes
            return state.queue
        }
    }
}
