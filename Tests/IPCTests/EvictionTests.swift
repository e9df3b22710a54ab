import Foundation
import IPCTesting
import NIOCore
import Sieve
import Testing

@testable import IPCWire

/// The hit ratio of the arena beside that of SIEVE with as many bytes (docs/performance.md, "Values in shared memory").
@Suite struct EvictionTests {
    /// Requests, as key numbers.
    enum Trace: String, CaseIterable {
        /// Zipf with the exponent that the caches of web pages show, and a flatter one.
        case zipf1, zipf07
        /// Zipf, and every now and then somebody reads a thousand keys that nobody reads again.
        case scans
        /// The popular keys are others after a while.
        case drift

        func requests(_ count: Int) -> [Int] {
            var random = SeededRandom(seed: 5)
            let keys = 20_000
            let exponent = self == .zipf07 ? 0.7 : 1
            var sums: [Double] = []
            var sum = 0.0
            for rank in 1...keys {
                sum += pow(Double(rank), -exponent)
                sums.append(sum)
            }
            func key() -> Int {
                let target = Double.random(in: 0..<sum, using: &random)
                var (low, high) = (0, keys - 1)
                while low < high {
                    let middle = (low + high) / 2
                    if sums[middle] < target { low = middle + 1 } else { high = middle }
                }
                return low
            }
            var requests: [Int] = []
            var scanned = keys
            while requests.count < count {
                if self == .scans, requests.count % 5000 == 0 {
                    requests += scanned..<scanned + 1000
                    scanned += 1000
                }
                requests.append(key() + (self == .drift ? requests.count / 20_000 * 500 : 0))
            }
            return requests
        }
    }

    @Test(arguments: Trace.allCases) func `the arena keeps nearly as much as SIEVE of what is asked for`(trace: Trace)
        throws
    {
        let shape = ValueArenaLayout.Shape(byteCount: 2 << 20)
        let writer = try #require(ValueArenaWriter(.inMemory(shape: shape)))
        var sieve = SieveCache<Int, Int>(byteBudget: shape.ringBytes)
        var hits = (arena: 0, sieve: 0)
        let requests = trace.requests(200_000)
        for number in requests {
            let key = ByteBuffer(string: "key:\(number)")
            // Half of the values are short.
            let bytes = number % 2 == 0 ? 100 : 100 + number * 7919 % 2000
            if writer.offset(of: key) != nil {
                hits.arena += 1
            } else {
                let value = ByteBuffer(repeating: 1, count: bytes)
                let entry = ArenaEntry(incarnation: .none, asOf: 1, deadline: .max, tags: [], value: value)
                writer.insert(entry, for: key, now: 0)
            }
            if sieve.value(for: number) != nil {
                hits.sieve += 1
            } else {
                let length = (ArenaEntry.fixedBytes + key.readableBytes + bytes + 31) / 32 * 32
                sieve.insert(number, number, bytes: length)
            }
        }
        let ratios = (
            arena: Double(hits.arena) / Double(requests.count), sieve: Double(hits.sieve) / Double(requests.count)
        )
        print("\(trace): arena \(ratios.arena), SIEVE \(ratios.sieve)")
        #expect(ratios.arena >= ratios.sieve - 0.01, "SIEVE: \(ratios.sieve)")
    }
}
