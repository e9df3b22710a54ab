import EngineTesting
import IPCWire
import NIOCore
import SyncCore

/// The network between a host and Redis: the times until which a cut delays requests, or replies.
final class Network {
    var requestsHeldUntil: BootTime = 0
    var answersHeldUntil: BootTime = 0
    /// Added to every delay, each way, in ns.
    var slowness: UInt64 = 0

    func heal() { (requestsHeldUntil, answersHeldUntil, slowness) = (0, 0, 0) }
}

/// One Redis server process.
// Unchecked: everything in a simulation runs on its one thread.
final class RedisServer: Process, @unchecked Sendable {
    var data: RedisData
    private(set) var identity: ServerIdentity?
    private(set) var isPrimary = true
    /// The error reply to writes, or to all commands.
    var refusal: Refusal?
    private(set) var subscribers: [ServerConnection] = []
    fileprivate var connections: [ServerConnection] = []
    /// Share of published messages, in percent, that get lost.
    var lostMessages = 0

    enum Refusal {
        /// OOM, MISCONF, NOREPLICAS: reads still work.
        case writes
        /// LOADING, BUSY.
        case everything
        /// `max number of clients reached`: connected clients stay connected.
        case connections
    }

    init(world: World, name: String, data: RedisData, identity: ServerIdentity?) {
        self.data = data
        self.identity = identity
        super.init(world: world, name: name)
    }

    private var milliseconds: UInt64 { world.now.number / 1_000_000 }

    func opened(_ connection: ServerConnection) { connections.append(connection) }

    func isSubscriber(_ connection: ServerConnection) -> Bool { subscribers.contains { $0 === connection } }

    func subscribe(_ connection: ServerConnection) { subscribers.append(connection) }

    func forget(_ connection: ServerConnection) {
        subscribers.removeAll { $0 === connection }
        connections.removeAll { $0 === connection }
    }

    override func died() { dropConnections() }

    /// Closes all connections (CLIENT KILL).
    func dropConnections(where isIncluded: (ServerConnection) -> Bool = { _ in true }) {
        for connection in connections where isIncluded(connection) { connection.closedByServer() }
    }

    /// The server becomes a replica of another server, whose data it takes.
    func demote(to primary: RedisServer) {
        isPrimary = false
        data = primary.data
        if let identity {
            self.identity = ServerIdentity(runID: identity.runID, replicationID: primary.identity?.replicationID ?? "-")
        }
    }

    // MARK: Commands

    func execute(
        _ command: UpstreamCommand, as asker: ServerIdentity?, info: (identity: ServerIdentity?, isPrimary: Bool)
    ) -> RedisData.Execution {
        func failed(_ failure: UpstreamFailure) -> RedisData.Execution { RedisData.Execution(reply: .failed(failure)) }
        if refusal == .everything { return failed(.refused("LOADING")) }
        if refusal == .writes, command.isWrite { return failed(.refused("OOM")) }
        if !isPrimary, command.isWrite { return failed(.wrongRole("READONLY")) }
        if !isPrimary, case .probe = command { return failed(.wrongRole("Redis is a replica (ROLE)")) }
        let execution = data.execute(command, identity: asker, info: info, now: milliseconds)
        if let published = execution.published { publish(published) }
        return execution
    }

    private func publish(_ event: UpstreamEvent) {
        for subscriber in subscribers where world.areFaultsOver || !world.random.percent(lostMessages) {
            subscriber.published(event)
        }
    }
}

extension UpstreamCommand {
    fileprivate var isWrite: Bool {
        switch self {
        case .append, .replace, .set, .feed: true
        default: false
        }
    }
}

/// The servers that hold the log one after the other: the primary, its replica, and a former primary.
// Unchecked: everything in a simulation runs on its one thread.
final class Cluster: @unchecked Sendable {
    private let world: World
    private let plan: Plan
    private(set) var primary: RedisServer
    /// A deposed primary that does not know it yet.
    private(set) var former: RedisServer?
    private var replica: RedisData
    private var number = 1
    /// The time from which all commands of hosts reach the present primary.
    private(set) var splitUntil: BootTime = 0

    init(world: World, plan: Plan) {
        self.world = world
        self.plan = plan
        replica = RedisData()
        primary = RedisServer(
            world: world, name: "redis1", data: RedisData(),
            identity: plan.hidesIdentity ? nil : ServerIdentity(runID: "run1", replicationID: "replid1"))
        primary.lostMessages = plan.lostMessages
        replicate()
    }

    private func replicate() {
        world.after(world.random.number(1_000_000...plan.replicationLag), nil, "replicate") { [self] in
            if primary.isAlive, !primary.isStopped { replica = primary.data }
            replicate()
        }
    }

    private func make(_ data: RedisData) -> RedisServer {
        number += 1
        let server = RedisServer(
            world: world, name: "redis\(number)", data: data,
            identity: plan.hidesIdentity ? nil : ServerIdentity(runID: "run\(number)", replicationID: "replid\(number)")
        )
        server.lostMessages = plan.lostMessages
        return server
    }

    /// Replaces the process by another one, with all of its data, with data saved some time ago, or with none.
    func restart(_ survives: RedisData?) {
        if primary.isAlive { primary.kill() }
        primary = make(survives ?? RedisData())
        replica = primary.data
    }

    var savedData: RedisData { replica }

    /// The replica becomes the primary, with its own data, or with the given ones. The old one is dead, or lives on for
    /// some time.
    func failOver(splitFor duration: UInt64?, with data: RedisData? = nil) {
        let old = primary
        primary = make(data ?? replica)
        guard let duration, old.isAlive else {
            if old.isAlive { old.kill() }
            return
        }
        former?.kill()
        former = old
        splitUntil = world.now + duration
        world.after(duration, nil, "old primary demoted") { [self] in
            old.demote(to: primary)
            if former === old { former = nil }
        }
    }

    /// Number of entries that the replica lacks.
    var lag: Int { max(0, primary.data.entries.count - replica.entries.count) }

    /// Ends all servers except the primary.
    func settle() {
        former?.kill()
        former = nil
    }
}
