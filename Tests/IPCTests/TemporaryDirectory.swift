import Foundation

/// A directory of one test, deleted with it.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        // Short: a socket's path has at most 103 bytes.
        path = "/tmp/ipc-\(String(UInt64.random(in: 0...UInt64.max), radix: 36))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    func names(in folder: String = "") -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: file(folder))) ?? []).sorted()
    }
}
