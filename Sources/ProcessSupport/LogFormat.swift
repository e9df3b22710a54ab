#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The format of log lines.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `message key=value`, preceded by time and level if the journal doesn't store them.
    case text
    /// One JSON object per line.
    case json
}

/// The destination of the log.
enum LogReader: Sendable, Hashable {
    /// A terminal, a file, a pipe: every line has time and level.
    case stream
    /// The journal: it stores the time, and takes the level as a prefix `<N>` (sd-daemon(3)).
    case journal

    /// The journal, if `JOURNAL_STREAM` names the file of this descriptor. A process that redirects its output inherits
    /// the variable.
    init(environment: [String: String], descriptor: Int32 = STDERR_FILENO) {
        var status = stat()
        let isJournal =
            fstat(descriptor, &status) == 0
            && environment["JOURNAL_STREAM"] == "\(UInt64(status.st_dev)):\(UInt64(status.st_ino))"
        self = isJournal ? .journal : .stream
    }
}
