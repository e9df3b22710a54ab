import IPCWire
import NIOCore
import SyncCore
import TestSupport
import Testing

@testable import syncd

/// Replies of a cluster's nodes, right and wrong.
@Suite struct ClusterReplyTests {
    private static let asked = ServerAddress(host: "asked", port: 1)

    private static func text(_ text: String) -> RESPValue { .bulkString(ByteBuffer(string: text)) }

    private static func node(_ host: RESPValue, _ port: Int64, _ id: String) -> RESPValue {
        .array([host, .integer(port), text(id), .array([])])
    }

    private static func range(_ first: Int64, _ last: Int64, _ nodes: RESPValue...) -> RESPValue {
        .array([.integer(first), .integer(last)] + nodes)
    }

    private static func owner(_ reply: RESPValue) throws(ConnectionLoss) -> ClusterReply.Owner {
        try ClusterReply.owner(of: 5, in: reply, from: asked)
    }

    @Test func `the primary of the slot, its replicas, and then the other primaries`() throws {
        let owner = try Self.owner(
            .array([
                Self.range(0, 4, Self.node(Self.text("a"), 1, "1")),
                Self.range(5, 5, Self.node(Self.text("b"), 2, "2"), Self.node(Self.text("c"), 3, "3")),
                Self.range(6, 9, Self.node(Self.text("b"), 2, "2"), Self.node(Self.text("c"), 3, "3")),
            ]))
        #expect(owner.address == ServerAddress(host: "b", port: 2))
        #expect(owner.id == ByteBuffer(string: "2"))
        #expect(owner.others == [.init(host: "c", port: 3), .init(host: "a", port: 1)])
    }

    @Test(arguments: [RESPValue.null, .bulkString(ByteBuffer())])
    func `a node without a host has that of the node that was asked`(_ host: RESPValue) throws {
        let owner = try Self.owner(.array([Self.range(0, 9, Self.node(host, 2, "1"))]))
        #expect(owner.address == ServerAddress(host: "asked", port: 2))
    }

    @Test(
        arguments: [
            (.array([]), "no node serves the slot 5"),
            (.array([range(6, 9, node(text("a"), 1, "1"))]), "no node serves the slot 5"),
            (.array([range(9, 0, node(text("a"), 1, "1"))]), "no node serves the slot 5"),
            (.array([range(0, 9, node(text("?"), 1, "1"))]), "no usable address"),
            (.array([range(0, 9, node(text("a b"), 1, "1"))]), "no usable address"),
            (.array([range(0, 9, node(text(String(repeating: "a", count: 256)), 1, "1"))]), "no usable address"),
            (.array([range(0, 9, node(text("a"), 0, "1"))]), "no usable address"),
            (.array([range(0, 9, node(text("a"), -1, "1"))]), "no usable address"),
            (.array([range(0, 9, node(text("a"), 65_536, "1"))]), "no usable address"),
            (.array([range(0, 9, .integer(1))]), "no usable address"),
            (.array([range(0, 9)]), "unexpected"), (.array([.integer(1)]), "unexpected"), (.integer(1), "unexpected"),
            (.null, "unexpected"),
            (
                .error(ByteBuffer(string: "ERR This instance has cluster support disabled")),
                "redis:// for a single server"
            ),
            (.error(ByteBuffer(string: "NOPERM no")), "NOPERM"),
        ] as [(RESPValue, String)])
    func `replies that name no primary`(_ reply: RESPValue, _ reason: String) {
        #expect {
            try Self.owner(reply)
        } throws: { ($0 as? ConnectionLoss)?.reason.contains(reason) == true }
    }

    @Test func `the epoch of a node`() {
        let nodes = Self.text(
            """
            aa 127.0.0.1:1@2,host master - 0 0 7 connected 0-4
            bb 127.0.0.1:1@2 myself,master - 0 0 12 connected 5-9 [5->-aa]
            cc 127.0.0.1:1@2 slave bb 0 0 x connected
            dd short

            """)
        let epochs = ["aa", "bb", "cc", "dd", "ee", ""].map {
            ClusterReply.epoch(of: ByteBuffer(string: $0), in: nodes)
        }
        #expect(epochs == [7, 12, nil, nil, nil, nil])
        #expect(ClusterReply.epoch(of: ByteBuffer(string: "aa"), in: .error(ByteBuffer(string: "NOPERM"))) == nil)
    }

    @Test(
        arguments: [
            ("MOVED 5 b:2", "b", 2), ("MOVED 5 :2", "asked", 2), ("MOVED 5 ::1:2", "::1", 2), ("MOVED 5 ?:2", nil, 0),
            ("MOVED 5 b:0", nil, 0), ("MOVED 5 b", nil, 0), ("MOVED 5", nil, 0), ("ASK 5 b:2", nil, 0), ("", nil, 0),
        ] as [(String, String?, Int)])
    func `the node that MOVED names`(_ text: String, _ host: String?, _ port: Int) {
        let expected = host.map { ServerAddress(host: $0, port: port) }
        #expect(ClusterReply.moved(ByteBuffer(string: text), from: "asked") == expected)
    }

    @Test(arguments: ["message", "smessage"])
    func `an entry may come over the classic and over the sharded channel`(_ kind: String) throws {
        let keys = RedisKeys(namespace: "a")
        #expect(ReplyDecoding.isMessage(ByteBuffer(string: kind)))
        let body = LogEntryBody(
            origin: 1, nonce: 9, eventChannel: nil, tags: [ByteBuffer(string: "users")])
        let payload = "00112233445566778899aabbccddeeff 7 " + String(buffer: body.encoded())
        let parts = [kind, "{a}:log", payload].map { Self.text($0) }
        guard case .published(_, let entry) = ReplyDecoding.message(parts, keys: keys, identity: nil) else {
            throw TestFailure("nothing was published")
        }
        #expect(entry == LogEntry(position: 7, body: body))
    }

    @Test func `an answer is newer if its epoch is, or if there are none`() {
        func answer(_ host: String, _ epoch: UInt64?) -> PrimaryAnswer {
            PrimaryAnswer(address: ServerAddress(host: host, port: 1), configurationEpoch: epoch)
        }
        #expect(answer("b", 2).isNewer(than: answer("a", 1)))
        #expect(answer("b", nil).isNewer(than: answer("a", 1)))
        #expect(!answer("b", 1).isNewer(than: answer("a", 1)))
        #expect(!answer("a", 2).isNewer(than: answer("a", 1)))
    }

    @Test func `nodes that are replaced one after the other do not strand a host`() {
        let seeds = ClusterSeeds(nodes: [ServerAddress(host: "seed", port: 1)])
        let source = ClusterSource(seeds, slot: 5, user: nil, password: nil)
        let others = (0..<20).map { ServerAddress(host: "other\($0)", port: 1) } + seeds.nodes
        source.found(PrimaryAnswer(address: ServerAddress(host: "primary", port: 1), others: Array(others.suffix(3))))
        #expect(source.servers.map(\.host) == ["seed", "other18", "other19", "primary"])
        source.found(PrimaryAnswer(address: ServerAddress(host: "primary", port: 1), others: others))
        #expect(source.servers.count == 7, "bounded")
    }
}
