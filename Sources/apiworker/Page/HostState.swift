import IPC
import NIOCore

/// The data of the live page about the host: all its workers, as syncd knows them, or this one alone.
///
/// The state queries syncd at most once a second, however many pages are open.
struct HostState: Sendable {
    private let worker: WorkerIdentity
    private let cache: SyncedCache
    private let socketPath: String?
    private let eventLoop: any EventLoop
    private let recent = RecentAnswer<[HostWorker]>(interval: .seconds(1))

    init(worker: WorkerIdentity, cache: SyncedCache, socketPath: String?, eventLoop: any EventLoop) {
        self.worker = worker
        self.cache = cache
        self.socketPath = socketPath
        self.eventLoop = eventLoop
    }

    /// The body of `GET /ui/host`.
    var body: ByteBuffer {
        get async {
            let status = cache.status
            var workers = status.sync == .detached ? [] : await recent.value { await ask() ?? [] }
            if workers.isEmpty {
                workers = [
                    HostWorker(
                        pid: Int(worker.pid), hits: status.l1.hits, misses: status.l1.misses,
                        sampled: status.audit?.sampled ?? 0, stale: status.audit?.stale ?? 0)
                ]
            }
            var writer = JSONWriter()
            writer.object { writer in
                writer.field("sync", status.sync.rawValue)
                writer.name("workers")
                writer.array { writer in
                    for worker in workers { worker.write(to: &writer) }
                }
                writer.name("audit")
                writer.object { writer in
                    writer.field("sampled", workers.reduce(0) { $0 &+ $1.sampled })
                    writer.field("stale", workers.reduce(0) { $0 &+ $1.stale })
                }
            }
            return writer.buffer
        }
    }

    private func ask() async -> [HostWorker]? {
        guard let socketPath,
            let client = try? await SyncdClient.connect(
                path: socketPath, name: "apiworker-page", timeout: .seconds(1), eventLoop: eventLoop)
        else { return nil }
        defer { client.close() }
        guard let answer = try? await client.request(.status(section: "clients")),
            let fields = try? StatusField.decode(answer)
        else { return nil }
        return HostWorker.list(fields)
    }
}

/// One worker of the host.
struct HostWorker: Equatable {
    var pid: Int
    var hits: Int
    var misses: Int
    /// Hits that the worker's auditor compared, and those that were stale.
    var sampled: Int
    var stale: Int

    /// The clients that report HTTP counters, by process.
    static func list(_ status: [StatusField]) -> [HostWorker] {
        guard case .list(let clients)? = status.first(where: { $0.name == "clients" })?.value else { return [] }
        return clients.compactMap { client in
            guard case .fields(let fields) = client, let pid = fields.number("pid"),
                case .fields(let reported)? = fields.first(where: { $0.name == "reported" })?.value,
                reported.number("http-requests") != nil
            else { return nil }
            return HostWorker(
                pid: pid, hits: reported.number("l1-hits") ?? 0, misses: reported.number("l1-misses") ?? 0,
                sampled: reported.number("audit-sampled") ?? 0, stale: reported.number("audit-stale") ?? 0)
        }.sorted { $0.pid < $1.pid }
    }

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("pid", pid)
            writer.field("hits", hits)
            writer.field("misses", misses)
        }
    }
}

extension [StatusField] {
    fileprivate func number(_ name: String) -> Int? {
        switch first(where: { $0.name == name })?.value {
        case .number(let number)?: Int(clamping: number)
        case .bytes(let bytes)?: Int(String(buffer: bytes))
        default: nil
        }
    }
}
