/// Default paths of syncd's files: beside its socket.
package enum RuntimeDirectory {
    /// Path of the tag table of the syncd that listens on `socketPath`.
    package static func tagTable(socketPath: String) -> String { folder(of: socketPath) + "tags.table" }

    /// Path of the value arena of the syncd that listens on `socketPath`.
    package static func arena(socketPath: String) -> String { folder(of: socketPath) + "values.arena" }

    /// Path of the figures that the syncd that listens on `socketPath` keeps for its report.
    package static func report(socketPath: String) -> String { folder(of: socketPath) + "report" }

    /// Path of the journal directory of the syncd that listens on `socketPath`. Workers that have not connected to
    /// syncd yet write there; afterwards they use the path in its greeting.
    package static func journal(socketPath: String) -> String { folder(of: socketPath) + "journal" }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "./" }
        return String(path[...slash])
    }
}
