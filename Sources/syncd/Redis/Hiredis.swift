import CHiredis
import Glibc
import IPCWire
import NIOCore

/// Why what a server sent cannot be read.
struct MalformedServerReply: Error, CustomStringConvertible {
    var description: String
    /// A smaller piece may be asked for.
    var isTooLong = false
}

/// hiredis' parser: bytes in, values out. What it hands out owns its memory.
///
/// A server that announces or sends more than it should is cut off before it costs memory or time: there are limits to
/// the bytes of a reply, complete or not, to its elements, and to a line.
final class HiredisReader {
    private let reader: UnsafeMutablePointer<redisReader>
    /// Elements that the present reply has announced; the C side counts.
    private let announced: UnsafeMutablePointer<Int>
    private let maximumBytes: Int
    /// Bytes since the last complete reply.
    private var bytes = 0

    /// The line with which a value begins, and a simple string or error, is never longer.
    private static let maximumLineBytes = 64 << 10

    /// `nil`: no memory.
    init?(maximumBytes: Int = 64 << 20) {
        let announced = UnsafeMutablePointer<Int>.allocate(capacity: 1)
        announced.initialize(to: 0)
        guard let reader = syncd_reader_create(announced) else {
            announced.deallocate()
            return nil
        }
        self.reader = reader
        self.announced = announced
        self.maximumBytes = maximumBytes
    }

    deinit {
        redisReaderFree(reader)
        announced.deallocate()
    }

    private var unread: Int { reader.pointee.len - reader.pointee.pos }

    /// Takes bytes of the connection.
    func feed(_ buffer: ByteBuffer) throws(MalformedServerReply) {
        let status = buffer.withUnsafeReadableBytes { bytes in
            redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        if status != REDIS_OK { throw problem }
        bytes += buffer.readableBytes
    }

    /// The next reply; `nil`: it is not complete yet.
    func next() throws(MalformedServerReply) -> RESPValue? {
        var reply: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &reply) == REDIS_OK else { throw problem }
        guard let reply else {
            try checkIncomplete()
            return nil
        }
        defer { freeReplyObject(reply) }
        bytes = unread
        announced.pointee = 0
        return Self.value(reply.assumingMemoryBound(to: redisReply.self))
    }

    private func checkIncomplete() throws(MalformedServerReply) {
        if bytes > maximumBytes {
            throw MalformedServerReply(description: "a reply of more than \(maximumBytes) bytes", isTooLong: true)
        }
        // hiredis looks for the end of a line from its beginning whenever bytes come.
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
        // What hiredis says of an array that was refused.
        let isRefused = text == "Out of memory"
        return MalformedServerReply(description: isRefused ? "a reply of too many elements" : text)
    }

    private static func value(_ reply: UnsafeMutablePointer<redisReply>) -> RESPValue {
        func bytes() -> ByteBuffer {
            ByteBuffer(bytes: UnsafeRawBufferPointer(start: reply.pointee.str, count: Int(reply.pointee.len)))
        }
        switch reply.pointee.type {
        case REDIS_REPLY_STRING: return .bulkString(bytes())
        case REDIS_REPLY_STATUS: return .simpleString(bytes())
        case REDIS_REPLY_ERROR: return .error(bytes())
        case REDIS_REPLY_INTEGER: return .integer(reply.pointee.integer)
        case REDIS_REPLY_ARRAY:
            return .array(
                (0..<Int(reply.pointee.elements)).map { index in
                    reply.pointee.element[index].map(value) ?? .null
                })
        default: return .null
        }
    }
}
