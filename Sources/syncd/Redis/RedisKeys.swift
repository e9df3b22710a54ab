import IPCWire
import NIOCore
import SyncCore

/// The names in Redis. All keys share one hash tag, so that they are on one node of a cluster.
struct RedisKeys: Sendable {
    let incarnation: ByteBuffer
    let position: ByteBuffer
    let stream: ByteBuffer
    /// The three keys of the log, in the order in which the scripts take them.
    let log: [ByteBuffer]
    /// The channel on which entries are published. Publish/subscribe ignores database numbers, so the channel's name
    /// has the number, unless it is 0.
    let logChannel: ByteBuffer
    /// The hash slot of all keys in a cluster.
    let slot: Int
    private let valuePrefix: ByteBuffer
    private let bridgedPrefix: ByteBuffer
    private let feedPrefix: ByteBuffer

    /// - Parameters:
    ///   - database: the number of the database that the URL names.
    ///   - scratch: names that no syncd uses begin with this behind the namespace, which keeps them within the ACL's
    ///     patterns: `doctor:1f:`.
    init(namespace: String, database: Int = 0, scratch: String = "") {
        func name(_ suffix: String) -> ByteBuffer { ByteBuffer(string: "{\(namespace)}:\(scratch)\(suffix)") }
        let number = database == 0 ? "" : ":\(database)"
        slot = HashSlot.of(tag: namespace)
        incarnation = name("incarnation")
        position = name("position")
        stream = name("stream")
        log = [incarnation, position, stream]
        logChannel = name("log" + number)
        valuePrefix = name("v:")
        // The name of an event depends on the order of messages on the channel, so only hosts that receive the same
        // channel share names.
        bridgedPrefix = name("bridged" + number + ":")
        feedPrefix = name("feed:")
    }

    func value(_ key: ByteBuffer) -> ByteBuffer {
        var name = valuePrefix
        name.writeImmutableBuffer(key)
        return name
    }

    /// The key that names the host that reads a change feed.
    func feedHolder(_ feed: ByteBuffer) -> ByteBuffer {
        var name = feedToken(feed)
        name.writeString(":reader")
        return name
    }

    /// The key with the token of a change feed. A feed's name has no colon.
    func feedToken(_ feed: ByteBuffer) -> ByteBuffer {
        var name = feedPrefix
        name.writeImmutableBuffer(feed)
        return name
    }

    /// The key that remembers that an event of another program is in the log.
    func bridged(_ event: BridgedEvent) -> ByteBuffer {
        var name = bridgedPrefix
        name.writeString("\(event.base)-\(event.ordinal)")
        return name
    }
}
