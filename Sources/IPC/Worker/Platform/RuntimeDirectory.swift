/// Where syncd's files are by default: beside its socket.
package enum RuntimeDirectory {
    /// Path of the tag table of the syncd that listens on `socketPath`.
    package static func tagTable(socketPath: String) -> String { folder(of: socketPath) + "tags.table" }

    /// Path of the journal directory of the syncd that listens on `socketPath`. Workers that have not met syncd yet
    /// write there; afterwards they write where it tells them to.
    package static func journal(socketPath: String) -> String { folder(of: socketPath) + "journal" }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "./" }
        return String(path[...slash])
    }
}
