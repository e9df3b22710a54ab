#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Reads small text files: settings and secrets.
enum TextFile {
    /// The reason why a file can't be used, in words for people.
    enum Problem: Error, Hashable {
        /// The file does not exist, and possibly not its directory either.
        case missing
        /// The text of strerror(3).
        case unreadable(String)
        case tooLong(maximumBytes: Int)
        case notText
    }

    static func read(_ path: String, maximumBytes: Int) throws(Problem) -> String {
        // Without O_NONBLOCK, opening a pipe of that name would block.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { throw .missing }
            throw .unreadable(String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while true {
            var chunk = [UInt8](repeating: 0, count: 4096)
            let count = systemRead(descriptor, &chunk, chunk.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw .unreadable(String(cString: strerror(errno)))
            }
            if count == 0 { break }
            bytes += chunk[..<count]
            guard bytes.count <= maximumBytes else { throw .tooLong(maximumBytes: maximumBytes) }
        }
        guard let text = String(validating: bytes, as: UTF8.self), !text.utf8.contains(0) else { throw .notText }
        return text
    }
}

extension TextFile.Problem: CustomStringConvertible {
    var description: String {
        switch self {
        case .missing: "it does not exist"
        case .unreadable(let reason): reason
        case .tooLong(let bytes): "it is longer than \(bytes) bytes"
        case .notText: "it is not UTF-8 text"
        }
    }
}

/// read(2), which ``TextFile/read(_:maximumBytes:)`` hides.
private func systemRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int {
    read(descriptor, buffer, count)
}
