import Foundation

/// The paths of the programs that the tests start.
package enum Executables {
    /// The folder with the package's own programs: that of the test bundle, or `TEST_PROGRAMS`, for tests that measure
    /// a release build.
    package static let builtFolder: String = {
        if let folder = ProcessInfo.processInfo.environment["TEST_PROGRAMS"] { return folder }
        let path = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: path).deletingLastPathComponent().path
    }()

    /// The folder with `Package.swift`.
    package static let packageFolder: String = {
        var folder = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { folder.deleteLastPathComponent() }
        return folder.path
    }()

    /// One of the package's own programs.
    package static func built(_ name: String) throws -> String {
        let path = "\(builtFolder)/\(name)"
        guard isExecutable(path) else {
            throw TestFailure("\(path) is missing: build the package first (swift build --build-tests)")
        }
        return path
    }

    /// A program of the machine.
    package static func find(_ name: String) throws -> String {
        for path in searchPath(name) where isExecutable(path) { return path }
        throw TestFailure("\(name) is missing: scripts/install-dependencies installs it")
    }

    /// The machine's mongod, else the one in the build folder.
    package static func mongod() throws -> String {
        let candidates = searchPath("mongod") + ["\(packageFolder)/.build/servers/mongod"]
        for path in candidates where isExecutable(path) { return path }
        throw TestFailure("mongod is missing: scripts/install-dependencies puts it into .build/servers")
    }

    private static func searchPath(_ name: String) -> [String] {
        let folders = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
        return folders.split(separator: ":").map { "\($0)/\(name)" }
    }

    private static func isExecutable(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
    }
}
