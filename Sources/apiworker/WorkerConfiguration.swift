import Logging
import ProcessSupport

/// The configuration of a worker, validated.
struct WorkerConfiguration: Sendable {
    var address: HTTPServer.Address
    var databaseURL: String
    var origins: Set<String>
    /// Host names in lower case; empty: any.
    var hosts: Set<String>
    /// `nil`: no syncd, hence no cache.
    var socketPath: String?
    var l1Bytes: Int
    /// One in N hits is compared with the database; 0: none.
    var auditOneIn: Int
    /// Time in seconds after its time to live for which a value may be served while MongoDB fails.
    var graceSeconds: Int
    /// Bytes for compressed bodies; 0: no compression.
    var gzipBytes: Int
    /// Time in seconds for which a connection without a request stays open.
    var idleSeconds: Int
    /// Whether the database's change stream is followed.
    var followsChanges: Bool

    /// Maximum length of a Unix socket's path, in bytes.
    private static let maximumSocketPath = 103

    /// `FileDescriptorName=` of the socket that systemd passes.
    static let socketName = "http"

    /// - Parameter sockets: sockets passed by the service manager. A listener replaces host and port.
    static func read(
        _ settings: Settings, sockets: InheritedSockets
    ) throws(ConfigurationError) -> WorkerConfiguration {
        let (host, port) = (try host(settings), try settings.integer(.port, in: 0...65_535))
        let inherited = try sockets.listener(named: socketName, kind: .internet)
        return WorkerConfiguration(
            address: inherited.map(HTTPServer.Address.inherited) ?? .host(host, port: port),
            databaseURL: try settings.required(.databaseURL),
            origins: try origins(try settings.string(.origins) ?? ""),
            hosts: try hosts(try settings.string(.hosts) ?? ""),
            socketPath: try socketPath(settings),
            l1Bytes: try settings.integer(.l1Bytes, in: 0...(1 << 40)),
            auditOneIn: try settings.integer(.auditOneIn, in: 0...1_000_000_000),
            graceSeconds: try settings.integer(.graceSeconds, in: 0...86_400),
            gzipBytes: try settings.integer(.gzipBytes, in: 0...(1 << 40)),
            idleSeconds: try settings.integer(.idleSeconds, in: 1...86_400),
            followsChanges: try settings.flag(.changeFeed))
    }

    private static func host(_ settings: Settings) throws(ConfigurationError) -> String {
        let text = try settings.string(.host) ?? ""
        return text.isEmpty ? ConfigurationKey.host.defaultText ?? "" : text
    }

    private static func socketPath(_ settings: Settings) throws(ConfigurationError) -> String? {
        guard let path = try settings.string(.syncdSocket), !path.isEmpty else { return nil }
        guard path.hasPrefix("/") else {
            throw ConfigurationError(
                .syncdSocket, value: path, problem: "is not an absolute path", remedy: "begin it with /")
        }
        guard path.utf8.count <= maximumSocketPath else {
            throw ConfigurationError(
                .syncdSocket, value: path, problem: "is too long",
                remedy: "give a path of at most \(maximumSocketPath) bytes")
        }
        return path
    }

    /// An origin is compared as a browser sends it: scheme, host and, if it is not the scheme's default, port.
    private static func origins(_ text: String) throws(ConfigurationError) -> Set<String> {
        var origins: Set<String> = []
        for part in text.split(separator: ",") {
            var origin = String(part).trimmed
            if origin.hasSuffix("/") { origin.removeLast() }
            guard !origin.isEmpty else { continue }
            guard isOrigin(origin) else {
                throw ConfigurationError(
                    .origins, value: origin, problem: "is no origin",
                    remedy: "give it as https://host or https://host:port")
            }
            // A browser leaves out the default port.
            let port = origin.hasPrefix("https://") ? ":443" : ":80"
            origins.insert(origin.hasSuffix(port) ? String(origin.dropLast(port.count)) : origin)
        }
        return origins
    }

    /// Names without ports, IPv6 addresses in brackets: compared with the value of `Host`.
    private static func hosts(_ text: String) throws(ConfigurationError) -> Set<String> {
        var hosts: Set<String> = []
        for part in text.split(separator: ",") {
            let host = String(part).trimmed.lowercased()
            guard !host.isEmpty else { continue }
            guard HostField.isValid(host), host.hasSuffix("]") || !host.contains(":") else {
                throw ConfigurationError(
                    .hosts, value: host, problem: "is no host name",
                    remedy: "give names or addresses without ports, IPv6 addresses in brackets")
            }
            hosts.insert(host)
        }
        return hosts
    }

    private static func isOrigin(_ text: String) -> Bool {
        guard let scheme = ["http://", "https://"].first(where: text.hasPrefix) else { return false }
        let host = text.dropFirst(scheme.count).utf8
        return !host.isEmpty
            && host.allSatisfy { byte in
                // Visible ASCII, lower case, and no character that begins a path, a query or user information.
                (0x21...0x7e).contains(byte) && !(0x41...0x5a).contains(byte) && !"/?#@*\\".utf8.contains(byte)
            }
    }
}
