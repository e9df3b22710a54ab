import Foundation
import NIOCore
import TestSupport
import Testing

/// The user of docs/redis.md, and servers that permit less.
@Suite(.tags(.servers), .processes) struct ACLTests {
    /// The words of the documented user, after its name.
    static func documented() throws -> [String] {
        let text = try String(contentsOfFile: "\(Executables.packageFolder)/docs/redis.md", encoding: .utf8)
        let start = try #require(text.range(of: "```\nuser syncd "))
        let end = try #require(text.range(of: "```", range: start.upperBound..<text.endIndex))
        return text[start.upperBound..<end.lowerBound].split(whereSeparator: \.isWhitespace).map(String.init)
    }

    private func start(
        _ redis: RedisServer, without: [String] = [], adding: [String] = [], database: String = ""
    ) async throws -> SyncdProcess {
        let words = try Self.documented().filter { !without.contains($0) } + adding
        let socket = try redis.connect()
        let reply = try await socket.command((["ACL", "SETUSER", "syncd"] + words).map { ByteBuffer(string: $0) })
        #expect(reply.string == "OK", "\(reply)")
        return try await SyncdProcess(environment: [
            "REDIS_ENABLED": "true",
            "REDIS_URL": "redis://syncd:PASSWORD@127.0.0.1:\(redis.portNumber)\(database)",
        ])
    }

    @Test func `the documented user is enough`() async throws {
        let redis = try await RedisServer()
        let syncd = try await start(redis)
        try await syncd.waitUntilAttached()
        try await useEverything(syncd)
        try await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        try await redis.command("CLIENT", "KILL", "USER", "syncd")
        try await syncd.waitUntilAttached()
        try await redis.command("SCRIPT", "FLUSH")
        try await useEverything(syncd)
        try await redis.command("FLUSHALL")
        await eventually("the log is replaced", details: { syncd.transcript }) {
            (try? await redis.command("EXISTS", "{syncd}:incarnation").number) == 1
        }
        try await syncd.waitUntilAttached()
        #expect(try await redis.command("ACL", "LOG").elements?.isEmpty == true, "nothing was denied")
        #expect(try await syncd.status("redis", "warnings")?.elements?.isEmpty == true)
    }

    @Test func `a database of its own`() async throws {
        let redis = try await RedisServer()
        let syncd = try await start(redis, adding: ["+select", "&{syncd}:log:3"], database: "/3")
        try await syncd.waitUntilAttached()
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").number == 1)
        let socket = try redis.connect()
        try await socket.command("SELECT", "3")
        #expect(try await socket.command("GET", "{syncd}:position").string == "1")
    }

    /// Commands that a managed service may withhold, one by one and all at once.
    @Test(arguments: [
        ["+script|load"], ["+evalsha"], ["+client|setname"], ["+info"], ["+role"],
        ["+script|load", "+evalsha", "+client|setname", "+info", "+role"],
    ])
    func `commands that are not needed`(_ without: [String]) async throws {
        let redis = try await RedisServer()
        let syncd = try await start(redis, without: without)
        try await syncd.waitUntilAttached()
        try await useEverything(syncd)
        await eventually("STATUS tells what follows", details: { syncd.transcript }) {
            let warnings = (try? await syncd.status("redis", "warnings")?.elements?.compactMap(\.string)) ?? []
            return ["+info", "+role"].allSatisfy { command in
                let name = command.dropFirst().uppercased()
                return without.contains(command) == warnings.contains { $0.hasPrefix("\(name) is forbidden") }
            }
        }
        #expect(try await syncd.isAttached)
    }

    @Test(arguments: [["+eval", "+evalsha"], ["+xadd"], ["~{syncd}:*"], ["&{syncd}:log"], ["+subscribe"]])
    func `what is needed and not permitted is told, and tried again`(_ without: [String]) async throws {
        let redis = try await RedisServer()
        let syncd = try await start(redis, without: without)
        _ = try await syncd.command("INVALIDATE", "TAGS", "a")
        await eventually("log and STATUS name it", details: { syncd.transcript }) {
            let status = try? await syncd.status()
            let told = [status?["log"]?["why"]?.string, status?["redis"]?["last-error"]?.string]
            return syncd.log.contains("error Redis cannot be used as it is configured")
                && told.contains { $0?.contains("NOPERM") == true }
        }
        let lines = syncd.log.split(separator: "\n").filter { $0.contains("cannot be used as it is configured") }
        #expect(lines.count <= 2, "once for each connection: \(lines)")
        try await redis.connect().command((["ACL", "SETUSER", "syncd"] + without).map { ByteBuffer(string: $0) })
        try await syncd.waitUntilAttached()
        await eventually("nothing is pending", details: { syncd.transcript }) {
            (try? await syncd.status("log", "pending")?.number) == 0
        }
    }

    @Test func `a channel that is not permitted harms nobody else`() async throws {
        let redis = try await RedisServer()
        let syncd = try await start(redis)
        try await syncd.waitUntilAttached()
        let socket = try await syncd.connect()
        try await socket.send("SUBSCRIBE", "private", "user:created")
        #expect(try await socket.push("subscribe") != nil)
        #expect(try await syncd.command("INVALIDATE", "EVENT", "private", "x", "TAGS", "a").number == 1)
        await eventually("it is told", details: { syncd.transcript }) {
            let warnings = try? await syncd.status("redis", "warnings")?.elements?.compactMap(\.string)
            return warnings?.contains { $0.hasPrefix("channel private is refused") } == true
        }
        try await redis.command("PUBLISH", "user:created", "{}")
        #expect(try await socket.push("message") { $0.last?.string == "{}" } != nil, "other channels go on")
        #expect(try await syncd.isAttached)
    }

    @Test func `a password that is wrong, missing, and then right`() async throws {
        let redis = try await RedisServer(["--requirepass", "p@ss/word"])
        for (login, reason) in [("", "NOAUTH"), (":wrong@", "WRONGPASS"), ("nobody:wrong@", "WRONGPASS")] {
            let syncd = try await SyncdProcess(environment: [
                "REDIS_ENABLED": "true", "REDIS_URL": "redis://\(login)127.0.0.1:\(redis.portNumber)",
            ])
            await eventually("it is told: \(reason)", details: { syncd.transcript }) {
                let why = try? await syncd.status("log", "why")?.string
                return why?.contains(reason) == true && syncd.log.contains("error Redis cannot be used")
            }
            #expect(!syncd.log.contains("wrong"), "no password in the log")
        }
        let syncd = try await SyncdProcess(environment: [
            "REDIS_ENABLED": "true", "REDIS_URL": "redis://default:p%40ss%2Fword@127.0.0.1:\(redis.portNumber)",
        ])
        try await syncd.waitUntilAttached()
        #expect(try await syncd.status("redis", "endpoint")?.string == "redis://127.0.0.1:\(redis.portNumber)")
    }

    /// Managed services take commands away by name, not by permission.
    @Test func `commands that the server does not know`() async throws {
        let names = ["INFO", "ROLE", "CLIENT", "SCRIPT", "EVALSHA", "CONFIG"]
        let redis = try await RedisServer(names.flatMap { ["--rename-command", $0, "HIDDEN-\($0)"] })
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        try await useEverything(syncd)
    }

    /// Invalidations with and without an event, a value that is kept, subscriptions, publications.
    private func useEverything(_ syncd: SyncdProcess) async throws {
        let socket = try await syncd.connect()
        try await socket.send("SUBSCRIBE", "user:created")
        try await socket.send("PSUBSCRIBE", "user:*")
        #expect(try await socket.push("subscribe") != nil)
        for _ in 0..<3 {
            let reply = try await syncd.command("INVALIDATE", "EVENT", "user:created", "{}", "TAGS", "a")
            #expect(reply.number != nil, "\(reply)\n\(syncd.transcript)")
        }
        #expect(try await socket.push("message", within: .seconds(10)) != nil, "\(syncd.transcript)")
        #expect(try await syncd.command("PUBLISH", "users:linked", "{}").number != nil)
        let key = "key-\(UInt64.random(in: 0...UInt64.max))"
        let lease = try await socket.command("FETCH", key)
        if lease.elements?.first?.string == "lease", let id = lease.elements?[1].number {
            #expect(try await socket.command("FILL", key, "\(id)", "60000", "1", "b", "value").string == "OK")
            await eventually("it is kept", details: { syncd.transcript }) {
                (try? await syncd.command("FETCH", key).elements?.first?.string) == "hit"
            }
        } else {
            Issue.record("no lease: \(lease)\n\(syncd.transcript)")
        }
    }
}
