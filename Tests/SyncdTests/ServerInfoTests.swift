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
        ("100", "allkeys-lfu", 1), ("100", "volatile-lru", 0), ("100", "volatile-ttl", 0),
    ])
    func `settings that endanger the log`(maxmemory: String, policy: String, count: Int) {
        let info = ServerInfo("maxmemory:\(maxmemory)\r\nmaxmemory_policy:\(policy)\r\n")
        #expect(info.warnings.count == count)
        #expect(info.warnings.allSatisfy { $0.contains(policy) && $0.contains("volatile-lru") })
    }
}
