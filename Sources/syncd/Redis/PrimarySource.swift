/// The address of the primary, as a sentinel or a node of a cluster names it.
struct PrimaryAnswer: Sendable, Equatable {
    var address: ServerAddress
    /// A number that grows with every failover, and whenever a slot moves; `nil`: not shown. Of two answers the greater
    /// one is newer.
    var configurationEpoch: UInt64?
    /// Other nodes that the answer names, the most useful first.
    var others: [ServerAddress] = []

    /// Whether the primary moved since `other`. A server that was away for a while still names the old one.
    func isNewer(than other: PrimaryAnswer) -> Bool {
        guard address != other.address else { return false }
        guard let configurationEpoch, let theirs = other.configurationEpoch else { return true }
        return configurationEpoch > theirs
    }
}

/// Servers that know which server is the primary, and the question for it. On one event loop.
protocol PrimarySource: AnyObject {
    /// The name of one of the servers, for messages.
    var noun: String { get }
    /// The line of the log for an answer that names another primary.
    var movedMessage: String { get }
    /// The servers to ask, each of them at the same time.
    var servers: [ServerAddress] { get }

    /// Sends the question over a connection to a server. `answered` is called once, or the connection is closed with the
    /// reason.
    func ask(_ connection: RedisConnection, at server: ServerAddress, answered: @escaping (PrimaryAnswer) -> Void)

    /// The newest answer of a search.
    func found(_ answer: PrimaryAnswer)
}

extension RedisEndpoint {
    /// The servers that name the primary, if it is not this endpoint itself.
    ///
    /// - Parameter slot: the hash slot of the log's keys.
    func primarySource(slot: Int) -> (any PrimarySource)? {
        switch address {
        case .tcp, .unix: nil
        case .sentinel(let group): SentinelSource(group)
        case .cluster(let seeds): ClusterSource(seeds, slot: slot, user: user, password: password)
        }
    }
}
