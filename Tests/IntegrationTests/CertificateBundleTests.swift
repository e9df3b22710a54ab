import Glibc
import TestSupport
import Testing

@testable import syncd

/// Files with several certificates of one authority, as they are while it is renewed.
@Suite(.tags(.servers), .processes) struct CertificateBundleTests {
    private let authority: CertificateAuthority
    private let directory: TemporaryDirectory
    private let redis: TLSRedis

    init() async throws {
        authority = try await CertificateAuthority()
        directory = try TemporaryDirectory()
        redis = try await TLSRedis(try await authority.issue("server", names: "DNS:localhost"))
    }

    private func attach(_ bundle: [String]) async throws -> SyncdProcess {
        let file = try directory.write(bundle.joined(), to: "bundle.crt")
        return try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": file])
    }

    @Test func `the order of expired, present and future certificates does not matter`() async throws {
        let expired = try await authority.certificate(from: -20, until: -10)
        let future = try await authority.certificate(from: 10, until: 20)
        let present = try await authority.certificate(from: -10, until: 10)
        for bundle in [
            [expired, present], [present, expired], [expired, expired, future, present], [present, future],
        ] {
            try await attach(bundle).waitUntilAttached()
        }
    }

    @Test func `an expired authority alone`() async throws {
        let syncd = try await attach([try await authority.certificate(from: -20, until: -10)])
        try await syncd.expectRefusal("(REDIS_TLS_CA_FILE), the authority CN=ca expired on 20")
    }

    @Test func `an authority that is not valid yet`() async throws {
        let syncd = try await attach([try await authority.certificate(from: 10, until: 20)])
        try await syncd.expectRefusal("(REDIS_TLS_CA_FILE), the authority CN=ca is not valid before 20")
    }

    @Test func `an expired authority beside another one, and beside its renewed certificate`() async throws {
        let expired = try await authority.certificate(from: -20, until: -10)
        let present = try await authority.certificate(from: -10, until: 10)
        let other = try await CertificateAuthority("other").certificate(from: -10, until: 10)
        try await attach([other, expired]).expectRefusal("the authority CN=ca expired on 20")
        let strangers = try await CertificateAuthority("stranger")
        let redis = try await TLSRedis(try await strangers.issue("server", names: "DNS:localhost"))
        let file = try directory.write(expired + present, to: "renewed.crt")
        let syncd = try await redis.attach("localhost", ["REDIS_TLS_CA_FILE": file])
        try await syncd.expectRefusal("no trusted authority vouches for the server's certificate (for DNS:localhost)")
        #expect(!syncd.log.contains("expired"), "it has been renewed")
    }

    /// syncd runs for longer than certificates live.
    @Test func `an authority expires, and another becomes valid, while syncd runs`() async throws {
        let present = try await authority.certificate(from: -10, until: 10)
        let next = try await authority.certificate(from: 5, until: 30)
        let source = TLSContextSource(
            TLSSettings(caFile: try directory.write(present + next, to: "bundle.crt")))
        let now = time(nil)
        let day = 86_400
        let first = try source.context(now: now)
        #expect(try source.context(now: now + 4 * day) === first)
        let both = try source.context(now: now + 6 * day)
        #expect(both !== first)
        #expect(try source.context(now: now + 9 * day) === both)
        #expect(try source.context(now: now + 11 * day) !== both)
    }
}
