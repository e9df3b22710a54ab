import IPCWire
import NIOCore

/// One connected program, as the brain knows it.
struct Client: Sendable {
    let id: ClientID
    let peer: Peer
    let connectedAt: UInt64
    var version = RESPVersion.v2
    var name: ByteBuffer?
    var isTracking = false
    /// Its own figures, in the order in which it first reported them.
    var reported: [ReportField] = []

    init(id: ClientID, peer: Peer, connectedAt: UInt64) {
        self.id = id
        self.peer = peer
        self.connectedAt = connectedAt
    }
}

/// Who is at the other end of a connection, as the kernel says.
package struct Peer: Sendable, Hashable {
    package var pid: Int32
    package var uid: UInt32

    package init(pid: Int32, uid: UInt32) {
        self.pid = pid
        self.uid = uid
    }
}
