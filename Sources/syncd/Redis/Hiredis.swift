import CHiredis
import Glibc
import IPCWire
import NIOCore

/// The reason why the server's output cannot be read.
struct MalformedServerReply: Error, CustomStringConvertible {
    var description: String
    /// A smaller piece may be requested.
    var isTooLong = false
}

/// hiredis' parser: bytes in, values out. The texts of a reply share its memory; copy texts that outlive the reply.
///
/// A server that announces or sends too much is cut off before it costs memory or time. There are limits to the bytes
/// of a reply, complete or not, to its elements, and to a line.
final class HiredisReader {
    private let reader: UnsafeMutablePointer<redisReader>
    /// The values of the present reply; the C side fills it.
    private let reply: UnsafeMutablePointer<syncd_reply>
    private let maximumBytes: Int
    /// Bytes since the last complete reply.
    private var bytes = 0

    /// Maximum length of a value's first line, and of a simple string or error.
    private static let maximumLineBytes = 64 << 10

    /// `nil`: no memory.
    init?(maximumBytes: Int = 64 << 20) {
        guard let reply = syncd_reply_create() else { return nil }
        guard let reader = syncd_reader_create(reply) else {
            syncd_reply_free(reply)
            return nil
        }
        self.reader = reader
        self.reply = reply
        self.maximumBytes = maximumBytes
    }

    deinit {
        redisReaderFree(reader)
        syncd_reply_free(reply)
    }

    private var unread: Int { reader.pointee.len - reader.pointee.pos }

    /// Appends bytes of the connection.
    func feed(_ buffer: ByteBuffer) throws(MalformedServerReply) {
        let status = buffer.withUnsafeReadableBytes { bytes in
            redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        if status != REDIS_OK { throw problem }
        bytes += buffer.readableBytes
    }

    /// The next reply; `nil`: it is incomplete.
    func next() throws(MalformedServerReply) -> RESPValue? {
        var isComplete: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &isComplete) == REDIS_OK else { throw problem }
        guard isComplete != nil else {
            try checkIncomplete()
            return nil
        }
        bytes = unread
        defer { syncd_reply_clear(reply) }
        var text = ByteBuffer(bytes: UnsafeRawBufferPointer(start: reply.pointee.text, count: reply.pointee.bytes))
        var index = 0
        return value(&index, &text)
    }

    private func checkIncomplete() throws(MalformedServerReply) {
        if bytes > maximumBytes {
            throw MalformedServerReply(description: "a reply of more than \(maximumBytes) bytes", isTooLong: true)
        }
        // hiredis searches for the end of a line from its beginning whenever bytes arrive.
        if unread > Self.maximumLineBytes, let start = reader.pointee.buf?.advanced(by: reader.pointee.pos),
            memchr(start, 0x0a, Self.maximumLineBytes) == nil
        {
            throw MalformedServerReply(description: "a line of more than \(Self.maximumLineBytes) bytes")
        }
    }

    private var problem: MalformedServerReply {
        let text = withUnsafePointer(to: &reader.pointee.errstr) { pointer in
            pointer.withMemoryRebound(to: CChar.self, capacity: 128) { String(cString: $0) }
        }
        // hiredis reports a refused array in this way.
        let isRefused = text == "Out of memory"
        return MalformedServerReply(description: isRefused ? "a reply of too many elements" : text)
    }

    /// The value at `index`, with its elements; `text` is the memory of the values from there on.
    private func value(_ index: inout Int, _ text: inout ByteBuffer) -> RESPValue {
        let value = reply.pointee.values[index]
        index += 1
        switch value.type {
        case REDIS_REPLY_STRING: return .bulkString(text.readSlice(length: Int(value.number)) ?? ByteBuffer())
        case REDIS_REPLY_STATUS: return .simpleString(text.readSlice(length: Int(value.number)) ?? ByteBuffer())
        case REDIS_REPLY_ERROR: return .error(text.readSlice(length: Int(value.number)) ?? ByteBuffer())
        case REDIS_REPLY_INTEGER: return .integer(value.number)
        case REDIS_REPLY_ARRAY: return .array((0..<Int(value.number)).map { _ in self.value(&index, &text) })
        default: return .null
        }
    }
}
