import IPCWire
import NIOCore

/// The first byte chooses what is fuzzed and with which limits, the second into what pieces the rest is cut, so that one
/// corpus serves all.
enum WireTarget {
    static func check(_ input: inout FuzzInput) throws {
        guard input.rest.count >= 2 else { return }
        let kind = input.byte()
        let limits = kind & 2 == 0 ? WireLimits() : .tight
        let size = Int(input.byte())
        if kind & 1 == 0 {
            try checkCommands(input.buffer(), pieces: size, limits)
        } else {
            try checkReplies(input.buffer(), pieces: size, limits)
        }
    }
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
            // A separate buffer, as from a socket.
            pieces.append(ByteBuffer(bytes: piece.readableBytesView))
        }
        return pieces
    }
}
