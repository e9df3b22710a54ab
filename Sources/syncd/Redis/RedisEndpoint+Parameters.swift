/// The parameters behind `?`, as ioredis, redis-py, go-redis and Lettuce put them into URLs.
extension RedisEndpoint {
    /// A family of addresses.
    enum Family: String, Sendable {
        case ipv4 = "4"
        case ipv6 = "6"
    }

    /// Parameters of other clients' pools, timeouts and retries, with no meaning here: syncd has two connections, and the
    /// bounds of consistency.md.
    private static let unused: Set<String> = [
        "client_name", "clientName", "commandTimeout", "connect_timeout", "connectTimeout", "connectionName",
        "conn_max_idle_time", "conn_max_lifetime", "decode_responses", "dial_timeout", "enableReadyCheck", "encoding",
        "health_check_interval", "idle_timeout", "keepAlive", "lazyConnect", "max_active_conns", "max_connections",
        "max_idle_conns", "max_retries", "max_retry_backoff", "maxRetriesPerRequest", "min_idle_conns",
        "min_retry_backoff", "noDelay", "pool_fifo", "pool_size", "pool_timeout", "read_timeout", "retry_on_error",
        "retry_on_timeout", "socket_connect_timeout", "socket_keepalive", "socket_timeout", "timeout", "write_timeout",
    ]
    /// Parameters by which other clients check certificates less, with the values that mean the full check.
    private static let checks: [String: Set<String>] = [
        "ssl_cert_reqs": ["required"], "ssl_check_hostname": ["true", "1", "yes"], "skip_verify": ["false", "0"],
        "verifyPeer": ["true", "full"], "rejectUnauthorized": ["true", "1"],
    ]
    /// Parameters that name files, with the keys that do so here.
    private static let files = [
        "ssl_ca_certs": "REDIS_TLS_CA_FILE", "ssl_certfile": "REDIS_TLS_CERT_FILE",
        "ssl_keyfile": "REDIS_TLS_KEY_FILE",
    ]

    /// Takes the parameters of a URL.
    ///
    /// - Parameter take: takes a parameter that only this form of URL has.
    mutating func setParameters(
        _ text: Substring, _ take: (String, String) throws(RedisURLError) -> Bool = { _, _ in false }
    ) throws(RedisURLError) {
        // An unknown name may be a part of a password, also of that of the sentinels.
        let problem =
            text.contains("@") || text.contains("Password=")
            ? RedisURLError("an unknown parameter; in user and password, ? is written %3F and & is written %26") : nil
        var names: Set<String> = []
        for item in text.split(separator: "&") {
            let words = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(words[0])
            guard words.count == 2, (1...40).contains(name.utf8.count), name.utf8.allSatisfy(Self.isOfName) else {
                throw problem ?? RedisURLError("after ? parameters are expected: name=value&name=value")
            }
            guard names.insert(name).inserted else {
                throw problem ?? RedisURLError("the parameter \(name) is there twice")
            }
            let value = try Self.decoded(words[1], "parameters")
            guard try !take(name, value), try !set(name, value) else { continue }
            throw problem
                ?? RedisURLError(
                    "the parameter \(name) is unknown: remove it. A ? in user, password or path is written %3F")
        }
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "_"): true
        default: false
        }
    }

    /// Returns whether the parameter is known.
    private mutating func set(_ name: String, _ value: String) throws(RedisURLError) -> Bool {
        if let full = Self.checks[name] {
            guard full.contains(value.lowercased()) else {
                throw RedisURLError(
                    "\(name) would accept servers whose certificate is not verified: remove it; REDIS_TLS_CA_FILE names the certificates of a private authority"
                )
            }
            return true
        }
        if let key = Self.files[name] { throw RedisURLError("\(name) has no effect here: set \(key)") }
        switch name {
        case "db":
            let number = try Self.database(value[...])
            guard database == 0 || database == number else {
                throw RedisURLError("the path names database \(database), and db another one")
            }
            database = number
        case "family" where value == "0": break
        case "family":
            guard let family = Family(rawValue: value) else { throw RedisURLError("family is 4, 6 or 0") }
            self.family = family
        case "ssl", "tls":
            guard ["true", "false"].contains(value) else { throw RedisURLError("\(name) is true or false") }
            guard (value == "true") == isTLS else {
                throw RedisURLError("\(name)=\(value) contradicts the scheme: rediss:// is TLS, redis:// is not")
            }
        case "protocol":
            guard ["2", "3"].contains(value) else { throw RedisURLError("protocol is 2 or 3") }
            unusedParameters.append(name)
        case _ where Self.unused.contains(name): unusedParameters.append(name)
        default: return false
        }
        return true
    }
}
