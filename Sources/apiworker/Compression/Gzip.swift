import CZlib
import NIOCore

/// Bodies in gzip (RFC 1952).
enum Gzip {
    /// zlib's own default: JSON becomes a fifth, at some 50 MB/s.
    private static let level: Int32 = 6

    /// `nil`: it doesn't become smaller, or zlib can't.
    static func compress(_ body: ByteBuffer) -> ByteBuffer? {
        guard let count = UInt32(exactly: body.readableBytes) else { return nil }
        var stream = z_stream()
        guard syncd_gzip_init(&stream, level) == Z_OK else { return nil }
        defer { deflateEnd(&stream) }
        // With less room than the body has, what doesn't become smaller is not finished.
        var output = [UInt8](repeating: 0, count: body.readableBytes)
        let isFinished = output.withUnsafeMutableBufferPointer { output in
            body.withUnsafeReadableBytes { input in
                // zlib only reads from it, but its type says otherwise.
                stream.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
                stream.avail_in = count
                stream.next_out = output.baseAddress
                stream.avail_out = count
                return deflate(&stream, Z_FINISH) == Z_STREAM_END
            }
        }
        guard isFinished else { return nil }
        return ByteBuffer(bytes: output[..<Int(stream.total_out)])
    }
}
