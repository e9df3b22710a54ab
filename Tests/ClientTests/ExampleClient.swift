import Foundation
import TestSupport
import Testing

@testable import ClientCheck

/// The workers in other languages that stand in `examples/`, as users start them.
enum ExampleClient: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case pythonRESP3 = "Python, RESP3, mapped table"
    case pythonRESP2 = "Python, RESP2, mapped table"
    case nodePushes = "Node.js, RESP3, pushes"
    case nodePlain = "Node.js, RESP2, stock client"

    var testDescription: String { rawValue }

    /// Where the examples are; a test may have changed its own copy.
    static let folder = "\(Executables.packageFolder)/examples"

    func command(in folder: String = folder) throws -> [String] {
        switch self {
        case .pythonRESP3, .pythonRESP2:
            let python = "\(Executables.packageFolder)/.build/servers/python/bin/python3"
            guard FileManager.default.isExecutableFile(atPath: python) else {
                throw TestFailure("\(python) is missing: scripts/install-dependencies puts it there")
            }
            return [python, "\(folder)/python/worker.py"]
        case .nodePushes: return [try Executables.find("node"), "\(folder)/node/worker.mjs"]
        case .nodePlain: return [try Executables.find("node"), "\(folder)/node/plain-worker.cjs"]
        }
    }

    var environment: [String: String] {
        [
            "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin",
            // A test must not write beside the sources.
            "PYTHONDONTWRITEBYTECODE": "1", "PROTOCOL": self == .pythonRESP2 ? "2" : "3",
            "NODE_PATH": "/usr/share/nodejs",
        ]
    }

    /// Starts it.
    func launch(
        _ environment: [String: String], errorPath: String, folder: String = folder
    ) async throws -> ClientProcess {
        try await ClientProcess(
            try command(in: folder), environment: self.environment.merging(environment) { $1 }, errorPath: errorPath)
    }
}
