import Foundation
import TestSupport

extension FaultStage {
    /// The faults of the stage.
    enum Fault: String, CaseIterable, Sendable {
        case killSyncd, crashSyncd, stopSyncd, loseSyncd, killWorker, stopWorker, hangWorker
        case replaceJournal, loseJournal, emptyJournal
        case cutRedis, stallRedis, killConnections
        case killRedis, stopRedis, sleepRedis, flushRedis, trimLog, forgetScripts, refuseWrites
        case failOver, cutPrimary, moveSlot
        case stopMongo, killMongo, stepDownMongo, delayMongo, swizzle

        /// Where it is: two of one place at once would undo each other.
        fileprivate enum Place { case host, worker, redis, mongo, everything }

        fileprivate var place: Place {
            switch self {
            case .killSyncd, .crashSyncd, .stopSyncd, .loseSyncd, .killWorker, .stopWorker: .host
            case .replaceJournal, .cutRedis, .stallRedis: .host
            case .delayMongo: .worker
            case .stopMongo, .killMongo, .stepDownMongo: .mongo
            // Nothing else happens meanwhile but to MongoDB: what others must see soon, they can see.
            case .hangWorker, .loseJournal, .emptyJournal: .everything
            default: .redis
            }
        }

        /// Faults that must coincide with others to show anything, and are therefore caused more often.
        fileprivate static func frequent(_ home: LogHome) -> [Fault] {
            [.delayMongo, .delayMongo, .killWorker, .killMongo, .stepDownMongo]
                + (home == .cluster ? [.failOver, .moveSlot, .moveSlot] : [])
        }

        /// The faults that a host can have with this home of the log.
        fileprivate static func possible(_ home: LogHome) -> [Fault] {
            allCases.filter { fault in
                switch (fault, home) {
                case (.swizzle, _): true
                case (.cutRedis, _), (.stallRedis, _): home == .redis
                case (.failOver, _), (.cutPrimary, _), (.moveSlot, _): home == .cluster
                default: home != .embedded || fault.place != .redis
                }
            }
        }

        /// Whether a process of ours ends by it.
        fileprivate var isDeadly: Bool { [.killSyncd, .crashSyncd, .loseSyncd, .killWorker].contains(self) }

        /// The hosts that the fault prevents from telling others of writes.
        fileprivate func scope(_ host: Host) -> FaultHistory.Scope {
            switch self {
            case .hangWorker, .delayMongo, .stopMongo, .killMongo, .stepDownMongo, .killWorker, .stopWorker: .nobody
            case .loseJournal, .emptyJournal: .host(host.index)
            default: place == .host ? .host(host.index) : .everybody
            }
        }
    }

    /// One thing after the other fails until the history is over.
    func harm() async throws {
        while !history.isOver {
            await chance.pause(pace.betweenHarms)
            if history.isCalm {
                await chance.pause(50...50)
                continue
            }
            let fault = chance.element(Fault.possible(pace.home) + Fault.frequent(pace.home))
            let host = chance.element(Array(hosts[(fault.isDeadly ? pace.firstMortalHost : 0)...]))
            let worker = chance.number(0...host.workers.count - 1)
            try await take(places(of: fault, host, worker)) {
                guard !history.isCalm else { return }
                let scope = fault.scope(host)
                history.faultBegan(fault.rawValue, scope)
                onFault(fault)
                try await cause(fault, host, worker)
                history.faultEnded(scope)
            }
        }
    }

    /// Always in the same order, so that nobody waits for each other.
    private func places(of fault: Fault, _ host: Host, _ worker: Int) -> [String] {
        switch fault.place {
        case .host: ["\(host.index)"]
        case .worker: ["\(host.index).\(worker)"]
        case .redis: ["redis"]
        case .mongo: ["mongo"]
        case .everything: ["redis"] + hosts.map { "\($0.index)" }
        }
    }

    func take(_ places: [String], _ body: @escaping @Sendable () async throws -> Void) async throws {
        guard let first = places.first else { return try await body() }
        try await turns.run(first) { try await take(Array(places.dropFirst()), body) }
    }

    /// One at a time in each place.
    actor Turns {
        private var last: [String: Task<Void, any Error>] = [:]

        func run(_ place: String, _ body: @escaping @Sendable () async throws -> Void) async throws {
            let before = last[place]
            let task = Task {
                _ = await before?.result
                try await body()
            }
            last[place] = task
            try await task.value
        }
    }

    /// Returns when it is over.
    private func cause(_ fault: Fault, _ host: Host, _ number: Int) async throws {
        let worker = host.workers[number]
        switch fault {
        case .killSyncd:
            host.syncd.kill()
            await chance.pause(0...2500)
            try await host.syncd.start()
        case .loseSyncd:
            // Longer than its last heartbeat is trusted.
            host.syncd.kill()
            await pauseUnlessCalm(2500...8000)
            try await host.syncd.start()
        case .crashSyncd:
            // The signals of a failed precondition in Swift.
            host.syncd.child.signal(chance.element([SIGILL, SIGTRAP, SIGABRT]))
            await chance.pause(0...2500)
            try await host.syncd.start()
        case .stopSyncd:
            host.syncd.pause()
            await chance.pause(200...3000)
            host.syncd.resume()
        case .killWorker:
            await aim(at: worker)
            history.lifeChanged(ofWorkerAt: worker.portNumber)
            worker.kill()
            await chance.pause(0...500)
            try await worker.restart()
            history.lifeChanged(ofWorkerAt: worker.portNumber)
        case .stopWorker:
            worker.pause()
            await chance.pause(200...3000)
            worker.resume()
        case .hangWorker:
            await aim(at: worker)
            worker.pause()
            await pauseUnlessCalm(5000...20_000)
            worker.resume()
        case .cutRedis:
            try await host.proxy?.cut()
            await chance.pause(100...3000)
            host.proxy?.heal()
        case .stallRedis:
            host.proxy?.stall()
            await chance.pause(100...4000)
            try await host.proxy?.resume()
        case .delayMongo:
            if chance.bool() { await aim(at: worker) }
            host.ways[number].hold()
            await pauseUnlessCalm(3000...20_000)
            try await host.ways[number].release()
        case .replaceJournal, .loseJournal, .emptyJournal: try await harmJournal(fault, host)
        case .stopMongo, .killMongo, .stepDownMongo: try await harmMongo(fault)
        case .swizzle: try await swizzle()
        default:
            if let redis { try await harm(redis, fault) }
            if let cluster { try await harm(cluster, fault) }
        }
    }

    /// Waits until a worker is in the middle of a write, if it ever is: most of what can go wrong with a process goes
    /// wrong there.
    private func aim(at worker: WorkerProcess) async {
        let deadline = ContinuousClock.now + .milliseconds(1000)
        while !history.isFlying(at: worker.portNumber), .now < deadline { await chance.pause(1...1) }
        await chance.pause(0...8)
    }

    private func pauseUnlessCalm(_ milliseconds: ClosedRange<Int>) async {
        let end = ContinuousClock.now + .milliseconds(chance.number(milliseconds))
        while !history.isCalm, .now < end { try? await Task.sleep(for: .milliseconds(50)) }
    }
}
