import Testing

@testable import syncd

@Suite struct RedisURLTests {
    @Test(arguments: [
        ("redis://localhost", RedisEndpoint(address: .tcp(host: "localhost", port: 6379))),
        ("redis://localhost:6380", RedisEndpoint(address: .tcp(host: "localhost", port: 6380))),
        ("REDIS://localhost/", RedisEndpoint(address: .tcp(host: "localhost", port: 6379))),
        ("redis://h:1/2", RedisEndpoint(address: .tcp(host: "h", port: 1), database: 2)),
        ("redis://:secret@h", RedisEndpoint(address: .tcp(host: "h", port: 6379), password: "secret")),
        ("redis://u:p@h", RedisEndpoint(address: .tcp(host: "h", port: 6379), user: "u", password: "p")),
        ("redis://:@h", RedisEndpoint(address: .tcp(host: "h", port: 6379))),
        ("redis://u:@h", RedisEndpoint(address: .tcp(host: "h", port: 6379), user: "u", password: "")),
        // Special characters in a password: an @ ends with the last one, a : with the first, everything else is
        // escaped.
        ("redis://:a@b:c@h:1", RedisEndpoint(address: .tcp(host: "h", port: 1), password: "a@b:c")),
        ("redis://:%2F%3a%40%25@h", RedisEndpoint(address: .tcp(host: "h", port: 6379), password: "/:@%")),
        ("redis://:p%C3%A4ss@h", RedisEndpoint(address: .tcp(host: "h", port: 6379), password: "päss")),
        ("redis://[::1]:6379", RedisEndpoint(address: .tcp(host: "::1", port: 6379))),
        ("redis://[fe80::1]", RedisEndpoint(address: .tcp(host: "fe80::1", port: 6379))),
        ("rediss://h", RedisEndpoint(address: .tcp(host: "h", port: 6379), isTLS: true)),
        ("unix:///run/redis.sock", RedisEndpoint(address: .unix(path: "/run/redis.sock"))),
        ("unix:///a%20b?db=3", RedisEndpoint(address: .unix(path: "/a b"), database: 3)),
        (
            "unix://u:p@/run/redis.sock",
            RedisEndpoint(address: .unix(path: "/run/redis.sock"), user: "u", password: "p")
        ),
        ("valkey://h", RedisEndpoint(address: .tcp(host: "h", port: 6379))),
        ("valkeys://h", RedisEndpoint(address: .tcp(host: "h", port: 6379), isTLS: true)),
        ("redis://h?db=1", RedisEndpoint(address: .tcp(host: "h", port: 6379), database: 1)),
        ("redis://h/1?db=1&", RedisEndpoint(address: .tcp(host: "h", port: 6379), database: 1)),
        ("redis://h?family=6", RedisEndpoint(address: .tcp(host: "h", port: 6379), family: .ipv6)),
        ("redis://h/?family=0&tls=false", RedisEndpoint(address: .tcp(host: "h", port: 6379))),
        // redis-py, ioredis, go-redis and Lettuce.
        (
            "rediss://h?ssl_cert_reqs=required&ssl_check_hostname=True&protocol=3&socket_timeout=5",
            RedisEndpoint(
                address: .tcp(host: "h", port: 6379), isTLS: true, unusedParameters: ["protocol", "socket_timeout"])
        ),
        (
            "rediss://h?tls=true&rejectUnauthorized=true&connectTimeout=1000",
            RedisEndpoint(address: .tcp(host: "h", port: 6379), isTLS: true, unusedParameters: ["connectTimeout"])
        ),
        (
            "rediss://h/0?skip_verify=false&verifyPeer=FULL&dial_timeout=5s&pool_size=10",
            RedisEndpoint(
                address: .tcp(host: "h", port: 6379), isTLS: true, unusedParameters: ["dial_timeout", "pool_size"])
        ),
        (
            "unix:///s?client_name=a&db=2",
            RedisEndpoint(address: .unix(path: "/s"), database: 2, unusedParameters: ["client_name"])
        ),
        (
            "valkey+sentinel://a/svc?sentinelPassword=p@q&family=4",
            RedisEndpoint(
                address: .sentinel(
                    SentinelGroup(sentinels: [.init(host: "a", port: 26_379)], service: "svc", password: "p@q")),
                family: .ipv4)
        ),
        (
            "redis+cluster://a",
            RedisEndpoint(address: .cluster(ClusterSeeds(nodes: [.init(host: "a", port: 6379)])))
        ),
        (
            "rediss+cluster://u:p%2F@a:1,b,[::1]:2/0?db=0&tls=true",
            RedisEndpoint(
                address: .cluster(
                    ClusterSeeds(nodes: [
                        .init(host: "a", port: 1), .init(host: "b", port: 6379), .init(host: "::1", port: 2),
                    ])), isTLS: true, user: "u", password: "p/")
        ),
        (
            "valkeys+cluster://:p@a/",
            RedisEndpoint(
                address: .cluster(ClusterSeeds(nodes: [.init(host: "a", port: 6379)])), isTLS: true, password: "p")
        ),
    ])
    func `what is understood`(url: String, endpoint: RedisEndpoint) throws {
        #expect(try RedisEndpoint.parse(url) == endpoint)
    }

