import IPCWire
import NIOCore

/// Checks one input of libFuzzer. The first byte of an input chooses what is fuzzed and with which limits, the second into what
/// pieces the rest is cut, so that one corpus serves all. Whatever does not hold traps, and libFuzzer keeps the input.
func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    let input = UnsafeBufferPointer(start: start, count: count)
    let limits = input[0] & 2 == 0 ? WireLimits() : .tight
    let bytes = ByteBuffer(bytes: input[2...])
    let size = Int(input[1])
    if input[0] & 1 == 0 {
        FuzzCommands.check(bytes, pieces: size, limits)
    } else {
        FuzzReplies.check(bytes, pieces: size, limits)
    }
    return 0
}

extension WireLimits {
    /// Small enough for short inputs to reach them.
    static var tight: WireLimits {
        var limits = WireLimits()
        limits.frameBytes = 512
        limits.frameElements = 16
        limits.nestingDepth = 3
        limits.keyBytes = 8
        limits.tagBytes = 6
        limits.channelBytes = 6
        limits.valueBytes = 16
        limits.tagsPerEntry = 2
        limits.tagsPerInvalidation = 3
        return limits
    }
}

/// All frames of some bytes, and the error that ended them.
struct Outcome<Frame> {
    var frames: [Frame] = []
    var error: RESPError?

    /// Takes frames while there are any. Returns whether more may follow.
    mutating func take(_ next: () throws(RESPError) -> Frame?) -> Bool {
        do throws(RESPError) {
            while let frame = try next() { frames.append(frame) }
            return true
        } catch {
            self.error = error
            return false
        }
    }
}

extension ByteBuffer {
    /// In pieces of `size` bytes; 0: in one.
    func pieces(of size: Int) -> [ByteBuffer] {
        var rest = self
        var pieces: [ByteBuffer] = []
        while let piece = rest.readSlice(length: size == 0 ? rest.readableBytes : min(size, rest.readableBytes)),
            piece.readableBytes > 0
        {
            // In memory of its own, as it comes from a socket.
            pieces.append(ByteBuffer(bytes: piece.readableBytesView))
        }
        return pieces
    }
}
