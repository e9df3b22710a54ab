import CMongoC
import Synchronization

/// The clocks of the servers, as their answers to libmongoc's heartbeats show them: at least one in ten seconds.
///
/// libmongoc keeps the last answer of each server, but gives it away as a copy that has the time of the copying. By such
/// a copy the server's clock would stand still between two heartbeats, and most writes would seem to come too late.
final class ServerClocks: Sendable {
    /// Lower bounds of the servers' clocks minus this host's monotonic time, in milliseconds, by host and port.
    private let offsets = Mutex<[String: Int64]>([:])

    /// Listens to the heartbeats of a pool that nobody uses yet. This object has to outlive it.
    func follow(_ pool: OpaquePointer) {
        let callbacks = mongoc_apm_callbacks_new()
        defer { mongoc_apm_callbacks_destroy(callbacks) }
        mongoc_apm_set_server_heartbeat_succeeded_cb(callbacks) { event in
            guard let context = mongoc_apm_server_heartbeat_succeeded_get_context(event),
                let host = mongoc_apm_server_heartbeat_succeeded_get_host(event),
                let hello = mongoc_apm_server_heartbeat_succeeded_get_reply(event).flatMap(BSONDocument.bytes)
            else { return }
            Unmanaged<ServerClocks>.fromOpaque(context).takeUnretainedValue()
                .note(BSONElements.first("localTime", in: hello)?.date, of: ServerClocks.name(of: host))
        }
        mongoc_client_pool_set_apm_callbacks(pool, callbacks, Unmanaged.passUnretained(self).toOpaque())
    }

    /// Notes the time that a server has just reported. A clock that was put back is believed.
    private func note(_ time: Int64?, of host: String) {
        let offset = time.map { $0 - MongoTarget.now }
        offsets.withLock { $0[host] = offset }
    }

    /// The lower bound for a server; `nil`: it has reported no time.
    func offset(of host: UnsafePointer<mongoc_host_list_t>) -> Int64? {
        let name = Self.name(of: host)
        return offsets.withLock { $0[name] }
    }

    /// Host and port.
    static func name(of host: UnsafePointer<mongoc_host_list_t>) -> String {
        withUnsafeBytes(of: host.pointee.host_and_port) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
