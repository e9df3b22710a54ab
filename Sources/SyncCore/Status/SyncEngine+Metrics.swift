import IPCWire
import NIOCore

/// The metrics that a client has reported, as text that syncd does not read.
struct ClientMetrics: Sendable {
    /// The name that the client wanted: it keeps its own as long as it wants the same.
    var wanted: ByteBuffer
    /// The name that it has.
    var worker: ByteBuffer
    var text: ByteBuffer
    var reportedAt: BootTime
}

// Metrics of all workers, for whoever is asked for those of the host. A series of Prometheus is a worker's, so no two
// clients have one name at a time: counters of two processes in one series would look like resets. A name is free again
// when the connection of its client ends. So a worker that takes the place of another one continues its series, which
// Prometheus sees going down once.
extension SyncEngine {
    mutating func setMetrics(_ client: ClientID, worker: ByteBuffer, text: ByteBuffer, now: BootTime) -> Reply {
        let former = metrics[client]
        let more = text.readableBytes - (former?.text.readableBytes ?? 0)
        guard metricsBytes + more <= limits.metricsBytes,
            isWithinShare(
                client, total: metricsBytes, more: more, limit: limits.metricsBytes,
                count: { metrics[$0]?.text.readableBytes ?? 0 })
        else { return .error(ReplyError(.busy, "no room for these metrics")) }
        metricsBytes += more
        let isKept = former.map { $0.wanted == worker || $0.worker == worker } ?? false
        let name = isKept ? former?.worker ?? worker : freeName(for: client, like: worker)
        metrics[client] = ClientMetrics(
            wanted: worker.compacted, worker: name, text: text.compacted, reportedAt: now)
        return .bulk(name)
    }

    /// The name that is wanted, or with `-2`, `-3`, … at its end if other clients have it. In place of an empty one the
    /// lowest number that is free.
    private func freeName(for client: ClientID, like wanted: ByteBuffer) -> ByteBuffer {
        let taken = Set(metrics.compactMap { $0.key == client ? nil : $0.value.worker })
        // With a number at its end, it has to be a name that the client can want again.
        let text = String(String(buffer: wanted).prefix(WireLimits.workerNameBytes - 8))
        // One of them is free: there are more than names.
        return (0...metrics.count).lazy.map { number in
            if text.isEmpty { return ByteBuffer(string: "\(number)") }
            return number == 0 ? wanted.compacted : ByteBuffer(string: "\(text)-\(number + 1)")
        }.first { !taken.contains($0) } ?? wanted
    }

    func allMetrics(now: BootTime) -> Reply {
        .array(
            metrics.sorted { $0.key < $1.key }.map { _, metrics in
                ReportedMetrics(
                    worker: metrics.worker, ageMilliseconds: (now &- metrics.reportedAt) / 1_000_000, text: metrics.text
                ).reply
            })
    }
}
