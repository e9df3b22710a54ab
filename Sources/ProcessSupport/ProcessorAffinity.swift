/// The cores on which this process may run.
public enum ProcessorAffinity {
    private static let field = "Cpus_allowed_list:"

    /// The core, if there is only one.
    public static var onlyCore: Int? {
        (try? TextFile.read("/proc/self/status", maximumBytes: 64 << 10)).flatMap { onlyCore(status: $0) }
    }

    /// The core that proc(5) names in a process's status; `nil` if it names several: `0-3,5`.
    static func onlyCore(status: String) -> Int? {
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix(field) }) else { return nil }
        return Int(line.dropFirst(field.count).drop { $0.isWhitespace })
    }
}
