import IPC
import NIOCore
import ProcessSupport

/// The metrics of this worker (docs/http-api.md, "Metrics"), without its name.
struct WorkerMetrics: Sendable {
    let state: WorkerState
    let requests: RequestMetrics
    let connections: OpenConnections
    let streams: EventStreams

    var text: ByteBuffer {
        let (status, mongo) = (state.cache.status, state.operations.connections)
        var text = PrometheusText(prefix: "apiworker_")
        text.add(
            "info", .gauge, help: "Version and process.",
            [([("version", Version.current), ("pid", state.worker.text)], 1)])
        text.add("uptime_seconds", .gauge, help: "Time since the start.", state.uptime / .seconds(1))
        requests.write(to: &text)
        text.add("http_connections", .gauge, help: "Open connections of clients.", Double(connections.count))
        text.add("event_streams", .gauge, help: "Pages that listen to events.", Double(streams.count))
        text.add(
            "event_streams_cut_total", .counter, help: "Pages that were cut off because they did not read.",
            Double(streams.cutCount))
        text.add("l1_hits_total", .counter, help: "Reads that the worker's own cache answered.", Double(status.l1.hits))
        text.add("l1_misses_total", .counter, help: "Reads that it did not.", Double(status.l1.misses))
        text.add(
            "shared_hits_total", .counter, help: "Reads that the memory shared by all processes of the host answered.",
            Double(status.sharedHits))
        text.add("l1_entries", .gauge, help: "Values in the worker's own cache.", Double(status.l1.entries))
        text.add("l1_bytes", .gauge, help: "Bytes in the worker's own cache.", Double(status.l1.bytes))
        text.add(
            "sync_state", .gauge, help: "1 for the state in which the worker is.",
            SyncMode.all.map { ([("state", $0.rawValue)], $0 == status.sync ? 1 : 0) })
        text.add(
            "epoch", .gauge, help: "Epoch of the tag table; the cache is cold when it rises.",
            Double(status.epoch.number))
        text.add(
            "applied_position", .gauge, help: "Log position up to which everything is applied.",
            Double(status.applied.number))
        text.add("mongo_connections", .gauge, help: "Connections to MongoDB in use.", Double(mongo.inUse))
        text.add("mongo_connections_limit", .gauge, help: "Connections to MongoDB at most.", Double(mongo.pool))
        text.add(
            "mongo_reachable", .gauge, help: "0 from the first call without an answer to the first answer.",
            state.operations.isReachable ? 1 : 0)
        return ByteBuffer(string: text.text)
    }
}

extension SyncMode {
    /// All modes in a fixed order.
    fileprivate static let all: [SyncMode] = [.attached, .isolated, .detached]
}
