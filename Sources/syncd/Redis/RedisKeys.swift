import IPCWire
import NIOCore

/// The names in Redis. All keys share one hash tag, so that they live on one node of a cluster.
struct RedisKeys: Sendable {
    let incarnation: ByteBuffer
    let position: ByteBuffer
    let stream: ByteBuffer
    /// The channel on which entries are published.
    let logChannel: ByteBuffer
    private let valuePrefix: ByteBuffer

    init(namespace: String) {
        func name(_ suffix: String) -> ByteBuffer { ByteBuffer(string: "{\(namespace)}:\(suffix)") }
        incarnation = name("incarnation")
        position = name("position")
        stream = name("stream")
        logChannel = name("log")
        valuePrefix = name("v:")
    }

    func value(_ key: ByteBuffer) -> ByteBuffer {
        var name = valuePrefix
        name.writeImmutableBuffer(key)
        return name
    }
}
