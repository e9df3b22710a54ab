import NIOCore

/// The body of a list of users, written one user after the other.
struct UserList: Sendable {
    private var writer = JSONWriter()

    init() { writer.beginArray() }

    /// Number of bytes written so far.
    var byteCount: Int { writer.buffer.readableBytes }

    mutating func add(_ user: User) { user.write(to: &writer) }

    consuming func finished() -> ByteBuffer {
        writer.endArray()
        return writer.buffer
    }
}
