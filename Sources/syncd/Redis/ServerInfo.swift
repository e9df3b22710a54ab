import NIOCore
import SyncCore

/// The used part of a server's INFO.
struct ServerInfo: Sendable, Equatable {
    /// `nil`: not shown.
    var identity: ServerIdentity?
    var version = ""
    var isPrimary = true
    var warnings: [String] = []

    /// The complete INFO of a server has some ten thousand bytes. Longer text is ignored.
    private static let maximumBytes = 256 << 10

    init(_ reply: ByteBuffer) {
        let text = reply.getSlice(at: reply.readerIndex, length: min(reply.readableBytes, Self.maximumBytes))
        self.init(String(buffer: text ?? ByteBuffer()))
    }

    init(_ text: String) {
        var fields: [Substring: Substring] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let name = line[..<colon]
            if fields[name] == nil { fields[name] = line[line.index(after: colon)...] }
        }
        if let run = fields["run_id"], let replication = fields["master_replid"], Self.isName(run),
            Self.isName(replication)
        {
            identity = ServerIdentity(runID: String(run), replicationID: String(replication))
        }
        let name = fields["server_name"].map { "\($0) " } ?? ""
        // Valkey also reports a redis_version, 7.2.4.
        let number = fields["valkey_version"] ?? fields["redis_version"] ?? ""
        version = Self.shown(name + number)
        if fields["valkey_version"] == nil, Self.isOld(number) {
            warnings.append("version \(version) is older than 6.2: it lacks what syncd needs")
        }
        isPrimary = fields["role"] != "slave"
        let policy = Self.shown(fields["maxmemory_policy"] ?? "")
        let isLimited = (fields["maxmemory"] ?? "0") != "0"
        if isLimited, policy.hasPrefix("allkeys") {
            warnings.append("maxmemory-policy \(policy) may evict the log: set volatile-lru")
        } else if isLimited, policy == "noeviction" {
            warnings.append("maxmemory-policy noeviction refuses invalidations when memory is full: set volatile-lru")
        }
    }

    /// A text of the server, shortened for the log and for STATUS.
    private static func shown(_ text: some StringProtocol) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { (0x20...0x7e).contains($0.value) }.prefix(64)))
    }

    /// Ids are stored in the record of the log: 40 hexadecimal digits, or another form in managed services.
    private static func isName(_ text: Substring) -> Bool {
        (2...128).contains(text.utf8.count) && text.utf8.allSatisfy { (0x21...0x7e).contains($0) }
    }

    private static func isOld(_ version: Substring) -> Bool {
        let numbers = version.split(separator: ".").prefix(2).compactMap { Int($0) }
        guard numbers.count == 2 else { return false }
        return numbers[0] < 6 || (numbers[0] == 6 && numbers[1] < 2)
    }
}
