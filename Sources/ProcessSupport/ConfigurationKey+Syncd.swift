/// Every key that syncd reads.
extension ConfigurationKey {
    package static let redisEnabled = ConfigurationKey(
        "REDIS_ENABLED", default: "false", help: "share log and cache through Redis; without it syncd is embedded")
    package static let redisURL = ConfigurationKey(
        "REDIS_URL", default: "redis://localhost:6379",
        help:
            "redis://[user][:password]@host:port[/db], rediss://, redis+sentinel://, redis+cluster:// or unix:///path (docs/redis.md)",
        isSecret: true)
    package static let redisTLSAuthorities = ConfigurationKey(
        "REDIS_TLS_CA_FILE", help: "certificates (PEM) to trust instead of the system's store")
    package static let redisTLSCertificate = ConfigurationKey(
        "REDIS_TLS_CERT_FILE", help: "syncd's own certificate (PEM), for servers that ask for one")
    package static let redisTLSKey = ConfigurationKey(
        "REDIS_TLS_KEY_FILE", help: "the private key (PEM) of REDIS_TLS_CERT_FILE")
    package static let redisTLSServerName = ConfigurationKey(
        "REDIS_TLS_SERVER_NAME", help: "the name in the server's certificate, where it is not the host of REDIS_URL")
    package static let syncdNamespace = ConfigurationKey(
        "SYNCD_NAMESPACE", option: "--namespace", default: "syncd",
        help: "prefix of all keys and channels of the log in Redis")
    package static let tableBits = ConfigurationKey(
        "SYNCD_TABLE_BITS", option: "--table-bits", default: "20",
        help: "the tag table has 2^bits slots, 16 to 24")
    package static let cacheBytes = ConfigurationKey(
        "SYNCD_CACHE_BYTES", option: "--cache-bytes",
        help: "memory for values that the workers share; 0: none (default: 64 MiB, less on a small machine)")
    package static let bridge = ConfigurationKey(
        "SYNCD_BRIDGE", option: "--bridge", default: "true",
        help: "events of other programs invalidate; false: only what workers and INVALIDATE say counts")
    /// By default, the rules of a service whose users' cache is kept by this one.
    package static let bridgeRules = ConfigurationKey(
        "SYNCD_BRIDGE_RULES", option: "--bridge-rules",
        default: ["user:created", "user:updated", "user:deleted"]
            .map { "\($0) users user:{userId} user:{friendId?}; " }.joined()
            + ["users:linked", "users:unlinked"].map { "\($0) users user:{userId} user:{friendId}; " }.joined()
            + "cache:invalidate {tags?} pattern=users:*>users pattern=graph:*>users pattern=stats:*>users pattern>*",
        help: "what they invalidate: channel tag{field}… ; … (docs/event-bridge.md)")

    package static let redisTLSKeys = [redisTLSAuthorities, redisTLSCertificate, redisTLSKey, redisTLSServerName]
    package static let syncdKeys =
        [syncdSocket, redisEnabled, redisURL] + redisTLSKeys
        + [syncdNamespace, tableBits, cacheBytes, bridge, bridgeRules, logLevel, logFormat]
}
