import DequeModule

/// Requests of all clients that wait for Redis.
///
/// Redis answers one request after the other. A process that sends more than Redis can answer must not make the others'
/// invalidations late, which would isolate the host. The window is therefore divided among the processes that have
/// requests under way. While a process has used its part, its connections queue: answers let them go on, one after the
/// other.
final class RequestWindow {
    /// One process and its requests under way, also those of connections that are closed.
    final class Process {
        fileprivate let holder: Int64
        fileprivate var connections = 0
        fileprivate var requests = 0
        fileprivate var bytes = 0
        /// Connections that wait for their turn. There is one only while a request is under way, whose answer lets it go on.
        fileprivate var queue: Deque<ClientConnection> = []

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

    /// A connection waits until ``takeQueued(_:)`` returns it.
    func queue(_ client: ClientConnection, of process: Process) { process.queue.append(client) }

    /// The connections that may go on: none until half of the process's part is free again, and then about as many as
    /// there is room for requests of the present length.
    func takeQueued(_ process: Process) -> [ClientConnection] {
        guard !process.queue.isEmpty, isBelow(process, parts: 2 * max(1, busy)) else { return [] }
        var room = process.queue.count
        if process.requests > 0 {
            let requests = limits.requestsUnderWay / busy - process.requests
            let bytes = (limits.requestBytesUnderWay / busy - process.bytes) * process.requests / max(1, process.bytes)
            room = min(room, max(1, min(requests, bytes)))
        }
        let taken = Array(process.queue.prefix(room))
        process.queue.removeFirst(room)
        return taken
    }

    private func isBelow(_ process: Process, parts: Int) -> Bool {
        process.requests < max(1, limits.requestsUnderWay / parts)
            && process.bytes < max(1, limits.requestBytesUnderWay / parts)
    }
}
