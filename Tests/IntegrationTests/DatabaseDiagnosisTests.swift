import Foundation
import TestSupport
import Testing

/// Why MongoDB can't be used: a worker says it once, with what the driver knows, and without secrets.
@Suite(.tags(.servers), .processes) struct DatabaseDiagnosisTests {
    /// Sends requests to a worker until it has said why it has no database.
    ///
    /// - Returns: the lines of its log about the database.
    private static func lines(
        _ url: String, saying expected: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> [String] {
        let port = try ReservedPort()
        let worker = try await WorkerProcess(port: port, database: url, socketPath: "")
        let http = try HTTPConnection(port: port.number)
        await eventually("it says \"\(expected)\"", details: { worker.transcript }, sourceLocation: sourceLocation) {
            let reply = try? await http.get("/api/users")
            #expect(reply?.status == 503, sourceLocation: sourceLocation)
            return worker.log.contains(expected)
        }
        for _ in 0..<20 {
            #expect(try await http.get("/api/users").status == 503, sourceLocation: sourceLocation)
        }
        // Two probes later.
        try await Task.sleep(for: .seconds(5))
        #expect(!worker.log.contains("hidden-secret"), sourceLocation: sourceLocation)
        return worker.log.split(separator: "\n").map(String.init).filter { $0.contains("MongoDB") }
    }

    private static func expectOne(
        _ url: String, saying expected: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let lines = try await lines(url, saying: expected, sourceLocation: sourceLocation)
        #expect(lines.count == 1, "\(lines)", sourceLocation: sourceLocation)
        #expect(
            expected.contains("replica set") || !lines.contains { $0.contains("belongs to replica set") }, "\(lines)",
            sourceLocation: sourceLocation)
    }

    @Test func `the name of another replica set`() async throws {
        let mongo = try await MongoServer.shared()
        let url = "mongodb://127.0.0.1:\(mongo.portNumber)/test?replicaSet=wrong"
        try await Self.expectOne(url, saying: "no server of DB_URL belongs to replica set wrong")
        try await Self.expectOne(
            url + "&directConnection=true", saying: "reported set name 'rs0' does not match 'wrong'")
    }

    @Test func `a wrong password`() async throws {
        let mongo = try await MongoServer.shared()
        let url = "mongodb://user:hidden-secret@127.0.0.1:\(mongo.portNumber)/test"
        try await Self.expectOne(url, saying: "Authentication failed")
    }

    @Test func `nobody listens, and a name that there isn't`() async throws {
        let port = try ReservedPort()
        try await Self.expectOne(
            "mongodb://user:hidden-secret@127.0.0.1:\(port.number)/test",
            saying: "Failed to connect to target host: 127.0.0.1:\(port.number)")
        try await Self.expectOne(
            "mongodb://user:hidden-secret@db.a.invalid/test", saying: "Failed to resolve db.a.invalid")
    }

    @Test func `a server that never answers`() async throws {
        let listener = try SilentListener()
        try await Self.expectOne(
            "mongodb://user:hidden-secret@127.0.0.1:\(listener.port.number)/test", saying: "serverSelectionTimeoutMS")
    }

    @Test func `TLS on one side only`() async throws {
        let plain = try await MongoServer.shared(.standalone)
        try await Self.expectOne(
            "mongodb://127.0.0.1:\(plain.portNumber)/test?tls=true", saying: "TLS handshake failed")
        let authority = try await CertificateAuthority()
        let identity = try await authority.issue("mongod", names: "DNS:localhost,IP:127.0.0.1")
        let directory = try TemporaryDirectory()
        let pem =
            try String(contentsOfFile: identity.certificate, encoding: .utf8)
            + String(contentsOfFile: identity.key, encoding: .utf8)
        let file = try directory.write(pem, to: "mongod.pem")
        let secured = try MongoServer(
            launching: .standalone,
            [
                "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", file, "--tlsCAFile", authority.certificate,
                "--tlsAllowConnectionsWithoutCertificates",
            ])
        await eventually("it listens", details: { secured.log }) { secured.log.contains("Waiting for connections") }
        let address = "mongodb://localhost:\(secured.portNumber)/test"
        try await Self.expectOne(address, saying: "MongoDB is unreachable")
        try await Self.expectOne(address + "?tls=true", saying: "TLS handshake failed")
        let port = try ReservedPort()
        let worker = try await WorkerProcess(
            port: port, database: address + "?tls=true&tlsCAFile=\(authority.certificate)", socketPath: "")
        let http = try HTTPConnection(port: port.number)
        #expect(try await http.get("/api/users").status == 200, "\(worker.transcript)")
    }

    @Test func `a URL without the slash before its options`() async throws {
        let finished = try await ChildProcess.run(
            try Executables.built("apiworker"), [],
            environment: ["DB_URL": "mongodb://user:hidden-secret@127.0.0.1:1?replicaSet=rs0", "PORT": "0"])
        #expect(finished.exit == .status(78))
        let text = finished.output + finished.errors
        #expect(
            text.contains("Invalid host string in URI") && text.contains("put a slash before the question mark"),
            "\(text)")
        #expect(!text.contains("hidden-secret"))
    }
}
