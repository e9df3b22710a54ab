import Foundation
import TestSupport
import Testing

/// The basis of the other tests: servers start, answer, end, and leave nothing behind.
@Suite(.tags(.servers), .processes) struct SupportTests {
    @Test func `a Redis server`() async throws {
        let redis = try await RedisServer()
        try await redis.command("SET", "key", "value")
        try await redis.restart(keepingData: true)
        #expect(try await redis.command("GET", "key").string == "value")
        try await redis.restart(keepingData: false)
        #expect(try await redis.command("DBSIZE").number == 0)
        #expect(try await redis.clientNames().isEmpty)
        redis.stop()
        #expect(redis.child.exit == .signal(SIGKILL))
    }

    @Test func `a MongoDB server`() async throws {
        let mongo = try await MongoServer.shared()
        let database = MongoServer.newDatabaseName()
        try await mongo.command(
            ["insert": "users", "documents": [["_id": "a", "age": 7, "hobbies": ["chess"]]]], database: database)
        let users = try await mongo.documents("users", database: database)
        #expect(users == [["_id": "a", "age": 7, "hobbies": ["chess"]]])
        try await mongo.drop(database: database)
        #expect(try await mongo.documents("users", database: database).isEmpty)
    }

    @Test func `time of limits stands still with the tests`() {
        let begin = ContinuousClock.now
        var time = PatientTime(at: begin)
        for number in 1...100 { time.tick(at: begin + .milliseconds(20 * number)) }
        #expect(time.elapsed(at: begin + .milliseconds(2010)) == .milliseconds(2010))
        #expect(time.elapsed(at: begin + .seconds(30)) == .milliseconds(2100), "a pause counts 100 ms")
        time.tick(at: begin + .seconds(30))
        #expect(time.elapsed(at: begin + .milliseconds(30_050)) == .milliseconds(2150))
    }

    @Test func `a syncd`() async throws {
        let syncd = try await SyncdProcess()
        try await syncd.waitUntilAttached()
        #expect(try await syncd.command("PING", "hello").string == "hello")
        try await syncd.restart()
        #expect(try await syncd.status("server", "pid")?.number == Int(syncd.pid))
        #expect(try await syncd.stop() == .status(0))
    }

    @Test func `a process ends with its object`() async throws {
        var process: ChildProcess? = try ChildProcess(try Executables.find("sleep"), ["60"])
        let pid = try #require(process?.pid)
        #expect(process?.isRunning == true)
        process = nil
        #expect(kill(pid, 0) == -1 && errno == ESRCH, "neither a process nor a zombie is left")
    }

    @Test func `a program that is run to its end`() async throws {
        let finished = try await ChildProcess.run(
            try Executables.find("sh"), ["-c", "echo out; echo $WORD >&2; exit 3"], environment: ["WORD": "err"])
        #expect(finished.exit == .status(3))
        #expect(finished.output == "out\n")
        #expect(finished.errors == "err\n")
    }

    @Test func `a port is nobody else's`() throws {
        let ports = try (0..<50).map { _ in try ReservedPort() }
        #expect(Set(ports.map(\.number)).count == 50)
    }
}
