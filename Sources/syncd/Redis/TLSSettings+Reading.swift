import ProcessSupport

extension TLSSettings {
    /// `nil`: the endpoint uses no TLS. The files are read here once, so that a mistake in them ends the start and not
    /// every connection.
    static func read(_ settings: Settings, for endpoint: RedisEndpoint) throws(ConfigurationError) -> TLSSettings? {
        func given(_ key: ConfigurationKey) throws(ConfigurationError) -> String? {
            guard let text = try settings.string(key), !text.isEmpty else { return nil }
            return text
        }
        guard endpoint.isTLS else {
            for key in ConfigurationKey.redisTLSKeys where try given(key) != nil {
                throw ConfigurationError(
                    key: key.name, "\(key.name) is set, but REDIS_URL does not use TLS: write rediss://")
            }
            return nil
        }
        let tls = TLSSettings(
            caFile: try given(.redisTLSAuthorities), certificateFile: try given(.redisTLSCertificate),
            keyFile: try given(.redisTLSKey), serverName: try given(.redisTLSServerName))
        if (tls.certificateFile == nil) != (tls.keyFile == nil) {
            throw ConfigurationError(missing: tls.keyFile == nil ? .redisTLSKey : .redisTLSCertificate)
        }
        if let name = tls.serverName, !isHost(name) {
            throw ConfigurationError(
                .redisTLSServerName, value: name, problem: "is no name of a host and no address",
                remedy: "give it as in the certificate, without port and without *, for example redis.example")
        }
        _ = try TLSContextSource(tls).context()
        return tls
    }

    /// Underscores are in no valid host name, but in many names of containers.
    private static func isHost(_ text: String) -> Bool {
        if case .address = CertifiedHost(host: text) { return true }
        return text.utf8.count <= 253
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }
}