    @Test(arguments: [
        "", "localhost:6379", "http://h", "redis:/h", "redis://", "redis://:6379", "redis://h:", "redis://h:0",
        "redis://h:65536", "redis://h:+1", "redis://h:1a", "redis://h:٥", "redis://h/x", "redis://h/-1",
        "redis://h/1/2",
        "redis://h/65536", "redis://u@h", "redis://h#1", "redis://[::1", "redis://[::1]6379",
        "redis://:%@h", "redis://:%4@h", "redis://:%+4@h", "redis://:%zz@h", "redis://:%00@h", "redis://:%ff@h",
        "unix://run/redis.sock", "unix://", "unix:///s?x=1", "unix:///s?db=", "unix:///s?db=a",
        "unix:///" + String(repeating: "a", count: 107), "redis://u:p@\u{301}h", "redis+sentinel://a/\u{64c}b/c",
    ])
    func `what is refused, with the key's name`(url: String) {
        if url == "unix:///s?db=" {
            #expect((try? RedisEndpoint.parse(url))?.database == 0)
            return
        }
        #expect {
            try RedisEndpoint.parse(url)
        } throws: { "\($0)".hasPrefix("REDIS_URL: ") }
    }

    /// Each refusal names the parameter, and the remedy.
    @Test(arguments: [
        ("rediss://h?ssl_cert_reqs=none", "ssl_cert_reqs"), ("rediss://h?ssl_cert_reqs=optional", "REDIS_TLS_CA_FILE"),
        ("rediss://h?ssl_cert_reqs", "name=value"), ("rediss://h?ssl_cert_reqs=", "ssl_cert_reqs"),
        ("rediss://h?ssl_check_hostname=false", "ssl_check_hostname"),
        ("rediss://h?rejectUnauthorized=false", "rejectUnauthorized"), ("rediss://h?skip_verify=true", "skip_verify"),
        ("rediss://h?verifyPeer=NONE", "verifyPeer"), ("rediss://h?ssl_ca_certs=/ca", "set REDIS_TLS_CA_FILE"),
        ("redis://h?tls=true", "rediss://"), ("redis://h?ssl=true", "rediss://"), ("rediss://h?tls=false", "tls"),
        ("redis://h?family=5", "family"), ("redis://h?protocol=4", "protocol"), ("redis://h/1?db=2", "db"),
        ("redis://h?db=1&db=1", "db is there twice"), ("redis://h?db=x", "database"),
        ("redis://h?keyprefix=a", "keyprefix is unknown"), ("redis://h?a-b=1", "name=value"),
        ("redis://:pass?word@h", "%3F"), ("redis+sentinel://a/s?x=1", "x is unknown"),
        ("redis+sentinel://a/s?sentinelUser=u", "sentinelPassword"),
        ("redis+sentinel://a/s?sentinelPassword=", "sentinelPassword"),
        ("redis+cluster://a/1", "no database but 0"), ("redis+cluster://a/?db=1", "no database but 0"),
        ("redis+cluster://a/x", "database"), ("redis+cluster://", "host"), ("redis+cluster://a,", "host"),
        ("redis+cluster://a:0", "port"), ("redis+cluster://u@a", "password"),
        ("redis+cluster://a/?sentinelPassword=a", "an unknown parameter"),
        ("redis+cluster://" + Array(repeating: "a", count: 17).joined(separator: ","), "at most 16 nodes"),
    ])
    func `a parameter that would weaken something, or that nobody knows`(url: String, named: String) {
        #expect {
            try RedisEndpoint.parse(url)
        } throws: { "\($0)".contains(named) && "\($0)".hasPrefix("REDIS_URL: ") }
    }

    @Test(arguments: [
        "redis://user:secret-word@host:1/2", "rediss://:secret-word@host",
        "unix://user:secret-word@/run/redis.sock?db=1", "redis+cluster://user:secret-word@h,i/",
    ])
    func `what is shown has no password and no user`(url: String) throws {
        let shown = try RedisEndpoint.parse(url).redacted
        #expect(!shown.contains("secret-word"))
        #expect(!shown.contains("user"))
    }

    @Test(arguments: [
        "redis://user:secret-word@", "redis://user:secret-word@host:port", "redis://user:secret-word%@host",
        "other://user:secret-word@host", "user:secret-word@host", "redis://user:secret-word?@host",
        "redis://u:p?secret-word=@h", "redis://u:p?secret=secret-word@h",
        "redis+sentinel://h/svc?sentinelPassword=abc&secretword=", "redis://u:p@h/0?secretword",
        "redis+sentinel://h/svc?sentinelPassword=abc&secretword", "redis+sentinel://user:26379/secret-word@h",
        "redis+sentinel://h:1/secret-word@svc", "redis+cluster://u:1/secret-word@h",
        "redis+cluster://u:1?secret-word@h",
        "redis+cluster://u:secret-word@h/1",
    ])
    func `nor does a refusal`(url: String) {
        #expect {
            try RedisEndpoint.parse(url)
        } throws: { !"\($0)".contains("secret-word") && !"\($0)".contains("secretword") }
    }
}
