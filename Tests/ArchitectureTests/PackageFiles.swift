import Foundation
import TestSupport

/// A text file of the package, by its path inside of it.
struct TextFile: Sendable, CustomStringConvertible {
    let path: String
    let text: String

    init(path: String, text: String) {
        self.path = path
        self.text = text
    }

    init(_ path: String) throws {
        self.init(
            path: path, text: try String(contentsOfFile: "\(Executables.packageFolder)/\(path)", encoding: .utf8))
    }

    var description: String { path }
    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
}

/// The files of the package.
enum PackageFiles {
    /// All files below a folder whose name ends like this, in order.
    static func all(below folder: String, ending: String) throws -> [TextFile] {
        try paths(below: folder).filter { $0.hasSuffix(ending) }.map { try TextFile($0) }
    }

    private static func paths(below folder: String) -> [String] {
        let names = FileManager.default.enumerator(atPath: "\(Executables.packageFolder)/\(folder)")
        let paths = (names?.compactMap { $0 as? String } ?? []).map { "\(folder)/\($0)" }
        return paths.filter { !isFolder($0) }.sorted()
    }

    /// Scripts without those in Python, units and their configuration.
    static func scripts() throws -> [TextFile] {
        try ["scripts", "systemd", ".ci"].flatMap(paths).filter { !$0.contains(".py") }.map { try TextFile($0) }
    }

    static func sources() throws -> [TextFile] { try all(below: "Sources", ending: ".swift") }

    /// The README, and everything that it leads to.
    static func documents() throws -> [TextFile] {
        [try TextFile("README.md")] + (try all(below: "docs", ending: ".md"))
    }

    private static func isFolder(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(
            atPath: "\(Executables.packageFolder)/\(path)", isDirectory: &isFolder) && isFolder.boolValue
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: "\(Executables.packageFolder)/\(path)")
    }
}
