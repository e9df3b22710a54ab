import TestSupport
import Testing

/// The host that the certificate of a server has to be for. All certificates are from an authority that syncd trusts.
@Suite(.tags(.servers), .processes) struct CertificateNameTests {
    private let authority: CertificateAuthority

    init() async throws { authority = try await CertificateAuthority() }

    private func trust(_ serverName: String? = nil) -> [String: String] {
        var environment = ["REDIS_TLS_CA_FILE": authority.certificate]
        environment["REDIS_TLS_SERVER_NAME"] = serverName
        return environment
    }

    // MARK: One server

    @Test func `a certificate for another name and the address that was reached`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:attacker.example,IP:127.0.0.1"))
        let reason = "but for DNS:attacker.example, IP:127.0.0.1"
        let byURL = try await redis.attach("localhost", trust())
        try await byURL.expectRefusal("the server's certificate is not for the name localhost \(reason)")
        let bySetting = try await redis.attach("127.0.0.1", trust("redis.internal"))
        try await bySetting.expectRefusal("the server's certificate is not for the name redis.internal \(reason)")
        let commands = try await redis.server.command("INFO", "commandstats").string ?? ""
        #expect(commands.contains("cmdstat_ping") && !commands.contains("cmdstat_client"), "nothing was said to it")
    }

    @Test func `REDIS_TLS_SERVER_NAME replaces the host of the URL`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
        let syncd = try await redis.attach("localhost", trust("redis.internal"))
        try await syncd.expectRefusal("the server's certificate is not for the name redis.internal")
    }

    @Test func `REDIS_TLS_SERVER_NAME may be an address`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "IP:10.9.8.7"))
        try await redis.attach("localhost", trust("10.9.8.7")).waitUntilAttached()
        try await redis.attach("localhost", trust("10.9.8.6")).expectRefusal(
            "not for the address 10.9.8.6 but for IP:10.9.8.7")
    }

    @Test func `an address that is only written as a name`() async throws {
        let redis = try await TLSRedis(
            try await authority.issue("server", names: "DNS:127.0.0.1", commonName: "127.0.0.1"))
        let syncd = try await redis.attach("127.0.0.1", trust())
        try await syncd.expectRefusal("not for the address 127.0.0.1 but for DNS:127.0.0.1")
    }

    @Test func `a common name is no name`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: nil, commonName: "localhost"))
        let syncd = try await redis.attach("localhost", trust())
        try await syncd.expectRefusal(
            "but for no name at all: issue one with DNS:localhost among its subject alternative names")
    }

    @Test func `a star stands for one label`() async throws {
        let redis = try await TLSRedis(try await authority.issue("server", names: "DNS:*.cache.example"))
        try await redis.attach("127.0.0.1", trust("a.cache.example")).waitUntilAttached()
        for name in ["cache.example", "b.a.cache.example"] {
            let syncd = try await redis.attach("127.0.0.1", trust(name))
            try await syncd.expectRefusal("not for the name \(name) but for DNS:*.cache.example")
        }
    }

    @Test(arguments: ["redis.example:6379", "*.example", "redis example", "r\u{e9}dis"])
    func `a REDIS_TLS_SERVER_NAME that is none ends the start`(_ name: String) async throws {
        let directory = try TemporaryDirectory()
        let environment = [
            "SYNCD_SOCKET": directory.file("syncd.sock"), "REDIS_ENABLED": "true", "REDIS_URL": "rediss://localhost",
        ]
        let finished = try await ChildProcess.run(
            try Executables.built("syncd"), ["run"], environment: environment.merging(trust(name)) { $1 })
        #expect(finished.exit == .status(78), "\(finished.errors)")
        #expect(finished.errors.contains("REDIS_TLS_SERVER_NAME"), "\(finished.errors)")
    }

    // MARK: Sentinel

    /// A sentinel and a primary that both speak TLS only.
    private struct Watched {
        let redis: TLSRedis
        let sentinel: SentinelProcess

        /// - Parameter announced: the host that the sentinel knows the primary by.
        init(_ authority: CertificateAuthority, sentinel names: String, primary: String, announced: String) async throws
        {
            redis = try await TLSRedis(try await authority.issue("primary", names: primary))
            let identity = try await authority.issue("sentinel", names: names)
            sentinel = try SentinelProcess(
                [
                    "tls-cert-file \(identity.certificate)", "tls-key-file \(identity.key)",
                    "tls-ca-cert-file \(authority.certificate)", "tls-auth-clients no", "tls-replication yes",
                    "sentinel resolve-hostnames yes", "sentinel announce-hostnames yes",
                    "sentinel monitor cache \(announced) \(redis.port.number) 1",
                ], isTLS: true)
        }

        func attach(_ environment: [String: String]) async throws -> SyncdProcess {
            let url = "rediss+sentinel://localhost:\(sentinel.port.number)/cache"
            return try await SyncdProcess(
                environment: environment.merging(["REDIS_ENABLED": "true", "REDIS_URL": url]) { $1 })
        }
    }

    @Test(arguments: ["127.0.0.1", "localhost"])
    func `sentinel by its host in the URL, primary by the host that is announced`(_ announced: String) async throws {
        let kind = announced == "localhost" ? "DNS" : "IP"
        let watched = try await Watched(
            authority, sentinel: "DNS:localhost", primary: "\(kind):\(announced)", announced: announced)
        let syncd = try await watched.attach(trust())
        try await syncd.waitUntilAttached()
        #expect(try await syncd.status("redis", "primary")?.string?.hasPrefix(announced) == true)
    }

    @Test func `a sentinel whose certificate is for its address and another name`() async throws {
        let watched = try await Watched(
            authority, sentinel: "DNS:attacker.example,IP:127.0.0.1", primary: "IP:127.0.0.1", announced: "127.0.0.1")
        let syncd = try await watched.attach(trust())
        try await syncd.expectRefusal(
            "sentinel localhost:\(watched.sentinel.port.number): TLS: the server's certificate is not for the name localhost"
        )
    }

    @Test func `a primary whose certificate is for its address and another name`() async throws {
        let watched = try await Watched(
            authority, sentinel: "DNS:localhost", primary: "DNS:attacker.example,IP:127.0.0.1", announced: "localhost")
        let syncd = try await watched.attach(trust())
        try await syncd.expectRefusal("TLS: the server's certificate is not for the name localhost")
    }

    @Test func `one REDIS_TLS_SERVER_NAME for sentinels and primary`() async throws {
        let watched = try await Watched(
            authority, sentinel: "DNS:redis.internal", primary: "DNS:redis.internal", announced: "127.0.0.1")
        try await watched.attach(trust("redis.internal")).waitUntilAttached()
    }
}
