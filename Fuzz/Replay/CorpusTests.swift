import Foundation
import Testing

/// The inputs that the fuzzer begins with, those that once broke something included.
@Suite struct CorpusTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../corpus").standardizedFileURL

    /// Of one target, in order.
    private static func inputs(_ target: FuzzTarget) throws -> [URL] {
        try FileManager.default.contentsOfDirectory(
            at: folder.appending(path: target.rawValue), includingPropertiesForKeys: nil
        ).sorted { $0.path < $1.path }
    }

    @Test(arguments: FuzzTarget.allCases) func `what holds for every input`(target: FuzzTarget) throws {
        let inputs = try Self.inputs(target)
        #expect(inputs.count >= 10)
        for input in inputs {
            let bytes = [UInt8](try Data(contentsOf: input))
            #expect(throws: Never.self, "\(input.lastPathComponent)") { try target.check(bytes) }
        }
    }

    /// Their beginnings are inputs as well.
    @Test(arguments: FuzzTarget.allCases) func `what holds for every beginning of one`(target: FuzzTarget) throws {
        for input in try Self.inputs(target) {
            let bytes = [UInt8](try Data(contentsOf: input))
            for count in stride(from: 0, to: min(bytes.count, 256), by: target == .table ? 16 : 1) {
                #expect(throws: Never.self, "\(input.lastPathComponent), \(count) bytes") {
                    try target.check(Array(bytes[..<count]))
                }
            }
        }
    }

    @Test func `no folder of another target`() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(Set(folders) == Set(FuzzTarget.allCases.map(\.rawValue)))
    }
}
