/// Requests of all clients that wait for Redis.
///
/// Redis answers one request after the other. A process that sends more than Redis can answer must not make the others'
/// invalidations late, which would isolate the host. The window is therefore divided among the processes that have
/// requests under way. A connection with an unanswered request is not read while its process has used its part. One
/// request of each connection is always taken: its answer lets the connection go on.
final class RequestWindow {
    /// One process and its requests under way, also those of connections that are closed.
    final class Process {
        fileprivate let holder: Int64
        fileprivate var connections = 0
        fileprivate var requests = 0
        /// Bytes of long requests.
        fileprivate var bytes = 0

        fileprivate init(_ holder: Int64) { self.holder = holder }
    }

    var limits: Limits
    private var processes: [Int64: Process] = [:]
    /// Number of processes with requests under way.
    private var busy = 0

    init(limits: Limits) { self.limits = limits }

    func connected(_ holder: Int64) -> Process {
        let process = processes[holder] ?? Process(holder)
        processes[holder] = process
        process.connections += 1
        return process
    }

    func disconnected(_ process: Process) {
        process.connections -= 1
        dropIfUnused(process)
    }

    private func dropIfUnused(_ process: Process) {
        if process.connections == 0, process.requests == 0 { processes[process.holder] = nil }
    }

    func begin(_ process: Process, bytes: Int) {
        if process.requests == 0 { busy += 1 }
        process.requests += 1
        process.bytes += bytes
    }

    func end(_ process: Process, bytes: Int) {
        process.requests -= 1
        process.bytes -= bytes
        guard process.requests == 0 else { return }
        busy -= 1
        dropIfUnused(process)
    }

    /// Whether the process may have one more request under way.
    func hasRoom(for process: Process) -> Bool { isBelow(process, parts: max(1, busy)) }

    /// Whether half of the process's part is free again.
    func mayResume(_ process: Process) -> Bool { isBelow(process, parts: 2 * max(1, busy)) }

    private func isBelow(_ process: Process, parts: Int) -> Bool {
        process.requests < max(1, limits.requestsUnderWay / parts)
            && process.bytes < max(1, limits.requestBytesUnderWay / parts)
    }
}
