import Foundation
import TestSupport
import Testing

/// Users who are not let in: docs/protocol.md, "Access control".
@Suite(.tags(.servers), .processes) struct AccessTests {
    private static let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=KILL"]

    @Test(.enabled(if: getuid() == 0, "only root can become somebody else"))
    func `a worker of a wrong user serves from the database, and others are refused by the file system`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let setpriv = try Executables.find("setpriv")
        let client = try await ChildProcess.run(
            setpriv, Self.nobody + [try Executables.find("redis-cli"), "-s", syncd.socketPath, "PING"])
        #expect(client.errors.contains("Permission denied") && !client.output.contains("PONG"), "\(client)")

        // Wherever the package is, nobody need be able to reach it.
        let directory = try TemporaryDirectory()
        let program = directory.file("apiworker")
        try FileManager.default.copyItem(atPath: try Executables.built("apiworker"), toPath: program)
        let (mongo, port) = (try await MongoServer.shared(), try ReservedPort())
        let worker = try ChildProcess(
            setpriv, Self.nobody + [program],
            environment: [
                "PORT": "\(port.number)", "HOST": "127.0.0.1", "SYNCD_SOCKET": syncd.socketPath,
                "DB_URL": mongo.url(database: MongoServer.newDatabaseName()),
            ], workingDirectory: directory.path)
        await eventually("it serves", details: { worker.transcript }) {
            (try? await HTTPConnection(port: port.number).get("/").status) == 200
        }
        let http = try HTTPConnection(port: port.number)
        var count = 0
        // The worker tries to connect all the time, and logs the reason once.
        try await eventually("it says why it has no cache", within: .seconds(30), details: { worker.transcript }) {
            count += 1
            try await TestHost.createUser(http, "user \(count)")
            let reply = try await http.get("/api/users")
            #expect(reply.json.array?.count == count && reply.cache == "BYPASS", "\(reply.headers)")
            return (worker.output + worker.errors).contains("No connection to syncd")
        }
        #expect(try await http.get("/").json["sync"].string == "detached")
        let lines = (worker.output + worker.errors).split(separator: "\n").filter {
            $0.contains("No connection to syncd")
        }
        #expect(lines.count == 1 && lines[0].contains("Permission denied"), "\(worker.transcript)")
        #expect(try await syncd.status()["clients"]?.elements?.count == 1, "the one that asks")
    }
}
