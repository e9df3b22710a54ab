import CHiredis
import Glibc
import IPCWire
import NIOCore

/// Why what a server sent cannot be read.
struct MalformedServerReply: Error, CustomStringConvertible {
    var description: String
}

/// hiredis' parser: bytes in, values out. What it hands out owns its memory.
final class HiredisReader {
    private let reader: UnsafeMutablePointer<redisReader>
    /// Bytes of replies that are not complete yet; a server that announces more than it should send is cut off.
    private let maximumBytes: Int

    /// `nil`: no memory.
    init?(maximumBytes: Int = 64 << 20) {
        guard let reader = syncd_reader_create() else { return nil }
        self.reader = reader
        self.maximumBytes = maximumBytes
    }

    deinit { redisReaderFree(reader) }

    /// Takes bytes of the connection.
    func feed(_ buffer: ByteBuffer) throws(MalformedServerReply) {
        let status = buffer.withUnsafeReadableBytes { bytes in
            redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        if status != REDIS_OK { throw problem }
        if reader.pointee.len - reader.pointee.pos > maximumBytes {
            throw MalformedServerReply(description: "a reply of more than \(maximumBytes) bytes")
        }
    }

    /// The next reply; `nil`: it is not complete yet.
    func next() throws(MalformedServerReply) -> RESPValue? {
        var reply: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &reply) == REDIS_OK else { throw problem }
        guard let reply else { return nil }
        defer { freeReplyObject(reply) }
        return Self.value(reply.assumingMemoryBound(to: redisReply.self))
    }

    private var problem: MalformedServerReply {
        let text = withUnsafePointer(to: &reader.pointee.errstr) { pointer in
            pointer.withMemoryRebound(to: CChar.self, capacity: 128) { String(cString: $0) }
        }
        return MalformedServerReply(description: text)
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

/// hiredis' formatter.
enum HiredisFormatter {
    /// Appends a command to `buffer`.
    static func format(_ arguments: [ByteBuffer], into buffer: inout ByteBuffer) {
        // hiredis takes pointers that must all be valid at once; one buffer holds the bytes of all arguments.
        var bytes = ByteBuffer()
        var lengths: [Int] = []
        lengths.reserveCapacity(arguments.count)
        for argument in arguments {
            lengths.append(argument.readableBytes)
            bytes.writeImmutableBuffer(argument)
        }
        bytes.withUnsafeReadableBytes { bytes in
            var offset = 0
            var pointers: [UnsafePointer<CChar>?] = []
            pointers.reserveCapacity(arguments.count)
            for length in lengths {
                pointers.append(bytes.baseAddress?.advanced(by: offset).assumingMemoryBound(to: CChar.self))
                offset += length
            }
            var target: UnsafeMutablePointer<CChar>?
            let count = Int(redisFormatCommandArgv(&target, CInt(arguments.count), &pointers, &lengths))
            guard let target, count > 0 else { return }
            buffer.writeBytes(UnsafeRawBufferPointer(start: target, count: count))
            redisFreeCommand(target)
        }
    }
}
