import Synchronization

/// Memory of the long bodies that are being made, of all operations together.
final class BodyMemory: Sendable {
    /// Memory is taken in pieces of this size, so that short bodies need none.
    private static let pieceBytes = 1 << 20

    private let used = Atomic<Int>(0)
    private let limit: Int

    /// - Parameter limit: in bytes.
    init(limit: Int) { self.limit = limit }

    /// The part of one operation, which ends with the object. For one thread.
    final class Share {
        private let memory: BodyMemory
        private var taken = 0

        fileprivate init(_ memory: BodyMemory) { self.memory = memory }

        deinit { memory.used.subtract(taken, ordering: .relaxed) }

        /// The operation holds that many bytes.
        ///
        /// - Throws: all operations together hold too many.
        func hold(_ byteCount: Int) throws(StorageFailure) {
            guard byteCount - taken >= BodyMemory.pieceBytes else { return }
            let more = (byteCount - taken) / BodyMemory.pieceBytes * BodyMemory.pieceBytes
            taken += more
            guard memory.used.add(more, ordering: .relaxed).newValue <= memory.limit else { throw .busy }
        }
    }

    func share() -> Share { Share(self) }
}
