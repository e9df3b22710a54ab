import Foundation
import TestSupport
import Testing

/// A primary, a replica and three sentinels that watch over them, all real.
final class SentinelCluster: Sendable {
    static let service = "cache"
    let primary: RedisServer
    let replica: RedisServer
    let sentinels: [SentinelProcess]

    /// - Parameter sentinelOptions: further lines of the sentinels' configuration.
    init(sentinelOptions: [String] = []) async throws {
        primary = try await RedisServer()
        replica = try await RedisServer(
            ["--replicaof", "127.0.0.1", "\(primary.portNumber)", "--repl-diskless-sync-delay", "0"])
        let lines = [
            "monitor \(Self.service) 127.0.0.1 \(primary.portNumber) 2",
            "down-after-milliseconds \(Self.service) 1000", "failover-timeout \(Self.service) 5000",
        ]
        let configuration = lines.map { "sentinel \($0)" } + sentinelOptions
        sentinels = try (0..<3).map { _ in try SentinelProcess(configuration) }
    }

    var hosts: String { sentinels.map { "127.0.0.1:\($0.port.number)" }.joined(separator: ",") }
    var url: String { "redis+sentinel://\(hosts)/\(Self.service)" }
    var log: String { (sentinels.map(\.child.transcript) + [primary.log, replica.log]).joined(separator: "\n") }

    /// Waits until each sentinel knows the two others and the replica, which is up to date.
    func waitUntilWatching(password: String? = nil) async throws {
        for sentinel in sentinels {
            try await sentinel.waitUntil(password: password) { state in
                state["num-other-sentinels"] == "2" && state["num-slaves"] == "1" && state["flags"] == "master"
            }
        }
        await eventually("the replica is up to date", details: { self.log }) {
            let info = try? await self.replica.command("INFO", "replication").string
            return info?.contains("master_link_status:up") == true
        }
    }

    /// Asks the first sentinel for a failover.
    func failOver() async throws {
        let socket = try RESPSocket(port: sentinels[0].port.number)
        let reply = try await socket.command("SENTINEL", "FAILOVER", Self.service)
        guard reply.string == "OK" else { throw TestFailure("SENTINEL FAILOVER: \(reply)") }
    }
}

/// One redis-server in the mode of a sentinel.
final class SentinelProcess: Sendable {
    let port: ReservedPort
    let child: ChildProcess
    private let directory: TemporaryDirectory

    /// - Parameters:
    ///   - configuration: lines of its file.
    ///   - isTLS: whether the port is one for TLS.
    init(_ configuration: [String], isTLS: Bool = false) throws {
        port = try ReservedPort()
        directory = try TemporaryDirectory()
        let ports = isTLS ? ["port 0", "tls-port \(port.number)"] : ["port \(port.number)"]
        let lines = ports + ["bind 127.0.0.1", "dir \(directory.path)"] + configuration
        let file = try directory.write(lines.joined(separator: "\n") + "\n", to: "sentinel.conf")
        child = try ChildProcess(try Executables.find("redis-server"), [file, "--sentinel"])
    }

    /// Waits for a state of the service, as SENTINEL MASTER shows it.
    func waitUntil(
        password: String?, within limit: Duration = .seconds(20), _ isReached: ([String: String]) -> Bool
    ) async throws {
        var last = ""
        let deadline = PatientClock.now + limit
        while PatientClock.now < deadline {
            if let socket = try? RESPSocket(port: port.number) {
                if let password { _ = try? await socket.command("AUTH", password) }
                let reply = try? await socket.command("SENTINEL", "MASTER", SentinelCluster.service)
                let words = reply?.elements?.compactMap(\.string) ?? []
                var state: [String: String] = [:]
                for index in stride(from: 0, to: words.count - 1, by: 2) { state[words[index]] = words[index + 1] }
                if isReached(state) { return }
                last = "\(state)"
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw TestFailure("the sentinel is not there yet: \(last)\n\(child.transcript)")
    }
}
