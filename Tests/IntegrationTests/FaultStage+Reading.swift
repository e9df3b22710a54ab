import TestSupport

extension FaultStage {
    /// Reads through one worker until the history is over.
    func read(_ worker: WorkerProcess, _ host: Host) async {
        var connection: (http: HTTPConnection, life: Int)?
        while !history.isOver {
            let life = history.life(ofWorkerAt: worker.portNumber)
            do {
                // Now and then a new one, as browsers come and go.
                if connection == nil || connection?.life != life || Int.random(in: 0..<100) == 0 {
                    connection = (try HTTPConnection(port: worker.portNumber), life)
                }
                guard let http = connection?.http else { continue }
                if Int.random(in: 0..<8) == 0 {
                    try await readList(http, worker, host)
                } else {
                    try await read(Int.random(in: 0..<registers.count), http, worker, host)
                }
            } catch {
                connection = nil
                if hasLived(worker, since: life) { history.failed("GET from a living worker: \(error)") }
                await pause(10...50)
            }
            await pause(pace.betweenReads)
        }
    }

    /// An acknowledged write, and the position in its response.
    struct Written {
        var round: Int
        var position: String
    }

    /// Reads one register through another worker than the one that was just written through.
    ///
    /// - Parameter written: the write whose position the read brings.
    func ask(_ key: Int, _ worker: WorkerProcess, _ host: Host, after written: Written? = nil) async {
        let life = history.life(ofWorkerAt: worker.portNumber)
        do {
            try await read(key, try HTTPConnection(port: worker.portNumber), worker, host, after: written)
        } catch {
            if hasLived(worker, since: life) { history.failed("GET from a living worker: \(error)") }
        }
    }

    /// Reads one register by its user.
    private func read(
        _ key: Int, _ http: HTTPConnection, _ worker: WorkerProcess, _ host: Host, after written: Written? = nil
    ) async throws {
        guard let path = registers[key].path(round: history.newest(key)) else { return }
        let read = history.readBegins([key], on: host.index, after: written?.round ?? 0)
        let reply = try await answer(to: path, http, after: written?.position)
        guard let reply else { return }
        guard let shown = registers[key].shown(by: reply, path: path) else {
            return history.failed("GET \(path): \(reply.status) \(reply.text)")
        }
        history.answered(read, from: reply.cache ?? "-")
        history.showed(read, key, shown, from: reply.cache ?? "-", worker: "worker \(worker.pid)")
    }

    /// Reads all registers at once.
    private func readList(_ http: HTTPConnection, _ worker: WorkerProcess, _ host: Host) async throws {
        let read = history.readBegins(Array(registers.indices), on: host.index)
        guard let reply = try await answer(to: "/api/users", http) else { return }
        guard reply.status == 200, let users = reply.json.array else {
            return history.failed("GET /api/users: \(reply.status) \(reply.text)")
        }
        history.answered(read, from: reply.cache ?? "-")
        for (key, register) in registers.enumerated() {
            guard let shown = register.shown(in: users) else { continue }
            history.showed(read, key, shown, from: "\(reply.cache ?? "-") (list)", worker: "worker \(worker.pid)")
        }
    }

    /// - Returns: `nil` while the database is away.
    private func answer(
        to path: String, _ http: HTTPConnection, after position: String? = nil
    ) async throws -> HTTPReply? {
        let begin = ContinuousClock.now
        let headers = position.map { [("X-Sync-After", $0)] } ?? []
        let reply = try await http.request("GET", path, headers: headers, within: Self.patience)
        onAnswer(.read, ContinuousClock.now - begin)
        guard reply.status == 503 else { return reply }
        history.wasUnavailable()
        return nil
    }

    // MARK: The database itself

    /// Looks into the database every second: what it has, all have to see in the end, whether anybody was told or not.
    func observe() async {
        while !history.isOver {
            let before = registers.indices.map { history.newest($0) }
            if let users = try? await database.users() {
                let state = Snapshot(users)
                for key in registers.indices where history.newest(key) == before[key] {
                    guard let round = state.round(of: registers[key], newest: before[key]) else { continue }
                    history.observed(key, round: round)
                }
            }
            await pause(800...1200)
            for host in hosts where !history.isHarmed(host.index) && !host.syncd.child.isRunning {
                // A fault may have begun just now.
                guard !history.isHarmed(host.index) else { continue }
                history.failed("syncd of host \(host.index) ended by itself: \(host.syncd.log.suffix(3000))")
                try? await host.syncd.start()
            }
        }
    }
}
