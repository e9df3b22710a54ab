/// The hash slots of a Redis Cluster.
enum HashSlot {
    static let count = 16_384

    /// The slot of all keys with this hash tag, without its braces: CRC-16/XMODEM modulo 16384
    /// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>).
    static func of(tag: String) -> Int {
        var crc: UInt16 = 0
        for byte in tag.utf8 {
            crc ^= UInt16(byte) << 8
            for _ in 0..<8 { crc = crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
        }
        return Int(crc) % count
    }
}
