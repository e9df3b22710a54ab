import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

/// `rediss://` against a real redis-server that speaks TLS.
@Suite(.tags(.servers), .processes) struct TLSTests {
    private let authority: CertificateAuthority

    init() async throws { authority = try await CertificateAuthority() }

    // MARK: Accepted certificates

    @Test func `a private authority, named by REDIS_TLS_CA_FILE`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.waitUntilAttached()
        #expect(try await syncd.status("redis", "endpoint")?.string == "rediss://localhost:\(redis.port.number)")
        #expect(try await syncd.status("redis", "connections")?.number == 2)
        let position = try #require(try await syncd.command("INVALIDATE", "TAGS", "users").number)
        #expect(try await redis.server.command("GET", "{syncd}:position").string == "\(position)")
    }

    @Test(arguments: ["TLSv1.2", "TLSv1.3"]) func `versions of TLS`(_ version: String) async throws {
        let redis = try await TLSRedis(
            try await authority.issue("server", names: "DNS:localhost"), ["--tls-protocols", version])
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.waitUntilAttached()
    }

    @Test func `an address is verified like a name`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "IP:127.0.0.1"))
        let syncd = try await redis.attach("127.0.0.1", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.waitUntilAttached()
    }

    @Test func `another name than the URL's, where it is told`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:redis.internal"))
        let syncd = try await redis.attach(
            "127.0.0.1",
            ["REDIS_TLS_CA_FILE": authority.certificate, "REDIS_TLS_SERVER_NAME": "redis.internal"])
        try await syncd.waitUntilAttached()
    }

    @Test func `a self-signed certificate, where it is named`() async throws {
        let directory = try TemporaryDirectory()
        let identity = try await CertificateAuthority.selfSigned("self", in: directory, names: "DNS:localhost")
        let redis = try await TLSRedis(identity)
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": identity.certificate])
        try await syncd.waitUntilAttached()
    }

    @Test(.enabled(if: getuid() == 0, "only root can put a certificate into the system's store for one process"))
    func `the system's store, with an authority that has expired before the renewed one`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
        let directory = try TemporaryDirectory()
        let store = try directory.write(
            try await authority.certificate(from: -20, until: -10)
                + String(contentsOfFile: authority.certificate, encoding: .utf8), to: "store.crt")
        let script = "mount --bind \(store) /etc/ssl/certs/ca-certificates.crt && exec \"$@\""
        let syncd = try ChildProcess(
            try Executables.find("unshare"),
            ["--mount", "sh", "-c", script, "sh", try Executables.built("syncd"), "run"],
            environment: [
                "SYNCD_SOCKET": directory.file("syncd.sock"), "SYNCD_TABLE_BITS": "16", "REDIS_ENABLED": "true",
                "REDIS_URL": redis.url("localhost"),
            ])
        await eventually("it attaches", details: { syncd.transcript }) {
            syncd.errors.contains("Redis is ready for state synchronization")
        }
    }

    // MARK: Refused certificates, and the messages

    @Test func `a certificate that nobody vouches for`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
        let syncd = try await redis.attach("localhost")
        try await syncd.expectRefusal("no trusted authority vouches for the server's certificate (for DNS:localhost)")
        #expect(syncd.log.contains("REDIS_TLS_CA_FILE"), "the remedy")
    }

    @Test func `a self-signed certificate`() async throws {
        let directory = try TemporaryDirectory()
        let redis = try await TLSRedis(
            try await CertificateAuthority.selfSigned("self", in: directory, names: "DNS:localhost"))
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.expectRefusal("no trusted authority vouches for the server's certificate")
    }

    @Test func `a certificate for another host`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:other.example"))
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.expectRefusal(
            "the server's certificate is not for the name localhost but for DNS:other.example")
    }

    @Test func `a certificate for another address`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost,IP:127.0.0.2"))
        let syncd = try await redis.attach("127.0.0.1", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.expectRefusal(
            "the server's certificate is not for the address 127.0.0.1 but for DNS:localhost, IP:127.0.0.2")
    }

    @Test func `a certificate that has expired`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost", days: -1))
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.expectRefusal("the server's certificate has expired (on 20")
    }

    @Test func `TLS 1․1`() async throws {
        let redis = try await TLSRedis(
            try await authority.issue("server", names: "DNS:localhost"),
            ["--tls-protocols", "TLSv1.1", "--tls-ciphers", "ALL:@SECLEVEL=0"])
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.expectRefusal("the server speaks nothing newer than TLS 1.1")
    }

    @Test func `a port without TLS`() async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(environment: [
            "REDIS_ENABLED": "true", "REDIS_URL": "rediss://localhost:\(redis.portNumber)",
        ])
        try await syncd.expectRefusal("TLS: ")
        #expect(syncd.log.contains("does not speak TLS") || syncd.log.contains("TLS port"))
    }

    @Test func `a port with TLS that is talked to without`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
        let syncd = try await SyncdProcess(environment: [
            "REDIS_ENABLED": "true", "REDIS_URL": "redis://localhost:\(redis.port.number)",
        ])
        await eventually("it is told", details: { syncd.transcript }) {
            syncd.log.contains("is this its TLS port (rediss://)?")
        }
    }

    @Test func `a server that accepts and never shakes hands`() async throws {
        let listener = try SilentListener()
        let syncd = try await SyncdProcess(environment: [
            "REDIS_ENABLED": "true", "REDIS_URL": "rediss://localhost:\(listener.port.number)",
        ])
        try await syncd.expectRefusal("TLS: no handshake within 2 s")
    }

    // MARK: Client certificates

    @Test func `a server that wants a client certificate`() async throws {
        let redis = try await TLSRedis(
            try await authority.issue("server", names: "DNS:localhost"),
            ["--tls-auth-clients", "yes", "--tls-ca-cert-file", authority.certificate])
        var environment = ["REDIS_TLS_CA_FILE": authority.certificate]
        let without = try await redis.attach("localhost", environment)
        try await without.expectRefusal("the server wants a client certificate: set REDIS_TLS_CERT_FILE")

        let strangers = try await CertificateAuthority("stranger")
        let stranger = try await strangers.issue("client", names: "DNS:client")
        environment["REDIS_TLS_CERT_FILE"] = stranger.certificate
        environment["REDIS_TLS_KEY_FILE"] = stranger.key
        let wrong = try await redis.attach("localhost", environment)
        try await wrong.expectRefusal("the server refuses the certificate of REDIS_TLS_CERT_FILE")

        let client = try await authority.issue("client", names: "DNS:client")
        environment["REDIS_TLS_CERT_FILE"] = client.certificate
        environment["REDIS_TLS_KEY_FILE"] = client.key
        let right = try await redis.attach("localhost", environment)
        try await right.waitUntilAttached()
    }

    @Test func `certificates are read again when they are renewed`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
        let directory = try TemporaryDirectory()
        let file = directory.file("trusted.crt")
        let other = try await CertificateAuthority("other")
        try FileManager.default.copyItem(atPath: other.certificate, toPath: file)
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": file])
        try await syncd.expectRefusal("no trusted authority vouches")
        try FileManager.default.removeItem(atPath: file)
        try FileManager.default.copyItem(atPath: authority.certificate, toPath: file)
        try await syncd.waitUntilAttached()
    }

    // MARK: A connection that ends

    @Test func `a killed connection is made again without a cold cache`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.waitUntilAttached()
        let epoch = try await syncd.status("log", "epoch")?.number
        let connects = try await syncd.status("redis", "reconnects")?.number ?? 0
        try await redis.server.command("CLIENT", "KILL", "TYPE", "normal")
        try await redis.server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually("both are made again", details: { syncd.transcript }) {
            let now = try? await syncd.status("redis", "reconnects")?.number
            return (now ?? 0) >= connects + 2
        }
        try await syncd.waitUntilAttached()
        #expect(try await syncd.status("log", "epoch")?.number == epoch)
    }

    @Test func `a server that stands still holds up nothing but itself`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": authority.certificate])
        try await syncd.waitUntilAttached()
        redis.server.pause()
        await eventually("the silence is noticed", details: { syncd.transcript }) {
            syncd.log.contains("Redis has not answered for 3 s")
        }
        // A goodbye that is not answered must not hold up the next connection.
        redis.server.resume()
        try await syncd.waitUntilAttached(within: .seconds(3))
    }

    // MARK: Settings

    @Test func `mistakes in the files end the start`() async throws {
        let client = try await authority.issue("client", names: "DNS:client")
        let stranger = try await authority.issue("stranger", names: "DNS:stranger")
        let directory = try TemporaryDirectory()
        let empty = try directory.write("", to: "empty.crt")
        let cases: [(settings: [String: String], named: String, why: String)] = [
            (["REDIS_TLS_CA_FILE": "/nowhere.crt"], "REDIS_TLS_CA_FILE", "No such file"),
            (["REDIS_TLS_CA_FILE": empty], "REDIS_TLS_CA_FILE", "nothing usable"),
            (["REDIS_TLS_CERT_FILE": client.certificate], "REDIS_TLS_KEY_FILE", "missing"),
            (["REDIS_TLS_KEY_FILE": client.key], "REDIS_TLS_CERT_FILE", "missing"),
            (
                ["REDIS_TLS_CERT_FILE": client.certificate, "REDIS_TLS_KEY_FILE": stranger.key], "REDIS_TLS_KEY_FILE",
                "does not belong"
            ),
            (
                ["REDIS_TLS_CERT_FILE": client.certificate, "REDIS_TLS_KEY_FILE": empty], "REDIS_TLS_KEY_FILE",
                "private key"
            ),
            (
                ["REDIS_TLS_CA_FILE": client.certificate, "REDIS_URL": "redis://localhost"], "REDIS_TLS_CA_FILE",
                "rediss://"
            ),
        ]
        for (settings, named, why) in cases {
            var environment = [
                "SYNCD_SOCKET": directory.file("syncd.sock"), "REDIS_ENABLED": "true",
                "REDIS_URL": "rediss://localhost",
            ]
            environment.merge(settings) { $1 }
            let finished = try await ChildProcess.run(
                try Executables.built("syncd"), ["run"], environment: environment)
            #expect(finished.exit == .status(78), "\(settings): \(finished.errors)")
            #expect(finished.errors.contains(named) && finished.errors.contains(why), "\(finished.errors)")
        }
    }
}
