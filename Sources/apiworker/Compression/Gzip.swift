import CZlib
import NIOCore

enum Gzip {
    /// zlib's default. JSON is compressed to a fifth, at some 50 MB/s.
    private static let level: Int32 = 6

    /// `nil`: the body does not become smaller, or zlib failed.
    static func compress(_ body: ByteBuffer) -> ByteBuffer? {
        guard let count = UInt32(exactly: body.readableBytes) else { return nil }
        var stream = z_stream()
        guard syncd_gzip_init(&stream, level) == Z_OK else { return nil }
        defer { deflateEnd(&stream) }
        // The output has less room than the body, so that compression stops if it does not become smaller.
        var output = [UInt8](repeating: 0, count: body.readableBytes)
        let isFinished = output.withUnsafeMutableBufferPointer { output in
            body.withUnsafeReadableBytes { input in
                // zlib only reads from the input, but the field's type is mutable.
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
