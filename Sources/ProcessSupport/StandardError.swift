import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Text for people on standard error.
public enum StandardError {
    /// Writes the text without adding a newline. Never waits long, and a closed reader is no error.
    public static func write(_ text: String) { LineOutput.standardError.write(Array(text.utf8)) }
}

/// Makes a write to a closed pipe or socket an error instead of the end of the process.
public func ignoreBrokenPipes() {
    signal(SIGPIPE, SIG_IGN)
}

/// Writes to a descriptor whose reader may be slow, stopped or gone. Text that can't be written in time is dropped,
/// since a log that nobody reads must not stop the process.
final class LineOutput: Sendable {
    static let standardError = LineOutput(descriptor: STDERR_FILENO)

    /// The size that a pipe accepts completely or not at all; a poll(2) that promises room promises this much.
    private static let chunkBytes = 4096
    private static let patienceMilliseconds: Int32 = 100

    private let descriptor: Int32
    /// Whether the last write found no room. Then no write waits until there is some.
    private let isStuck = Mutex(false)

    init(descriptor: Int32) { self.descriptor = descriptor }

    /// Writes everything in as few calls as possible, one for up to 4 KiB, or gives up.
    func write(_ bytes: [UInt8]) {
        isStuck.withLock { isStuck in
            var rest = bytes[...]
            while !rest.isEmpty {
                guard hasRoom(within: isStuck ? 0 : Self.patienceMilliseconds), let count = put(rest) else {
                    isStuck = true
                    return
                }
                isStuck = false
                rest = rest.dropFirst(count)
            }
        }
    }

    private func hasRoom(within milliseconds: Int32) -> Bool {
        var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        var result = poll(&request, 1, milliseconds)
        // Interrupted by a signal: check once more without waiting.
        if result < 0, errno == EINTR { result = poll(&request, 1, 0) }
        return result > 0 && request.revents & Int16(POLLOUT) != 0
    }

    /// Number of bytes written; `nil` if none can be.
    private func put(_ bytes: ArraySlice<UInt8>) -> Int? {
        while true {
            let count = bytes.prefix(Self.chunkBytes).withUnsafeBytes { chunk in
                systemWrite(descriptor, chunk)
            }
            if count >= 0 { return count }
            guard errno == EINTR else { return nil }
        }
    }
}

/// write(2), which ``LineOutput/write(_:)`` hides.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
    write(descriptor, bytes.baseAddress, bytes.count)
}
