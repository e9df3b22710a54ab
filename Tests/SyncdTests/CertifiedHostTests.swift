import Testing

@testable import syncd

@Suite struct CertifiedHostTests {
    @Test(arguments: [
        ("redis.example", "redis.example"), ("REDIS.example", "redis.EXAMPLE"), ("redis.example.", "redis.example"),
        ("my_redis", "my_redis"), ("a.example.com", "*.example.com"), ("A.Example.com", "*.eXample.com"),
        ("xn--caf-dma.example.com", "*.example.com"),
    ])
    func `a name that an entry is for`(_ host: String, _ entry: String) {
        #expect(CertifiedHost(host: host).isMatched(by: .name(Array(entry.utf8))))
    }

    @Test(arguments: [
        ("redis.example", "redis.example.com"), ("redis.example", "edis.example"), ("redis.example", ""),
        ("redis.example", "redis.example\u{0}"), ("", ""), (".", ""), ("example.com", "*.example.com"),
        ("a.b.example.com", "*.example.com"), (".example.com", "*.example.com"), ("a.*.com", "*.*.com"),
        ("redis.com", "*.com"), ("redis", "*"), ("redis.example.com", "r*.example.com"),
        ("redis.example.com", "*s.example.com"), ("redis.example.com", "redis.*.com"),
        ("a.example.com", "**.example.com"),
        ("\u{212A}.example", "k.example"), ("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "*.0.0.1"), ("::1", "::1"),
    ])
    func `a name that an entry is not for`(_ host: String, _ entry: String) {
        #expect(!CertifiedHost(host: host).isMatched(by: .name(Array(entry.utf8))))
    }

    @Test func `an address needs an entry of its bytes`() {
        let loopback: [UInt8] = Array(repeating: 0, count: 15) + [1]
        #expect(CertifiedHost(host: "127.0.0.1").isMatched(by: .address([127, 0, 0, 1])))
        #expect(!CertifiedHost(host: "127.0.0.1").isMatched(by: .address([127, 0, 0, 2])))
        #expect(CertifiedHost(host: "::1").isMatched(by: .address(loopback)))
        #expect(CertifiedHost(host: "::1%lo").isMatched(by: .address(loopback)), "the zone is local")
        #expect(!CertifiedHost(host: "::ffff:127.0.0.1").isMatched(by: .address([127, 0, 0, 1])))
        #expect(!CertifiedHost(host: "localhost").isMatched(by: .address([127, 0, 0, 1])))
        #expect(!CertifiedHost(host: "127.1").isMatched(by: .address([127, 0, 0, 1])), "no address to a certificate")
        #expect(!CertifiedHost(host: "localhost").isMatched(by: .other))
    }

    @Test func `only names are sent as SNI`() {
        #expect(CertifiedHost(host: "Redis.example.").indicatedName == "redis.example")
        #expect(CertifiedHost(host: "127.0.0.1").indicatedName == nil)
        #expect(CertifiedHost(host: "fe80::1%eth0").indicatedName == nil)
    }

    @Test func `a mismatch tells names and addresses apart`() {
        let entries = (0..<7).map { CertificateEntry.name(Array("host\($0)\n".utf8)) }
        let cases: [(CertificateMismatch, String)] = [
            (
                CertificateMismatch(host: CertifiedHost(host: "127.0.0.1"), entries: [.name(Array("127.0.0.1".utf8))]),
                "not for the address 127.0.0.1 but for DNS:127.0.0.1:"
            ),
            (
                CertificateMismatch(
                    host: CertifiedHost(host: "localhost"), entries: [.address([127, 0, 0, 1]), .other]),
                "not for the name localhost but for IP:127.0.0.1, something that is no host:"
            ),
            (
                CertificateMismatch(host: CertifiedHost(host: "localhost"), entries: []),
                "but for no name at all: issue one with DNS:localhost"
            ),
            (CertificateMismatch(host: CertifiedHost(host: "localhost"), entries: entries), "and 2 more"),
        ]
        for (mismatch, text) in cases {
            #expect(mismatch.description.contains(text), "\(mismatch)")
            #expect(!mismatch.description.contains("\n"), "what the server sends is escaped")
            #expect(!mismatch.description.contains("host5"), "a few of very many are shown")
        }
    }
}
