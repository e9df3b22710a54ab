import TestSupport

extension FaultStage {
    /// Longer than a write can take to land that nobody waits for: two seconds of a server's time
    /// (docs/consistency.md), for which the server may stand still in between.
    private static let landing = Duration.seconds(8)
    /// Without transactions, the half of a link is taken back when the server did not answer to the other one.
    private static let landingOfHalves = Duration.seconds(16)
    /// Longer than a worker stands still.
    static let patience = Duration.seconds(45)

    /// The result of one of a round's writes.
    private enum Outcome: Sendable {
        case shown
        /// The write has ended, and showed nothing.
        case nothing
        case unknown
    }

    /// Takes a register through its rounds. The next one begins when the last one has happened and nothing of it can
    /// land any more: see ``FaultHistory``.
    func keep(_ key: Int) async {
        var settled = ContinuousClock.now
        while !history.isOver {
            await pause(pace.betweenWrites)
            if history.isAcknowledged(key, round: history.newest(key)) { await wait(until: settled) }
            guard !history.isOver else { return }
            let round = history.roundBegins(key)
            guard await write(key, round) else { continue }
            settled = .now + (areHalvesPossible(registers[key]) ? Self.landingOfHalves : Self.landing)
            guard !history.isAcknowledged(key, round: round) else { continue }
            // Nobody knows what has become of it. Some clients try again, some later, some leave it at that.
            switch Int.random(in: 0..<3) {
            case 0 where pace.calm > .zero:
                await wait { history.isCalm }
                await wait { !history.isCalm }
            case 1 where !areHalvesPossible(registers[key]): await pause(100...1000)
            default: await wait(until: settled)
            }
        }
    }

    /// Takes the register of a user through its rounds as a program does that knows nothing of syncd. Each round has to be
    /// seen by all when the database has had it for some time.
    func keepDirectly(_ key: Int, _ id: String) async {
        while !history.isOver {
            await pause(500...3000)
            guard !history.isOver else { return }
            let round = history.roundBegins(key, isDirect: true)
            do {
                try await database.writeDirectly(id, round: round)
            } catch {
                // The write may land later, and must not land behind the next one.
                history.unknownOutcome()
                await wait(until: .now + Self.landing)
            }
        }
    }

    /// Without transactions, a link that fails half way takes its half back, later, and would take another's along.
    private func areHalvesPossible(_ register: Register) -> Bool {
        if case .friendship = register { database.kind == .standalone } else { false }
    }

    private func wait(_ condition: @Sendable () -> Bool) async {
        while !history.isOver, !condition() { await pause(20...50) }
    }

    private func wait(until time: ContinuousClock.Instant) async { await wait { .now >= time } }

    func pause(_ milliseconds: ClosedRange<Int>) async {
        try? await Task.sleep(for: .milliseconds(Int.random(in: milliseconds)))
    }

    /// Writes a round, through several workers at once.
    ///
    /// - Returns: whether something of it may land later.
    private func write(_ key: Int, _ round: Int) async -> Bool {
        var owner: String?
        if case .name(let name, let owners) = registers[key], round % 2 == 0 {
            if owners[round - 1] == nil { owners[round - 1] = try? await Snapshot(database.users()).id(of: name) }
            owner = owners[round - 1]
            guard owner != nil else { return false }
        }
        let count = areHalvesPossible(registers[key]) ? 1 : [1, 2, 2, 3].randomElement() ?? 1
        return await withTaskGroup(of: Outcome.self) { group in
            for number in 0..<count {
                group.addTask { [owner] in
                    if number > 0, Bool.random() { await pause(0...5) }
                    guard let host = hosts.randomElement(), let worker = host.workers.randomElement() else {
                        return .nothing
                    }
                    return await write(key, round, owner: owner, through: worker, of: host, count: count)
                }
            }
            return await group.reduce(false) { $0 || $1 == .unknown }
        }
    }

    private func write(
        _ key: Int, _ round: Int, owner: String?, through worker: WorkerProcess, of host: Host, count: Int
    ) async -> Outcome {
        let life = history.life(ofWorkerAt: worker.portNumber)
        let begin = ContinuousClock.now
        let request = WriteRequest(registers[key], round, owner: owner)
        do {
            let http = try HTTPConnection(port: worker.portNumber)
            history.flightBegins(at: worker.portNumber)
            defer { history.flightEnds(at: worker.portNumber) }
            let reply = try await http.request(
                request.method, request.path, body: request.body, within: Self.patience)
            onAnswer(.write, ContinuousClock.now - begin)
            if reply.status == 503 {
                history.wasUnavailable()
                return .unknown
            }
            guard let shows = request.answers[reply.status] else {
                history.failed("\(request.name): \(reply.status) \(reply.text)")
                return .nothing
            }
            guard shows else { return .nothing }
            if case .name(_, let owners) = registers[key], reply.status == 201 {
                owners[round] = reply.json["_id"].string
            }
            let source = "\(request.name) \(reply.status)" + (count > 1 ? ", one of several" : "")
            history.acknowledged(key, round: round, on: host.index, by: source)
            // Where an older value is kept, if anywhere.
            if let other = host.workers.filter({ $0.pid != worker.pid }).randomElement() {
                await ask(key, other, host)
            }
            // The client of this write may come to any host next.
            if let position = reply["x-sync-position"], let next = hosts.randomElement(),
                let reader = next.workers.randomElement()
            {
                await ask(key, reader, next, after: Written(round: round, position: position))
            }
            return .shown
        } catch {
            if hasLived(worker, since: life) { history.failed("\(request.name) to a living worker: \(error)") }
            history.unknownOutcome()
            return .unknown
        }
    }

    /// Whether a worker was there all the time: then nothing may fail.
    func hasLived(_ worker: WorkerProcess, since life: Int) -> Bool {
        life % 2 == 0 && history.life(ofWorkerAt: worker.portNumber) == life
    }
}

/// A request that asks for the state of a round.
private struct WriteRequest {
    var name: String
    var method: String
    var path: String
    var body: String?
    /// The answers that may come, and whether they show the round's state.
    var answers: [Int: Bool]

    init(_ register: FaultStage.Register, _ round: Int, owner: String?) {
        switch register {
        case .position(let id), .direct(let id):
            self.init(
                name: "PUT", method: "PUT", path: "/api/users/\(id)", body: #"{"position":{"x":\#(round),"y":0}}"#,
                answers: [200: true])
        case .friendship(let first, let second):
            let (user, friend) = Bool.random() ? (first, second) : (second, first)
            let isLink = round % 2 == 1
            let name = isLink ? "link" : "unlink"
            self.init(
                name: name, method: isLink ? "POST" : "DELETE", path: "/api/users/\(user)/\(name)",
                body: #"{"friendId":"\#(friend)"}"#, answers: [200: true])
        case .name(let name, _):
            guard let owner else {
                self.init(
                    name: "POST", method: "POST", path: "/api/users",
                    body: #"{"username":"\#(name)","age":30,"hobbies":["chess"]}"#, answers: [201: true, 409: true])
                return
            }
            // A change of a user who is being deleted: 404 says that the deletion has happened.
            let isChange = Int.random(in: 0..<4) == 0
            self.init(
                name: isChange ? "PUT of the missing" : "DELETE", method: isChange ? "PUT" : "DELETE",
                path: "/api/users/\(owner)", body: isChange ? #"{"age":31}"# : nil,
                answers: [200: !isChange, 404: true])
        }
    }

    private init(name: String, method: String, path: String, body: String?, answers: [Int: Bool]) {
        self.name = name
        self.method = method
        self.path = path
        self.body = body
        self.answers = answers
    }
}
