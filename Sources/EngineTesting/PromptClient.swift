import NIOCore
import SyncCore

/// A client that takes all output at once and counts it.
package final class PromptClient: ClientChannel {
    package private(set) var writes = 0
    /// Whether ``last`` is kept. Memory that is kept cannot be used again.
    package var isKeeping = false
    package private(set) var last = ByteBuffer()

    package init() {}

    package func write(_ bytes: ByteBuffer) -> Bool {
        writes += 1
        if isKeeping { last = bytes }
        return true
    }

    package func write(_ parts: [ByteBuffer]) -> Bool {
        writes += 1
        return true
    }

    package func setReading(_ isReading: Bool) {}
    package func setReadingArgument(_ isLong: Bool) {}
    package func close() {}
}
