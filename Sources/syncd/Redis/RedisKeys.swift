import IPCWire
import NIOCore
import SyncCore

/// The names in Redis. All keys share one hash tag, so that they live on one node of a cluster.
struct RedisKeys: Sendable {
    let incarnation: ByteBuffer
    let position: ByteBuffer
    let stream: ByteBuffer
    /// The channel on which entries are published.
    let logChannel: ByteBuffer
    private let valuePrefix: ByteBuffer
    private let bridgedPrefix: ByteBuffer

    init(namespace: String) {
        func name(_ suffix: String) -> ByteBuffer { ByteBuffer(string: "{\(namespace)}:\(suffix)") }
        incarnation = name("incarnation")
        position = name("position")
        stream = name("stream")
        logChannel = name("log")
        valuePrefix = name("v:")
        bridgedPrefix = name("bridged:")
    }

    func value(_ key: ByteBuffer) -> ByteBuffer {
        var name = valuePrefix
        name.writeImmutableBuffer(key)
        return name
    }

    /// Where it is remembered that an event of another program is in the log.
    func bridged(_ event: BridgedEvent) -> ByteBuffer {
        var name = bridgedPrefix
        name.writeString("\(event.base)-\(event.ordinal)")
        return name
    }
}
