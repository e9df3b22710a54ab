import Foundation
import Testing

@testable import IPCWire

/// The inputs of the fuzzer for the wire, those that once crashed it included, in every piece size.
/// Fuzz/Targets/WireTarget.swift explains their format.
@Suite struct FuzzCorpusTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../Fuzz/corpus/wire").standardizedFileURL

    static let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path))?.sorted() ?? []

    @Test func `there is a corpus`() { #expect(Self.names.count >= 40) }

    @Test(arguments: names) func `an input is decoded the same, however it is split`(name: String) throws {
        let input = [UInt8](try Data(contentsOf: Self.folder.appending(path: name)))
        guard input.count >= 2 else { return }
        var limits = WireLimits()
        if input[0] & 2 != 0 {
            limits.frameBytes = 512
            limits.frameElements = 16
            limits.nestingDepth = 3
        }
        if input[0] & 1 == 0 {
            check(Array(input[2...]), limits, CommandDecoder.self)
        } else {
            check(Array(input[2...]), limits, RESPDecoder.self)
        }
    }

    private func check<Decoder: FrameDecoder>(_ bytes: [UInt8], _ limits: WireLimits, _ type: Decoder.Type) {
        let whole = Decoder.decode(bytes, limits: limits)
        for size in [1, 2, 3, 4, 7, 64] {
            #expect(Decoder.decode(bytes.pieces(of: size), limits: limits) == whole, "in pieces of \(size)")
        }
        for split in 0...bytes.count {
            #expect(Decoder.decode([bytes[..<split], bytes[split...]], limits: limits) == whole, "split at \(split)")
        }
    }
}
