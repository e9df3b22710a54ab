import Glibc
import NIOCore

/// The tokens of change feeds on a host without Redis: one file each beside the tag table, so that they are lost only
/// together.
struct FeedTokens {
    /// The runtime directory.
    let directory: String

    /// The path of a token, and of the file that takes its place. The name has no character that means something in a path.
    private func paths(_ name: ByteBuffer) -> (file: String, new: String) {
        let file = directory + "/feed-\(String(buffer: name)).token"
        return (file, file + ".new")
    }

    /// The token that was stored last; `nil`: there is none.
    func token(_ name: ByteBuffer) -> ByteBuffer? {
        let descriptor = open(paths(name).file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: Self.maximumBytes + 1)
        let count = read(descriptor, &bytes, bytes.count)
        guard (1...Self.maximumBytes).contains(count) else { return nil }
        return ByteBuffer(bytes: bytes[..<count])
    }

    /// A client's tokens are not longer (`WireLimits`).
    private static let maximumBytes = 16 << 10

    /// Stores a token, or removes the one that is stored: a reader finds this one or the one before.
    ///
    /// - Returns: the number of the system's error; `nil`: it is stored.
    func store(_ name: ByteBuffer, _ token: ByteBuffer?) -> Int32? {
        let (file, new) = paths(name)
        guard let token else { return unlink(file) == 0 || errno == ENOENT ? nil : errno }
        let descriptor = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return errno }
        let count = token.withUnsafeReadableBytes { write(descriptor, $0.baseAddress, $0.count) }
        let failure = count == token.readableBytes ? nil : count < 0 ? errno : ENOSPC
        close(descriptor)
        if let failure { return failure }
        return rename(new, file) == 0 ? nil : errno
    }
}
