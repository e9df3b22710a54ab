import IPCWire
import NIOCore

extension Event {
    /// An event whose channel and payload are text in UTF-8.
    public init(channel: String, payload: String) {
        self.init(channel: channel, payload: ByteBuffer(string: payload))
    }

    /// An event on a channel whose name is text in UTF-8.
    public init(channel: String, payload: ByteBuffer) {
        self.init(channel: ByteBuffer(string: channel), payload: payload)
    }
}
