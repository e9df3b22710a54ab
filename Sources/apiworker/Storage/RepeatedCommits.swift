import Glibc
import NIOCore
import Synchronization

/// Limits the repetition of commits whose request has ended. Each holds a thread and a connection, so only some may
/// run, and the others serve requests.
final class RepeatedCommits: Sendable {
    private let limit: Int
    private let count = Atomic<Int>(0)

    /// - Parameter limit: maximum number of concurrent repetitions; may be 0.
    init(atMost limit: Int) { self.limit = limit }

    /// The permission to repeat one commit. Its deallocation returns it.
    final class Turn {
        /// Time between two attempts.
        static let interval = TimeAmount.milliseconds(500)

        private let commits: RepeatedCommits
        private let end = NIODeadline.now() + LateWrites.bound

        fileprivate init(_ commits: RepeatedCommits) { self.commits = commits }

        deinit { commits.count.subtract(1, ordering: .relaxed) }

        /// Waits for the time of the next attempt.
        ///
        /// - Returns: false if no attempt is worth while: the server has ended the transaction by itself.
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
