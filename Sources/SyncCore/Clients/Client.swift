import IPCWire
import NIOCore

/// One connected program, as the engine knows it.
struct Client: Sendable {
    let peer: Peer
    let connectedAt: BootTime
    var version = RESPVersion.v2
    var name: ByteBuffer?
    var isTracking = false
    /// The values that the client reported, in the order of their first report.
    var reported: [ReportField] = []
    /// The auditor's counters among them that are in the report; `nil`: it has reported none.
    var audited: AuditCounts?
}

/// The process at the other end of a connection, as the kernel reports it.
package struct Peer: Sendable, Hashable {
    package var pid: Int32
    package var uid: UInt32

    package init(pid: Int32, uid: UInt32) {
        self.pid = pid
        self.uid = uid
    }

    /// The process; if the kernel shows none (another container), its user.
    var holder: Int64 { pid > 0 ? Int64(pid) : -1 - Int64(uid) }
}
