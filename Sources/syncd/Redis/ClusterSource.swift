import IPCWire
import NIOCore

/// Asks the nodes of a Redis Cluster for the primary of one hash slot.
///
/// In addition to the nodes of the URL, some of those that the last answer named are asked, so that nodes that were
/// replaced one after the other do not strand a host.
final class ClusterSource: PrimarySource {
    private let seeds: [ServerAddress]
    private let slot: Int
    private let login: [ByteBuffer]
    private var learnt: [ServerAddress] = []

    /// Maximum number of nodes that are asked in addition to those of the URL.
    private static let maximumLearnt = 6

    init(_ seeds: ClusterSeeds, slot: Int, user: String?, password: String?) {
        self.seeds = seeds.nodes
        self.slot = slot
        login = password == nil ? [] : [user, password].compactMap { $0.map { ByteBuffer(string: $0) } }
    }

    let noun = "node"
    let movedMessage = "the cluster names another primary"
    var servers: [ServerAddress] { seeds + learnt }

    func found(_ answer: PrimaryAnswer) {
        let unknown = (answer.others + [answer.address]).filter { !seeds.contains($0) }
        learnt = Array(unknown.prefix(Self.maximumLearnt))
    }

    func ask(_ connection: RedisConnection, at server: ServerAddress, answered: @escaping (PrimaryAnswer) -> Void) {
        var owner: ClusterReply.Owner?
        if !login.isEmpty {
            connection.send([.word("AUTH")] + login) { [weak connection] reply in
                if case .error(let text) = reply { connection?.close(ConnectionLoss(redisError: text)) }
            }
        }
        connection.send([.word("CLUSTER"), .word("SLOTS")]) { [weak connection, slot] reply in
            do throws(ConnectionLoss) {
                owner = try ClusterReply.owner(of: slot, in: reply, from: server)
            } catch {
                connection?.close(error)
            }
        }
        connection.send([.word("CLUSTER"), .word("NODES")]) { [weak connection] reply in
            guard let owner, connection?.isClosed == false else { return }
            answered(
                PrimaryAnswer(
                    address: owner.address, configurationEpoch: ClusterReply.epoch(of: owner.id, in: reply),
                    others: owner.others))
        }
    }
}
