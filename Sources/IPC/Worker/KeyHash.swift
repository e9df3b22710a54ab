/// The hash of keys: SipHash-1-3 (Aumasson and Bernstein, https://131002.net/siphash/), as in `Hasher`, which takes more
/// than twice as many instructions for bytes that lie in one piece.
///
/// Clients choose keys. Without the random key of the hash, they could choose thousands that meet in one slot.
struct KeyHash: Sendable {
    /// The hash of this process, with a random key.
    static let ofProcess = KeyHash(key: (.random(in: 0 ... .max), .random(in: 0 ... .max)))

    private let start: State

    init(key: (low: UInt64, high: UInt64)) { start = State(key) }

    /// The hash of bytes: 8 at a time, the last ones together with their number.
    func callAsFunction(_ bytes: UnsafeRawBufferPointer) -> Int {
        var state = start
        var offset = 0
        while offset + 8 <= bytes.count {
            state.compress(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            offset += 8
        }
        var tail = UInt64(truncatingIfNeeded: bytes.count) << 56
        if offset > 0 {
            // The last 8 bytes, without those that precede the tail.
            let last = bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self)
            tail |= (last >> 8) &>> UInt64(truncatingIfNeeded: 8 * (7 + offset - bytes.count))
        } else {
            for (place, byte) in bytes.enumerated() { tail |= UInt64(byte) << UInt64(8 * place) }
        }
        state.compress(tail)
        return Int(truncatingIfNeeded: state.finish())
    }

    private struct State {
        var (a, b, c, d): (UInt64, UInt64, UInt64, UInt64)

        init(_ key: (low: UInt64, high: UInt64)) {
            a = key.low ^ 0x736f_6d65_7073_6575
            b = key.high ^ 0x646f_7261_6e64_6f6d
            c = key.low ^ 0x6c79_6765_6e65_7261
            d = key.high ^ 0x7465_6462_7974_6573
        }

        @inline(__always)
        mutating func compress(_ word: UInt64) {
            d ^= word
            round()
            a ^= word
        }

        @inline(__always)
        mutating func finish() -> UInt64 {
            c ^= 0xff
            for _ in 0..<3 { round() }
            return a ^ b ^ c ^ d
        }

        @inline(__always)
        private mutating func round() {
            a &+= b
            b = b << 13 | b >> 51
            b ^= a
            a = a << 32 | a >> 32
            c &+= d
            d = d << 16 | d >> 48
            d ^= c
            a &+= d
            d = d << 21 | d >> 43
            d ^= a
            c &+= b
            b = b << 17 | b >> 47
            b ^= c
            c = c << 32 | c >> 32
        }
    }
}
