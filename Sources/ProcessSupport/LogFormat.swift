#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// How the lines of the log are written.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `message key=value`, with time and level in front of it where the journal doesn't keep them.
    case text
    /// One JSON object per line.
    case json
}

/// Who reads the log.
enum LogReader: Sendable, Hashable {
    /// A terminal, a file, a pipe: every line says when and how important.
    case stream
    /// The journal: it knows the time, and takes the level as a prefix `<N>` (sd-daemon(3)).
    case journal

    /// The journal, if `JOURNAL_STREAM` names the file that this descriptor is; it is inherited by whoever redirects
    /// its output elsewhere.
    init(environment: [String: String], descriptor: Int32 = STDERR_FILENO) {
        var status = stat()
        let isJournal =
            fstat(descriptor, &status) == 0
            && environment["JOURNAL_STREAM"] == "\(UInt64(status.st_dev)):\(UInt64(status.st_ino))"
        self = isJournal ? .journal : .stream
    }
}
