import NIOCore
import SyncCore
import Testing

@testable import syncd

@Suite struct ServerInfoTests {
    private let plain = """
        # Server\r
        redis_version:7.0.15\r
        run_id:aaaa\r
        # Replication\r
        role:master\r
        master_replid:bbbb\r

        """

    @Test func `a primary`() {
        let info = ServerInfo(plain)
        #expect(info.identity == ServerIdentity(runID: "aaaa", replicationID: "bbbb"))
        #expect(info.version == "7.0.15")
        #expect(info.isPrimary)
        #expect(info.warnings.isEmpty)
    }

    @Test func `line ends of all kinds`() {
        #expect(ServerInfo(plain.replacing("\r\n", with: "\n")) == ServerInfo(plain))
        #expect(ServerInfo(plain + "\r\n\r\n") == ServerInfo(plain))
    }

    @Test(arguments: [
        "", "nonsense", "run_id:aaaa\r\n", "run_id:\r\nmaster_replid:b\r\n", "run_id:a a\r\nmaster_replid:b",
    ])
    func `a server that doesn't show what it is`(text: String) {
        #expect(ServerInfo(text).identity == nil)
        #expect(ServerInfo(text).isPrimary, "nothing says otherwise")
    }

    @Test func `the first of two counts`() {
        #expect(ServerInfo("run_id:cccc\r\n" + plain).identity?.runID == "cccc")
    }

    @Test func `what comes after 256 KiB is not looked at`() {
        let filler = String(repeating: "a:b\r\n", count: 60_000)
        #expect(ServerInfo(ByteBuffer(string: plain + filler)) == ServerInfo(plain))
        #expect(ServerInfo(ByteBuffer(string: filler + plain)).identity == nil)
    }

    @Test func `a replica`() { #expect(!ServerInfo(plain.replacing("master\r\n", with: "slave\r\n")).isPrimary) }

    @Test func `Valkey`() {
        let info = ServerInfo("server_name:valkey\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\n")
        #expect(info.version == "valkey 8.0.1")
    }

    @Test(arguments: [
        ("0", "noeviction", 0), ("0", "allkeys-lru", 0), ("100", "noeviction", 1), ("100", "allkeys-random", 1),
        ("100", "allkeys-lfu", 1), ("100", "volatile-lru", 0), ("100", "volatile-ttl", 0), ("100", "oldest-first", 1),
        ("0", "oldest-first", 1), ("100", "noeviction-at-all", 1),
    ])
    func `settings that endanger the log`(maxmemory: String, policy: String, count: Int) {
        let info = ServerInfo("maxmemory:\(maxmemory)\r\nmaxmemory_policy:\(policy)\r\n")
        #expect(info.warnings.count == count)
        #expect(info.warnings.allSatisfy { $0.contains(policy) && $0.contains("volatile-lru") })
    }

    @Test(arguments: [(8, 10, 0), (9, 10, 1), (10, 10, 1), (8999, 10_000, 0), (9000, 10_000, 1), (5, 0, 0)])
    func `connections that are nearly all in use`(connected: Int, limit: Int, count: Int) {
        let info = ServerInfo("connected_clients:\(connected)\r\nmaxclients:\(limit)\r\n")
        #expect(info.warnings.count == count)
        let next = ServerInfo("connected_clients:\(connected + 1)\r\nmaxclients:\(limit)\r\n")
        #expect(count == 0 || info.warnings == next.warnings, "a text that changes would be logged again and again")
    }

    @Test func `a node of a cluster`() {
        #expect(ServerInfo("cluster_enabled:1\r\n").isClusterNode)
        #expect(!ServerInfo("cluster_enabled:0\r\n").isClusterNode && !ServerInfo(plain).isClusterNode)
    }
}
