import Foundation

/// A directory of one test, deleted with it.
package final class TemporaryDirectory: Sendable {
    package let path: String
    private let cleanup: AtExit.Token

    package init(in parent: String = "/tmp") throws {
        // Short, because a socket's path has at most 103 bytes.
        let path = "\(parent)/syncd-\(String(UInt64.random(in: 0...UInt64.max), radix: 36))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        self.path = path
        cleanup = AtExit.add { try? FileManager.default.removeItem(atPath: path) }
    }

    deinit { AtExit.runNow(cleanup) }

    /// The path of a file in it.
    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// The names of files in it or in one of its folders, in alphabetical order.
    package func names(in folder: String = "") -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: file(folder))) ?? []).sorted()
    }

    /// Writes a file, and returns its path.
    @discardableResult
    package func write(_ text: String, to name: String) throws -> String {
        try Data(text.utf8).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }
}
