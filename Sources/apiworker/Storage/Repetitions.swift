import Glibc
import NIOCore
import Synchronization

/// Limits what is repeated after its request has ended: commits, and undoing the first half of a link. Each holds a
/// thread and a connection, so only some may run, and the others serve requests.
final class Repetitions: Sendable {
    private let limit: Int
    private let count = Atomic<Int>(0)

    /// - Parameter limit: maximum number of concurrent repetitions; may be 0.
    init(atMost limit: Int) { self.limit = limit }

    /// The permission to repeat one command. Its deallocation returns it.
    final class Turn {
        /// Time between two attempts.
        static let interval = TimeAmount.milliseconds(500)

        private let repetitions: Repetitions
        private let end = NIODeadline.now() + LateWrites.bound

        fileprivate init(_ repetitions: Repetitions) { self.repetitions = repetitions }

        deinit { repetitions.count.subtract(1, ordering: .relaxed) }

        /// Waits for the time of the next attempt.
        ///
        /// - Returns: false after ``LateWrites/bound``: by then the server has ended a transaction by itself.
        func pause() -> Bool {
            guard NIODeadline.now() < end else { return false }
            usleep(UInt32(Self.interval.nanoseconds / 1000))
            return true
        }
    }

    /// - Returns: `nil` if there is no room.
    func turn() -> Turn? {
        guard count.add(1, ordering: .relaxed).newValue <= limit else {
            count.subtract(1, ordering: .relaxed)
            return nil
        }
        return Turn(self)
    }
}
