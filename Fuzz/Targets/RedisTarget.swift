import NIOCore

@testable import SyncCore
@testable import syncd

/// The configuration of Redis, and a server's information about itself. The first byte chooses: a whole URL, one with a
/// login whose rest is the input, or the text of INFO.
enum RedisTarget {
    static func check(_ input: inout FuzzInput) throws {
        switch input.byte() % 3 {
        case 0: try checkURL(input.text())
        case 1: try checkSecrets(&input)
        default: try checkInfo(input.text())
        }
    }

    private static func checkURL(_ url: String) throws {
        let endpoint: RedisEndpoint
        do throws(RedisURLError) {
            endpoint = try RedisEndpoint.parse(url)
        } catch {
            return try require(error.description.hasPrefix("REDIS_URL: "), "\(error)")
        }
        try require((0...65_535).contains(endpoint.database), "database \(endpoint.database)")
        try require(endpoint.user == nil || endpoint.password != nil, "a user without a password")
        let texts: [String?]
        switch endpoint.address {
        case .tcp(let host, let port):
            try require(!host.isEmpty && (1...65_535).contains(port), "\(endpoint.address)")
            texts = [host]
        case .unix(let path):
            try require(path.hasPrefix("/") && path.utf8.count <= 107 && !endpoint.isTLS, "\(endpoint)")
            texts = [path]
        case .cluster(let seeds):
            try require((1...ClusterSeeds.maximumNodes).contains(seeds.nodes.count), "\(seeds)")
            for node in seeds.nodes {
                try require(!node.host.isEmpty && (1...65_535).contains(node.port), "\(node)")
            }
            try require(endpoint.database == 0, "a database in a cluster")
            texts = seeds.nodes.map(\.host)
        case .sentinel(let group):
            try require((1...SentinelGroup.maximumSentinels).contains(group.sentinels.count), "\(group)")
            for sentinel in group.sentinels {
                try require(!sentinel.host.isEmpty && (1...65_535).contains(sentinel.port), "\(sentinel)")
            }
            try require(group.user == nil || group.password != nil, "a user without a password")
            texts = group.sentinels.map(\.host) + [group.service, group.user, group.password]
        }
        // In C, a text ends with NUL.
        let hasNUL = (texts + [endpoint.user, endpoint.password]).contains { $0?.utf8.contains(0) == true }
        try require(!hasNUL, "NUL in \(endpoint)")
        let again = try RedisEndpoint.parse(endpoint.url)
        try require(again == endpoint, "\(endpoint) is written as \(endpoint.url)")
    }

    /// Neither what is shown nor a refusal has user or password in it.
    private static func checkSecrets(_ input: inout FuzzInput) throws {
        let schemes = [
            "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "unix", "valkeys", "http",
        ]
        let scheme = schemes[Int(input.byte()) % schemes.count]
        let rest = input.text()
        guard !rest.contains("ecret") else { return }
        for url in ["\(scheme)://secretUser:secretWord@\(rest)", "\(scheme)://\(rest)?sentinelPassword=secretWord"] {
            let shown: String
            do throws(RedisURLError) {
                shown = try RedisEndpoint.parse(url).redacted
            } catch {
                shown = error.description
            }
            try require(!shown.contains("ecret"), "\(url): \(shown)")
        }
    }

    private static func checkInfo(_ text: String) throws {
        let info = ServerInfo(text)
        func isShort(_ text: String, _ limit: Int) -> Bool {
            text.utf8.count <= limit && text.utf8.allSatisfy { (0x20...0x7e).contains($0) }
        }
        try require(isShort(info.version, 64), "version \(info.version)")
        try require(info.warnings.allSatisfy { isShort($0, 200) }, "warnings \(info.warnings)")
        if let identity = info.identity {
            try require(isShort(identity.runID, 128) && isShort(identity.replicationID, 128), "\(identity)")
        }
    }
}

extension RedisEndpoint {
    /// A URL that means this.
    fileprivate var url: String {
        let login = password.map { "\(Self.encoded(user ?? "")):\(Self.encoded($0))@" } ?? ""
        let common = unusedParameters.map { "&\($0)=2" }.joined() + (family.map { "&family=\($0.rawValue)" } ?? "")
        switch address {
        case .tcp(let host, let port):
            return "\(isTLS ? "rediss" : "redis")://\(login)\(Self.encoded(host)):\(port)/\(database)?\(common)"
        case .unix(let path): return "unix://\(login)\(Self.encoded(path))?db=\(database)\(common)"
        case .cluster(let seeds):
            let hosts = seeds.nodes.map { "\(Self.encoded($0.host)):\($0.port)" }.joined(separator: ",")
            return "\(isTLS ? "rediss" : "redis")+cluster://\(login)\(hosts)/?\(common)"
        case .sentinel(let group):
            let hosts = group.sentinels.map { "\(Self.encoded($0.host)):\($0.port)" }.joined(separator: ",")
            let logins = [("sentinelUser", group.user), ("sentinelPassword", group.password)]
            let options = logins.compactMap { name, value in value.map { "\(name)=\(Self.encoded($0))" } }
            return "\(isTLS ? "rediss" : "redis")+sentinel://\(login)\(hosts)/\(Self.encoded(group.service))"
                + "/\(database)?" + options.joined(separator: "&") + common
        }
    }

    /// Each byte but letters in percent encoding.
    private static func encoded(_ text: String) -> String {
        text.utf8.reduce(into: "") { encoded, byte in
            let isPlain = (0x61...0x7a).contains(byte | 0x20)
            encoded += isPlain ? String(Unicode.Scalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
    }
}
