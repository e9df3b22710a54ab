import ProcessSupport
import SyncCore
import Testing

@testable import syncd

@Suite struct ConfigurationTests {
    private func read(_ environment: [String: String]) throws -> DaemonConfiguration {
        try SyncdConfiguration.read(
            Settings(commandLine: [:], configFile: nil, environment: environment, workingDirectory: "/nowhere"),
            sockets: InheritedSockets(environment: environment))
    }

    @Test func `without anything it is embedded`() throws {
        let configuration = try read([:])
        #expect(configuration.mode == .embedded)
        #expect(configuration.endpoint == nil)
        #expect(configuration.paths.socket == "/run/syncd/syncd.sock")
        #expect(configuration.namespace == "syncd")
        #expect(configuration.slotBits == 20)
        #expect(configuration.limits == Limits())
        #expect(configuration.source == "defaults")
    }

    @Test func `REDIS_URL alone does not enable Redis`() throws {
        #expect(try read(["REDIS_URL": "redis://h"]).mode == .embedded)
        #expect(try read(["REDIS_URL": "redis://h"]).isRedisURLIgnored)
        #expect(try !read(["REDIS_URL": "redis://h", "REDIS_ENABLED": "true"]).isRedisURLIgnored)
        #expect(try !read(["REDIS_URL": "redis://localhost:6379"]).isRedisURLIgnored, "the credential of the unit")
        let configuration = try read(["REDIS_URL": "redis://h:1", "REDIS_ENABLED": "true"])
        #expect(configuration.mode == .redis)
        #expect(configuration.endpoint?.address == .tcp(host: "h", port: 1))
        #expect(try read(["REDIS_ENABLED": "TRUE"]).endpoint?.address == .tcp(host: "localhost", port: 6379))
    }

    @Test func `every limit can be set, by the name that STATUS shows`() throws {
        for limit in Limits.adjustable {
            let key = SyncdConfiguration.key(limit).name
            #expect(key.hasPrefix("SYNCD_LIMIT_"))
            let limits = try read([key: "\(limit.range.lowerBound)"]).limits
            #expect(limits[keyPath: limit.path] == limit.range.lowerBound)
            #expect(limit.range.contains(Limits()[keyPath: limit.path]), "\(limit.name)'s default")
        }
    }

    @Test(arguments: [
        ["SYNCD_LIMIT_CLIENTS": "0"], ["SYNCD_LIMIT_CLIENTS": "-1"], ["SYNCD_LIMIT_CLIENTS": "many"],
        ["SYNCD_LIMIT_CLIENTS": "+5"], ["SYNCD_LIMIT_CLIENTS": "1.5"], ["SYNCD_LIMIT_CLIENTS": "99999999999999999999"],
        ["SYNCD_LIMIT_LEASE_MS": "1000"], ["SYNCD_LIMIT_CLIENT": "5"], ["SYNCD_LIMIT_FRAME_BYTES": "1"],
        ["SYNCD_TABLE_BITS": "15"], ["SYNCD_TABLE_BITS": "25"],
        ["SYNCD_PROBE_MS": "49"], ["SYNCD_PROBE_MS": "1001"], ["SYNCD_TRUST_MS": "499"], ["SYNCD_TRUST_MS": "2001"],
        ["SYNCD_PROBE_MS": "1000", "SYNCD_TRUST_MS": "1999"], ["SYNCD_IDLE_SECONDS": "14"],
        ["SYNCD_IDLE_SECONDS": "86401"], ["SYNCD_IDLE_SECONDS": "-1"],
        ["REDIS_ENABLED": "maybe"], ["SYNCD_NAMESPACE": "a{b}"], ["SYNCD_NAMESPACE": "a b"], ["SYNCD_NAMESPACE": "é"],
        ["SYNCD_NAMESPACE": String(repeating: "a", count: 65)], ["SYNCD_SOCKET": ""], ["SYNCD_NAMESPACE": ""],
        ["SYNCD_SOCKET": "relative"], ["SYNCD_SOCKET": "@abstract"],
        ["SYNCD_SOCKET": "/" + String(repeating: "a", count: 103)],
        ["REDIS_ENABLED": "true", "REDIS_URL": "localhost"], ["REDIS_ENABLED": "true", "REDIS_URL": "http://h"],
    ])
    func `a value that can't be used names its key`(environment: [String: String]) throws {
        let key = try #require(environment.keys.sorted().last)
        #expect {
            try read(environment)
        } throws: { "\($0)".contains(key) }
    }

    @Test func `probes and idleness can be set`() throws {
        let limits = try read(["SYNCD_PROBE_MS": "250", "SYNCD_TRUST_MS": "500", "SYNCD_IDLE_SECONDS": "0"]).limits
        #expect(limits.probeNanoseconds == 250_000_000 && limits.upstreamTrustNanoseconds == 500_000_000)
        #expect(limits.idleNanoseconds == 0)
        #expect(try read(["SYNCD_PROBE_MS": "1000"]).limits.probeNanoseconds == 1_000_000_000)
    }

    @Test func `103 bytes are a path, 104 are not`() throws {
        let longest = "/" + String(repeating: "a", count: 102)
        #expect(try RuntimePaths(socket: longest).socket == longest)
        #expect(throws: RuntimeDirectoryError.self) { try RuntimePaths(socket: longest + "a") }
    }

    @Test func `a secret's value is never shown`() {
        #expect {
            try read(["REDIS_ENABLED": "true", "REDIS_URL": "redis://:hidden@h:x"])
        } throws: { !"\($0)".contains("hidden") }
    }

    @Test func `the help of run names every key and its option`() {
        let help = RunCommand.helpMessage(columns: 400)
        for key in ConfigurationKey.syncdKeys {
            #expect(help.contains("\(key.name): "))
            #expect(help.contains("\(key.option) <"), "\(key.option)")
        }
    }
}
