import Glibc
import IPC
import Logging
import NIOCore
import NIOPosix
import TestSupport

extension Scenario {
    /// A value that another worker has loaded, out of shared memory, by the call that a worker makes. The worker keeps
    /// nothing itself, so that each of its hits is such a one.
    static func shared(_ rounds: Int) async throws -> [Measured] {
        let syncd = try await SyncdProcess.forMeasuring(environment: ["SYNCD_CACHE_BYTES": "\(160 << 20)"])
        let redis = try await RedisServer()
        let keys = Keys.benchmark(1000)
        try syncd.fill(keys: keys, tags: threeTags, value: smallValue)
        try set(keys, in: redis)
        let reader = try await SharedReader(syncd)
        let theirs = try Wire(path: redis.socketPath)
        let small = try await Rounds(rounds) {
            [try await reader.nanosecondsPerHit(keys, passes: 200)]
        } yardstick: {
            [Double(try oneByOne(theirs, "GET", keys).p50AndP99[0])]
        }
        let get = "GET of redis-server, one client"
        let row = small.row(
            "shared-hit", "hit on a value that another worker loaded, 100 B, three tags", get, .nanoseconds,
            .ratioAtMost(0.02))
        var time = row
        (time.name, time.what, time.goal) = ("shared-hit-time", "the same, its time", .atMost(500))
        var rows = [row, time]
        for (kibibytes, count) in [(10, 6000), (100, 600)] {
            let long = (0..<count).map { "long:\(kibibytes):\($0)" }
            let value = ByteBuffer(repeating: UInt8(ascii: "x"), count: kibibytes << 10)
            try syncd.fill(keys: long, tags: threeTags, value: value)
            let copies = ColdCopies(count: count, bytes: kibibytes << 10)
            func compare(_ name: String, _ yardstick: String, _ goal: Goal, _ copy: () -> Double) async throws {
                let result = try await Rounds(rounds) {
                    [try await reader.nanosecondsPerHit(long, passes: 3)]
                } yardstick: {
                    [copy()]
                }
                rows.append(result.row(name, "the same, \(kibibytes) KiB", yardstick, .nanoseconds, goal))
            }
            let name = "shared-hit-\(kibibytes)k"
            try await compare(name, "memcpy of as many cold bytes of shared memory", .ratioAtMost(1.5)) {
                copies.nanosecondsPerCopy(passes: 3)
            }
            try await compare(
                name + "-limit", "that memcpy into new memory, behind a word of an index, the length and a slot", .none
            ) {
                copies.nanosecondsPerReading(passes: 3)
            }
        }
        return rows
    }
}

/// A worker that keeps nothing itself.
private final class SharedReader: Sendable {
    private let cache: SyncedCache
    private let running: Task<Void, any Error>

    init(_ syncd: SyncdProcess) async throws {
        let cache = SyncedCache(
            configuration: SyncedCacheConfiguration(socketPath: syncd.socketPath, l1Bytes: 0, clientName: "bench"),
            eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "bench"))
        running = Task { try await cache.run() }
        self.cache = cache
        while cache.status.sync != .attached { try await Task.sleep(for: .milliseconds(5)) }
    }

    deinit { running.cancel() }

    func nanosecondsPerHit(_ names: [String], passes: Int) async throws -> Double {
        let keys = names.shuffled().map { CacheKey($0) }
        let start = monotonicNow()
        for _ in 0..<passes {
            for key in keys {
                let value = try await cache.value(for: key, tags: [], ttl: .seconds(3600), load: { nil })
                guard value.source == .l2, value.value != nil else { throw TestFailure("no hit: \(value.source)") }
            }
        }
        return Double(monotonicNow() - start) / Double(passes * keys.count)
    }
}

/// Copies out of shared memory that no processor has in its caches, each into the same place.
private final class ColdCopies {
    private let source: UnsafeMutableRawBufferPointer
    private let target: UnsafeMutableRawBufferPointer
    private let order: [Int]
    /// As large as the tag table and the index of an arena, and as cold.
    private let words: UnsafeMutableBufferPointer<UInt64>

    init(count: Int, bytes: Int) {
        // Shared as the arena is: in pages of 4 KiB, however large those of private memory are.
        let flags = MAP_SHARED | MAP_ANONYMOUS
        let memory = mmap(nil, count * bytes, PROT_READ | PROT_WRITE, flags, -1, 0)
        source = UnsafeMutableRawBufferPointer(start: memory == MAP_FAILED ? nil : memory, count: count * bytes)
        target = .allocate(byteCount: bytes, alignment: 4096)
        source.initializeMemory(as: UInt8.self, repeating: 1)
        target.initializeMemory(as: UInt8.self, repeating: 1)
        order = (0..<count).map { $0 * bytes }.shuffled()
        for offset in order { source.storeBytes(of: bytes, toByteOffset: offset, as: Int.self) }
        let wordBytes = 8 << 20
        let wordMemory = mmap(nil, wordBytes, PROT_READ | PROT_WRITE, flags, -1, 0)
        words = UnsafeMutableBufferPointer(
            start: wordMemory == MAP_FAILED ? nil : wordMemory?.bindMemory(to: UInt64.self, capacity: wordBytes / 8),
            count: wordBytes / 8)
        words.initialize(repeating: 0)
    }

    deinit {
        munmap(source.baseAddress, source.count)
        munmap(words.baseAddress, words.count * 8)
        target.deallocate()
    }

    func nanosecondsPerCopy(passes: Int) -> Double {
        let start = monotonicNow()
        for _ in 0..<passes {
            for offset in order {
                target.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[offset..<offset + target.count]))
            }
        }
        return Double(monotonicNow() - start) / Double(passes * order.count)
    }

    /// The parts of a hit that nothing can replace: the place of the value, its length, its copy, and whether it is fresh.
    func nanosecondsPerReading(passes: Int) -> Double {
        let start = monotonicNow()
        for _ in 0..<passes {
            for (number, offset) in order.enumerated() {
                // Some place that depends on the key, as a hash does.
                let place = (number &* 0x9e37_79b9) % (words.count / 2)
                let begin = offset + Int(words[place])
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: target.count, alignment: 16)
                let end = begin + source.load(fromByteOffset: begin, as: Int.self)
                copy.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[begin..<end]))
                if words[words.count / 2 + place] > 0 { abort() }
                copy.deallocate()
            }
        }
        return Double(monotonicNow() - start) / Double(passes * order.count)
    }
}
