import Foundation
import TestSupport

/// Faults of Redis, of MongoDB, and of several things at once.
extension FaultStage {
    // MARK: Redis

    func harm(_ redis: RedisServer, _ fault: Fault) async throws {
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

    /// The primary of the log's slot has the faults of a server, and there are some of a cluster alone. Afterwards, all
    /// nodes agree again.
    func harm(_ cluster: RedisCluster, _ fault: Fault) async throws {
        let slot = try await cluster.slot()
        let primary = try await cluster.primary(of: slot)
        switch fault {
        case .failOver: try await cluster.failOver(slot: slot)
        case .cutPrimary:
            cluster.cutOff(primary)
            await chance.pause(200...5000)
            cluster.heal()
        case .moveSlot:
            let others = try await cluster.primaries().filter { $0 != primary }
            try await cluster.move(slot: slot, to: chance.element(others), pause: .milliseconds(chance.number(0...800)))
        case .killRedis where chance.bool():
            // Long enough for its replica to take its place.
            cluster.nodes[primary].kill()
            await chance.pause(2000...5000)
            try await cluster.nodes[primary].start()
        default: try await harm(cluster.nodes[primary], fault)
        }
        try await cluster.waitUntilWell(isComplete: false)
    }

    // MARK: MongoDB

    func harmMongo(_ fault: Fault) async throws {
        let server = chance.element(database.servers)
        switch fault {
        case .stopMongo:
            await database.pause(server)
            await chance.pause(100...2500)
            try await database.resume(server)
        case .killMongo:
            // By itself a server may lose what it acknowledged in its last 100 ms: it writes no journal for each write.
            guard database.kind == .setOfThree else { return }
            server.kill()
            await chance.pause(0...3000)
            try await server.startMember()
        case .stepDownMongo:
            guard database.kind != .standalone else { return }
            // The only member of a set becomes primary again by itself.
            try await database.stepDown(for: 1)
            await chance.pause(1000...3000)
        default: throw TestFailure("\(fault) is not of MongoDB")
        }
    }

    // MARK: Swizzle-clog

    /// Something that stands still and goes on.
    private struct Link: Sendable {
        var clog: @Sendable () async -> Void
        var heal: @Sendable () async throws -> Void
    }

    private var links: [Link] {
        var links: [Link] = []
        for server in [redis].compactMap(\.self) + (cluster?.nodes ?? []) {
            links.append(Link(clog: { server.pause() }, heal: { server.resume() }))
        }
        for server in database.servers {
            links.append(
                Link(clog: { await database.pause(server) }, heal: { try await database.resume(server) }))
        }
        for host in hosts {
            if let proxy = host.proxy {
                links.append(Link(clog: { proxy.stall() }, heal: { try await proxy.resume() }))
            }
            links.append(Link(clog: { host.syncd.pause() }, heal: { host.syncd.resume() }))
            for worker in host.workers { links.append(Link(clog: { worker.pause() }, heal: { worker.resume() })) }
        }
        return links
    }

    /// Some links stand still, one after the other, and go on in another order: what FoundationDB found to bring
    /// about more than other faults.
    func swizzle() async throws {
        // This fault takes the turns of all places.
        try await take(hosts.map { "\($0.index)" } + ["mongo"]) {
            let some = chance.shuffled(links).prefix(chance.number(2...5))
            for link in some {
                await link.clog()
                await chance.pause(0...400)
            }
            for link in chance.shuffled(Array(some)) {
                try await link.heal()
                await chance.pause(0...400)
            }
            try await cluster?.waitUntilWell(isComplete: false)
        }
    }
}
