import NIOCore

/// The channels on which logs are published: `{<namespace>}:log`, or `{<namespace>}:log:<database>`.
///
/// Only syncd may use these channels, those of other namespaces and databases included. Hosts would trust an entry that
/// a client forged, and entries show tags to clients that should not see them.
package enum LogChannel {
    /// Whether a channel is the log channel of some syncd.
    package static func isOne(_ channel: ByteBuffer) -> Bool {
        guard channel.readableBytes > 6, channel.getInteger(at: channel.readerIndex) == UInt8(ascii: "{") else {
            return false
        }
        let rest = channel.readableBytesView.dropFirst()
        guard let end = rest.firstIndex(where: { $0 == UInt8(ascii: "{") || $0 == UInt8(ascii: "}") }),
            end > rest.startIndex, rest[end] == UInt8(ascii: "}")
        else { return false }
        let suffix = rest[(end + 1)...]
        guard suffix.starts(with: ":log".utf8) else { return false }
        let number = suffix.dropFirst(4)
        return number.isEmpty
            || number.first == UInt8(ascii: ":") && number.count > 1
                && number.dropFirst().allSatisfy { (0x30...0x39).contains($0) }
    }
}
