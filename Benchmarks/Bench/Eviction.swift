import ArgumentParser
import Foundation
import IPCWire
import NIOCore
import Sieve

/// The hit ratio of the value arena beside that of SIEVE with as many bytes, for a trace of requests.
struct Eviction: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compares the value arena with SIEVE for a trace: one line for each request, KEY [BYTES].",
        discussion: "Without BYTES, half of the values have 100 bytes, and the others 100 to 2100.")

    @Argument(help: "The files.")
    var traces: [String]

    /// Sizes of the caches, in parts of the bytes of all values.
    private static let parts = [0.01, 0.05, 0.1, 0.25]

    func run() throws {
        print("trace requests keys part arena SIEVE")
        for path in traces {
            let requests = try Self.read(path)
            var lengths: [Int: Int] = [:]
            for request in requests { lengths[request.key] = Self.recordBytes(request) }
            let total = lengths.values.reduce(0, +)
            for part in Self.parts {
                let bytes = max(Int(Double(total) * part), ValueArenaLayout.byteCountRange.lowerBound)
                let (arena, sieve) = Self.ratios(requests, bytes: bytes)
                let name = URL(fileURLWithPath: path).lastPathComponent
                print(
                    "\(name) \(requests.count) \(lengths.count) "
                        + String(format: "%.2f %.4f %.4f", Double(bytes) / Double(total), arena, sieve))
            }
        }
    }

    private typealias Request = (key: Int, bytes: Int)

    private static func read(_ path: String) throws -> [Request] {
        var numbers: [Substring: Int] = [:]
        return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map { line in
            let words = line.split(separator: " ")
            let key = numbers[words[0]] ?? numbers.count
            numbers[words[0]] = key
            let length = key % 2 == 0 ? 100 : 100 + key * 7919 % 2000
            return (key, words.count > 1 ? Int(words[1]) ?? length : length)
        }
    }

    private static func name(_ key: Int) -> String { "key:\(key)" }

    private static func recordBytes(_ request: Request) -> Int {
        (ArenaEntry.fixedBytes + name(request.key).utf8.count + request.bytes + 31) / 32 * 32
    }

    private static func ratios(_ requests: [Request], bytes: Int) -> (arena: Double, sieve: Double) {
        let shape = ValueArenaLayout.Shape(byteCount: bytes)
        guard let writer = ValueArenaWriter(.inMemory(shape: shape)) else { return (0, 0) }
        var sieve = SieveCache<Int, Int>(byteBudget: shape.ringBytes)
        var hits = (arena: 0, sieve: 0)
        for request in requests {
            let key = ByteBuffer(string: name(request.key))
            if writer.offset(of: key) != nil {
                hits.arena += 1
            } else {
                let value = ByteBuffer(repeating: 1, count: request.bytes)
                writer.insert(
                    ArenaEntry(incarnation: .none, asOf: 1, deadline: .max, tags: [], value: value), for: key, now: 0)
            }
            if sieve.value(for: request.key) != nil {
                hits.sieve += 1
            } else {
                sieve.insert(request.key, 0, bytes: recordBytes(request))
            }
        }
        return (Double(hits.arena) / Double(requests.count), Double(hits.sieve) / Double(requests.count))
    }
}
