import Foundation
import IPCWire
import NIOCore

/// A real Redis Cluster: three primaries and a replica for each of them.
package final class RedisCluster: Sendable {
    /// The first three are primaries at first, the others their replicas in the same order.
    package let nodes: [RedisServer]
    private let ids: [String]
    private let bus: ClusterBus
    private let busPorts: [ReservedPort]

    /// Time after which a silent node counts as failed, in milliseconds.
    private static let nodeTimeout = 1500
    private static let primaryCount = 3
    private static let slotCount = 16_384

    /// Starts the nodes, and waits until each of them knows all others and all slots are served.
    ///
    /// - Parameter options: further options of each server.
    package init(_ options: [String] = []) async throws {
        let busPorts = try (0..<2 * Self.primaryCount).map { _ in try ReservedPort() }
        let bus = try await ClusterBus(to: busPorts.map(\.number))
        self.busPorts = busPorts
        self.bus = bus
        nodes = try await withThrowingTaskGroup { group in
            for index in busPorts.indices {
                let words =
                    Self.options(index, port: busPorts[index].number, announced: bus.portNumber(index)) + options
                group.addTask { (index, try await RedisServer(words)) }
            }
            return try await group.reduce(into: []) { $0.append($1) }.sorted { $0.0 < $1.0 }.map(\.1)
        }
        var ids: [String] = []
        for node in nodes { ids.append(try await node.command("CLUSTER", "MYID").string ?? "") }
        self.ids = ids
        try await join()
    }

    private static func options(_ index: Int, port: Int, announced: Int) -> [String] {
        [
            "--cluster-enabled", "yes", "--cluster-node-timeout", "\(nodeTimeout)", "--cluster-port", "\(port)",
            "--cluster-announce-bus-port", "\(announced)", "--cluster-announce-ip", "127.0.0.1",
            "--bind-source-addr", ClusterBus.source(index), "--protected-mode", "no",
            "--cluster-allow-replica-migration", "no",
            "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
            "--cluster-replica-validity-factor", "0",
        ]
    }

    // MARK: Making it

    private func join() async throws {
        for (index, node) in nodes.enumerated() {
            try await expectOK(node, "CLUSTER", "SET-CONFIG-EPOCH", "\(index + 1)")
        }
        for index in 0..<Self.primaryCount {
            let (first, next) = (Self.slotCount * index / 3, Self.slotCount * (index + 1) / 3)
            try await expectOK(nodes[index], "CLUSTER", "ADDSLOTSRANGE", "\(first)", "\(next - 1)")
        }
        for index in nodes.indices.dropFirst() {
            try await expectOK(
                nodes[0], "CLUSTER", "MEET", "127.0.0.1", "\(nodes[index].portNumber)", "\(bus.portNumber(index))")
        }
        try await waitUntil("each node knows the others") { node in
            try await self.info(node)["cluster_known_nodes"] == "\(self.nodes.count)"
        }
        for index in Self.primaryCount..<nodes.count {
            try await wait("\(index) is a replica") {
                let reply = try await self.nodes[index].command(
                    "CLUSTER", "REPLICATE", self.ids[index - Self.primaryCount])
                return reply.string == "OK"
            }
        }
        try await waitUntilWell()
    }

    private func expectOK(_ node: RedisServer, _ words: String...) async throws {
        let reply = try await node.connect().command(words.map { ByteBuffer(string: $0) })
        guard reply.string == "OK" else { throw TestFailure("\(words.joined(separator: " ")): \(reply)") }
    }

    /// Waits until every node is there, all of them agree on the slots' primaries, and every replica is up to date.
    ///
    /// - Parameter isComplete: whether each node has to be a primary with slots, or a known replica of one. A slot that
    ///   moves to a node during its failover stays there, and leaves a primary without a replica.
    package func waitUntilWell(isComplete: Bool = true) async throws {
        try await waitUntil("the cluster is well") { node in
            let info = try await self.info(node)
            guard info["cluster_state"] == "ok", info["cluster_known_nodes"] == "\(self.nodes.count)" else {
                return false
            }
            let replication = try await node.command("INFO", "replication").string ?? ""
            guard replication.contains("role:master") || replication.contains("master_link_status:up") else {
                return false
            }
            let ranges = try await node.command("CLUSTER", "SLOTS").elements ?? []
            let first = try await self.nodes[0].command("CLUSTER", "SLOTS").elements ?? []
            func owners(_ ranges: [RESPValue]) -> [[String]] {
                ranges.map { range in
                    let parts = range.elements ?? []
                    return parts.prefix(2).map { "\($0.number ?? -1)" } + [parts[2].elements?[2].string ?? ""]
                }
            }
            // Every replica is in the list of its primary.
            let known = Set(ranges.flatMap { $0.elements?.dropFirst(2).map { $0.elements?[2].string } ?? [] })
            return owners(ranges) == owners(first) && (!isComplete || known.count == self.nodes.count)
        }
    }

    private func waitUntil(_ what: String, _ condition: @escaping (RedisServer) async throws -> Bool) async throws {
        for (index, node) in nodes.enumerated() {
            try await wait("\(what) (\(index))") { try await condition(node) }
        }
    }

    private func wait(_ what: String, _ condition: () async throws -> Bool) async throws {
        let deadline = PatientClock.now + .seconds(40)
        while PatientClock.now < deadline {
            if (try? await condition()) == true { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw TestFailure("not in time: \(what)\n\(log)")
    }

    private func info(_ node: RedisServer) async throws -> [String: String] {
        let text = try await node.command("CLUSTER", "INFO").string ?? ""
        let pairs = text.split(whereSeparator: \.isNewline).map { $0.split(separator: ":") }
        return Dictionary(uniqueKeysWithValues: pairs.filter { $0.count == 2 }.map { (String($0[0]), String($0[1])) })
    }

    // MARK: Where it is

    /// REDIS_URL with these nodes.
    package func url(_ indices: [Int]) -> String {
        "redis+cluster://" + indices.map { "127.0.0.1:\(nodes[$0].portNumber)" }.joined(separator: ",") + "/"
    }
    /// REDIS_URL with all nodes.
    package var url: String { url(Array(nodes.indices)) }
    package var log: String { nodes.map(\.log).joined(separator: "\n") }

    /// The hash slot of a namespace's keys.
    package func slot(_ namespace: String = "syncd") async throws -> Int {
        for node in nodes {
            if let slot = try? await node.command("CLUSTER", "KEYSLOT", "{\(namespace)}:").number { return slot }
        }
        throw TestFailure("no node answers")
    }

    /// The node that serves a slot, according to the newest of the nodes that answer.
    package func primary(of slot: Int) async throws -> Int {
        var best: (epoch: Int, node: Int)?
        for node in nodes {
            guard let socket = try? node.connect(),
                let text = try? await socket.command("CLUSTER", "NODES", within: .milliseconds(300)).string
            else { continue }
            for line in text.split(separator: "\n") {
                let fields = line.split(separator: " ")
                guard fields.count > 8, let index = ids.firstIndex(of: String(fields[0])), let epoch = Int(fields[6]),
                    fields[8...].contains(where: { Self.range($0)?.contains(slot) == true })
                else { continue }
                if epoch > best?.epoch ?? -1 { best = (epoch, index) }
            }
        }
        guard let best else { throw TestFailure("nobody serves slot \(slot)\n\(log)") }
        return best.node
    }

    /// All primaries, according to the first node that answers.
    package func primaries() async throws -> [Int] {
        for node in nodes {
            guard let socket = try? node.connect(),
                let ranges = try? await socket.command("CLUSTER", "SLOTS", within: .milliseconds(300)).elements
            else { continue }
            let owners = Set(ranges.compactMap { $0.elements?[2].elements?[2].string })
            return ids.indices.filter { owners.contains(ids[$0]) }
        }
        throw TestFailure("no node answers")
    }

    private static func range(_ text: Substring) -> ClosedRange<Int>? {
        let numbers = text.split(separator: "-").compactMap { Int($0) }
        guard let first = numbers.first, let last = numbers.last, first <= last else { return nil }
        return first...last
    }

    // MARK: Harming it

    /// The replicas of a node.
    package func replicas(of node: Int) async throws -> [Int] {
        for asked in nodes where asked !== nodes[node] {
            guard let socket = try? asked.connect(),
                let text = try? await socket.command("CLUSTER", "NODES", within: .milliseconds(300)).string
            else { continue }
            return text.split(separator: "\n").compactMap { line in
                let fields = line.split(separator: " ")
                return fields.count > 3 && fields[3] == ids[node] ? ids.firstIndex(of: String(fields[0])) : nil
            }
        }
        return []
    }

    /// Asks a replica of the slot's primary to take its place, and waits until it has. A primary without a replica
    /// stays.
    package func failOver(slot: Int) async throws {
        guard let replica = try await replicas(of: primary(of: slot)).first else { return }
        let reply = try await nodes[replica].command("CLUSTER", "FAILOVER")
        guard reply.string == "OK" else { throw TestFailure("CLUSTER FAILOVER: \(reply)") }
        // After 5 s, an attempt has failed. The replica may repeat its election for twice the node time-out.
        let deadline = PatientClock.now + .seconds(10)
        while try await primary(of: slot) != replica, PatientClock.now < deadline {
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Cuts a node off from all others, whose clients still reach it.
    package func cutOff(_ node: Int) { bus.cut([node]) }
    /// Ends what ``cutOff(_:)`` began.
    package func heal() { bus.cut([]) }

    /// Begins the move of a slot to another primary: its keys are still where they were.
    package func beginMove(slot: Int, to target: Int) async throws {
        let source = try await primary(of: slot)
        try await expectOK(nodes[target], "CLUSTER", "SETSLOT", "\(slot)", "IMPORTING", ids[source])
        try await expectOK(nodes[source], "CLUSTER", "SETSLOT", "\(slot)", "MIGRATING", ids[target])
    }

    /// Moves a slot to another primary with all its keys, as `redis-cli --cluster reshard` does.
    ///
    /// - Parameter pause: time in the middle of the move, when some keys are at the one node and some at the other.
    /// - Returns: whether it has moved; `false`: a failover has ended the move, and keys are at both nodes.
    @discardableResult
    package func move(slot: Int, to target: Int, pause: Duration = .zero) async throws -> Bool {
        let source = try await primary(of: slot)
        guard source != target else { return true }
        do {
            try await move(slot: slot, from: source, to: target, pause: pause)
            return true
        } catch {
            let present = try await primary(of: slot)
            if present == target { return true }
            guard present != source else { throw error }
            for node in [source, target, present] {
                _ = try? await nodes[node].command("CLUSTER", "SETSLOT", "\(slot)", "STABLE")
            }
            return false
        }
    }

    private func move(slot: Int, from source: Int, to target: Int, pause: Duration) async throws {
        let (from, to) = (nodes[source], nodes[target])
        try await beginMove(slot: slot, to: target)
        var isFirst = true
        while true {
            let keys = try await from.command("CLUSTER", "GETKEYSINSLOT", "\(slot)", isFirst ? "1" : "10")
            let names = keys.elements?.compactMap(\.string) ?? []
            if names.isEmpty { break }
            let words = ["MIGRATE", "127.0.0.1", "\(to.portNumber)", "", "0", "2000", "REPLACE", "KEYS"] + names
            let reply = try await from.connect().command(words.map { ByteBuffer(string: $0) })
            // A key may have expired meanwhile.
            guard ["OK", "NOKEY"].contains(reply.string) else { throw TestFailure("MIGRATE: \(reply)") }
            if isFirst { try await Task.sleep(for: pause) }
            isFirst = false
        }
        // The target first: it knows from then on, and tells the others.
        try await expectOK(to, "CLUSTER", "SETSLOT", "\(slot)", "NODE", ids[target])
        try await expectOK(from, "CLUSTER", "SETSLOT", "\(slot)", "NODE", ids[target])
    }
}
