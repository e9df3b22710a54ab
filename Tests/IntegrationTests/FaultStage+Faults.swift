import Foundation
import TestSupport

extension FaultStage {
    /// What can go wrong.
    enum Fault: String, CaseIterable, Sendable {
        case killSyncd, crashSyncd, stopSyncd, killWorker, stopWorker
        case cutRedis, stallRedis, killConnections
        case killRedis, stopRedis, sleepRedis, flushRedis, trimLog, forgetScripts, refuseWrites
        case stopMongo, stepDownMongo, swizzle

        /// Whether it is of one host.
        var isLocal: Bool {
            switch self {
            case .killSyncd, .crashSyncd, .stopSyncd, .killWorker, .stopWorker, .cutRedis, .stallRedis: true
            default: false
            }
        }

        /// Whether a process of ours ends by it.
        var isDeadly: Bool { [.killSyncd, .crashSyncd, .killWorker].contains(self) }
    }

    /// One thing after the other fails until the history is over.
    func harm() async throws {
        while !history.isOver {
            await chance.pause(pace.betweenHarms)
            guard !history.isOver else { return }
            let fault = chance.element(Fault.allCases)
            let host = chance.element(Array(hosts[(fault.isDeadly ? pace.firstMortalHost : 0)...]))
            let place = fault.isLocal ? host.index : nil
            history.faultBegan(fault.rawValue, host: place)
            onFault(fault)
            // Two of one kind in one place at once would undo each other.
            try await turns.run(fault.isLocal ? "\(host.index)" : "shared") { try await cause(fault, host) }
            history.faultEnded(host: place)
        }
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
    private func cause(_ fault: Fault, _ host: Host) async throws {
        switch fault {
        case .killSyncd:
            host.syncd.kill()
            await chance.pause(0...2500)
            try await host.syncd.start()
        case .crashSyncd:
            // What a failed precondition in Swift sends.
            host.syncd.child.signal(chance.element([SIGILL, SIGTRAP, SIGABRT]))
            await chance.pause(0...2500)
            try await host.syncd.start()
        case .stopSyncd:
            host.syncd.pause()
            await chance.pause(200...3000)
            host.syncd.resume()
        case .killWorker:
            let worker = chance.element(host.workers)
            history.lifeChanged(ofWorkerAt: worker.portNumber)
            worker.kill()
            await chance.pause(0...500)
            try await worker.restart()
            history.lifeChanged(ofWorkerAt: worker.portNumber)
        case .stopWorker:
            let worker = chance.element(host.workers)
            worker.pause()
            await chance.pause(200...3000)
            worker.resume()
        case .cutRedis:
            try await host.proxy.cut()
            await chance.pause(100...3000)
            host.proxy.heal()
        case .stallRedis:
            host.proxy.stall()
            await chance.pause(100...4000)
            try await host.proxy.resume()
        case .stopMongo:
            mongo.pause()
            await chance.pause(100...2500)
            mongo.resume()
        case .stepDownMongo:
            // It is the only member: it becomes primary again by itself.
            _ = try? await mongo.command(["replSetStepDown": 1, "force": true])
            await chance.pause(1000...3000)
        case .swizzle: try await swizzle()
        default: try await harmRedis(fault)
        }
    }

    private func harmRedis(_ fault: Fault) async throws {
        switch fault {
        case .killConnections:
            _ = try? await redis.command("CLIENT", "KILL", "TYPE", chance.bool() ? "normal" : "pubsub")
        case .killRedis:
            if chance.bool() { _ = try? await redis.command("SAVE") }
            await chance.pause(0...200)
            redis.kill()
            await chance.pause(0...1500)
            try await redis.start()
        case .stopRedis:
            redis.pause()
            await chance.pause(200...3500)
            redis.resume()
        case .sleepRedis: _ = try? await redis.command("DEBUG", "SLEEP", "1")
        case .flushRedis: _ = try? await redis.command("FLUSHALL")
        case .trimLog: _ = try? await redis.command("XTRIM", "{syncd}:stream", "MAXLEN", "\(chance.number(0...3))")
        case .forgetScripts: _ = try? await redis.command("SCRIPT", "FLUSH")
        case .refuseWrites:
            _ = try? await redis.command("CONFIG", "SET", "maxmemory", "1")
            await chance.pause(200...2000)
            _ = try? await redis.command("CONFIG", "SET", "maxmemory", "0")
        default: throw TestFailure("\(fault) is not of Redis")
        }
    }

    // MARK: Swizzle-clog

    /// Something that stands still and goes on.
    private struct Link: Sendable {
        var clog: @Sendable () -> Void
        var heal: @Sendable () async throws -> Void
    }

    private var links: [Link] {
        var links = [
            Link(clog: { redis.pause() }, heal: { redis.resume() }),
            Link(clog: { mongo.pause() }, heal: { mongo.resume() }),
        ]
        for host in hosts {
            links.append(Link(clog: { host.proxy.stall() }, heal: { try await host.proxy.resume() }))
            links.append(Link(clog: { host.syncd.pause() }, heal: { host.syncd.resume() }))
            for worker in host.workers { links.append(Link(clog: { worker.pause() }, heal: { worker.resume() })) }
        }
        return links
    }

    /// Some links stand still, one after the other, and go on in another order: what FoundationDB found to bring
    /// about more than other faults.
    private func swizzle() async throws {
        // It has the hosts' turn, too: always taken in the same order, so nobody waits for each other.
        try await turns.run("0") {
            try await turns.run("1") {
                let some = chance.shuffled(links).prefix(chance.number(2...5))
                for link in some {
                    link.clog()
                    await chance.pause(0...400)
                }
                for link in chance.shuffled(Array(some)) {
                    try await link.heal()
                    await chance.pause(0...400)
                }
            }
        }
    }
}
