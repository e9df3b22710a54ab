import IPCWire
import NIOCore

/// The meaning of the replies of a cluster's nodes.
enum ClusterReply {
    /// The node that serves a slot.
    struct Owner: Equatable {
        var address: ServerAddress
        /// The name of the node within the cluster.
        var id: ByteBuffer
        /// Its replicas, one of which would take its place, and then the other primaries.
        var others: [ServerAddress]
    }

    /// Maximum number of other nodes that are kept.
    private static let maximumOthers = 32
    /// The first part of CLUSTER NODES that is read, in bytes: more than a thousand nodes without ranges of slots.
    private static let maximumNodesBytes = 1 << 20

    /// The node that serves a slot, according to CLUSTER SLOTS: for each range `[first, last, primary, replica, …]`, for
    /// each node `[host, port, id, …]`.
    ///
    /// - Throws: the reason why the reply names no node.
    static func owner(
        of slot: Int, in reply: RESPValue, from server: ServerAddress
    ) throws(ConnectionLoss) -> Owner {
        if case .error(let text) = reply {
            if String(buffer: text).contains("cluster support disabled") {
                throw ConnectionLoss("it is no node of a cluster: use redis:// for a single server", isDenied: true)
            }
            throw ConnectionLoss(redisError: text)
        }
        guard case .array(let ranges) = reply else { throw ConnectionLoss("an unexpected reply to CLUSTER SLOTS") }
        var owner: Owner?
        var primaries: [ServerAddress] = []
        for range in ranges {
            guard case .array(let parts) = range, parts.count >= 3, case .integer(let first) = parts[0],
                case .integer(let last) = parts[1]
            else { throw ConnectionLoss("an unexpected reply to CLUSTER SLOTS") }
            let primary = node(parts[2], from: server)
            guard (first...max(first, last)).contains(Int64(slot)) else {
                if let primary, primaries.count < maximumOthers, !primaries.contains(primary.address) {
                    primaries.append(primary.address)
                }
                continue
            }
            guard let primary else { throw ConnectionLoss("it names no usable address of the primary") }
            let replicas = parts[3...].prefix(maximumOthers).compactMap { node($0, from: server)?.address }
            owner = Owner(address: primary.address, id: primary.id, others: replicas)
        }
        guard var owner else { throw ConnectionLoss("no node serves the slot \(slot) of the log") }
        owner.others += primaries.filter { $0 != owner.address && !owner.others.contains($0) }
        return owner
    }

    /// A node in the reply of `server`. A node without a host has that of the node that was asked; `?` is a node whose
    /// host is unknown.
    private static func node(
        _ value: RESPValue, from server: ServerAddress
    ) -> (address: ServerAddress, id: ByteBuffer)? {
        guard case .array(let parts) = value, parts.count >= 3, case .integer(let port) = parts[1],
            let port = UInt64(exactly: port), let id = ReplyDecoding.bulk(parts[2])
        else { return nil }
        var host = ByteBuffer(string: server.host)
        switch parts[0] {
        case .null: break
        case .bulkString(let text): if text.readableBytes > 0 { host = text }
        default: return nil
        }
        return ReplyDecoding.address(host: host, port: port).map { ($0, id) }
    }

    /// The configuration epoch of a node, in the text of CLUSTER NODES: one line for each node, its id first, the epoch
    /// seventh. `nil`: not shown, for example because the command is forbidden.
    static func epoch(of id: ByteBuffer, in reply: RESPValue) -> UInt64? {
        guard let text = ReplyDecoding.bulk(reply), id.readableBytes > 0 else { return nil }
        let bytes = text.readableBytesView.prefix(maximumNodesBytes)
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 7)
            guard fields.count >= 7, fields[0].elementsEqual(id.readableBytesView) else { continue }
            return RedisNumber.digits(ByteBuffer(bytes: fields[6]))
        }
        return nil
    }

    /// The node that `MOVED slot host:port` names; `nil`: another error, or no usable node. The host is that of the node
    /// that answers if it is empty.
    static func moved(_ text: ByteBuffer, from host: String) -> ServerAddress? {
        guard text.readableBytes <= 512 else { return nil }
        let words = String(buffer: text).split(separator: " ")
        guard words.count >= 3, words[0] == "MOVED", let colon = words[2].lastIndex(of: ":"),
            let port = RedisNumber.digits(ByteBuffer(substring: words[2][words[2].index(after: colon)...]))
        else { return nil }
        let named = words[2][..<colon]
        return ReplyDecoding.address(host: ByteBuffer(string: named.isEmpty ? host : String(named)), port: port)
    }
}
