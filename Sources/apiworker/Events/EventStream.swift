import NIOCore
import Synchronization

/// The message queue of one client: one task offers from any thread, one task takes.
final class EventStream: Sendable {
    private struct State {
        var queue: [ByteBuffer] = []
        /// Bytes in the queue and in the messages taken last, which are being written until more are requested.
        var bytes = 0
        var bytesBeingWritten = 0
        var isEnded = false
        var waiting: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let limit: Int

    /// - Parameter limit: bytes that may wait. A single message may be longer.
    init(limit: Int) { self.limit = limit }

    /// Queues a message without waiting.
    ///
    /// - Returns: false if the client is too far behind to get the message.
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

    /// Ends the stream: further messages are refused, queued ones are still taken.
    func end() {
        let waiting = state.withLock { state in
            state.isEnded = true
            defer { state.waiting = nil }
            return state.waiting
        }
        waiting?.resume()
    }

    /// All queued messages, as soon as there are any; `nil` after the end. Messages taken before count as sent. For one
    /// task at a time; it is woken by ``end()``, not by cancellation.
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
