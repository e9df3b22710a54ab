import Sieve
import Testing

@Suite struct SieveCacheTests {
    @Test func `the oldest goes first when nothing was asked for`() {
        var cache = SieveCache<String, Int>(byteBudget: 3)
        for (index, key) in ["a", "b", "c"].enumerated() { #expect(cache.insert(key, index, bytes: 1) == 0) }
        #expect(cache.insert("d", 3, bytes: 1) == 1)
        #expect(cache.peek("a") == nil)
        #expect(cache.peek("b") == 1)
        #expect(cache.count == 3)
        #expect(cache.evictions == 1)
    }

    /// The example of the paper's figure 1: A … G in the queue, oldest first, some visited.
    @Test func `the hand spares the visited and stays where it evicted`() {
        var cache = SieveCache<String, Int>(byteBudget: 7)
        for key in ["a", "b", "c", "d", "e", "f", "g"] { cache.insert(key, 0, bytes: 1) }
        for key in ["a", "b", "g"] { _ = cache.value(for: key) }
        cache.insert("h", 0, bytes: 1)
        #expect(cache.peek("c") == nil, "a and b were visited, c is the next")
        cache.insert("i", 0, bytes: 1)
        #expect(cache.peek("d") == nil, "the hand goes on from where it was")
        #expect(cache.peek("a") != nil)
        _ = cache.value(for: "e")
        _ = cache.value(for: "f")
        _ = cache.value(for: "h")
        _ = cache.value(for: "i")
        cache.insert("j", 0, bytes: 1)
        #expect(cache.peek("a") == nil, "once around: a has lost its mark on the first round")
    }

    @Test func `a peek is no visit`() {
        var cache = SieveCache<String, Int>(byteBudget: 2)
        cache.insert("a", 0, bytes: 1)
        cache.insert("b", 0, bytes: 1)
        #expect(cache.peek("a") == 0)
        cache.insert("c", 0, bytes: 1)
        #expect(cache.peek("a") == nil)
    }

    @Test func `as many go as the new one needs`() {
        var cache = SieveCache<Int, Int>(byteBudget: 100)
        for key in 0..<10 { cache.insert(key, key, bytes: 10) }
        #expect(cache.insert(10, 10, bytes: 35) == 4)
        #expect(cache.bytes == 95)
        #expect(cache.insert(11, 11, bytes: 101) == 0, "larger than the budget: not kept")
        #expect(cache.peek(11) == nil)
        #expect(cache.bytes == 95)
    }

    @Test func `replacing gives the old cost back`() {
        var cache = SieveCache<String, Int>(byteBudget: 10)
        cache.insert("a", 1, bytes: 6)
        #expect(cache.insert("a", 2, bytes: 8) == 0)
        #expect(cache.peek("a") == 2)
        #expect(cache.bytes == 8)
        cache.insert("a", 3, bytes: 11)
        #expect(cache.peek("a") == nil, "a value that doesn't fit must not leave the old one behind")
        #expect(cache.bytes == 0)
    }

    @Test func `removing under the hand`() {
        var cache = SieveCache<Int, Int>(byteBudget: 3)
        for key in 0..<3 { cache.insert(key, key, bytes: 1) }
        _ = cache.value(for: 0)
        cache.insert(3, 3, bytes: 1)  // evicts 1, the hand is at 2
        #expect(cache.remove(2) == 2)
        #expect(cache.remove(2) == nil)
        cache.insert(4, 4, bytes: 1)
        cache.insert(5, 5, bytes: 1)
        #expect(cache.count == 3)
        #expect(cache.peek(3) == nil)
    }

    @Test func `a sweep in steps looks at everything once`() {
        var cache = SieveCache<Int, Int>(byteBudget: 1000)
        for key in 0..<100 { cache.insert(key, key, bytes: 1) }
        var place: Int? = 0
        var steps = 0
        while let start = place {
            place = cache.sweep(from: start, limit: 30) { _, value in value % 2 == 0 }
            steps += 1
        }
        #expect(steps == 4)
        #expect(cache.count == 50)
        #expect(cache.bytes == 50)
        #expect(cache.peek(51) == 51)
    }

    @Test func `a cache without a budget keeps nothing`() {
        var cache = SieveCache<Int, Int>(byteBudget: -1)
        #expect(cache.byteBudget == 0)
        cache.insert(1, 1, bytes: 1)
        #expect(cache.count == 0)
        cache.insert(1, 1, bytes: 0)
        #expect(cache.count == 1)
        cache.removeAll()
        #expect(cache.count == 0)
    }

    /// Against a model with the same rules, no linked list and no hashes. With few hashes most keys are pushed past
    /// others, also around the end of the table.
    @Test(arguments: [1, 2, 3, 4] as [UInt64], [1, 3, 100]) func `it does what a plain model does`(
        seed: UInt64, hashes: Int
    ) {
        var random = seed
        func next(_ bound: UInt64) -> Int {
            random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((random >> 33) % bound)
        }
        var cache = SieveCache<Int, Int>(byteBudget: 50)
        var model = SieveModel(budget: 50)
        for step in 0..<5000 {
            let key = next(40)
            switch next(10) {
            case 0: #expect((cache.remove(key, hash: -key % hashes) != nil) == model.remove(key))
            case 1...4:
                let bytes = 1 + next(12)
                cache.insert(key, step, bytes: bytes, hash: -key % hashes)
                model.insert(key, bytes: bytes)
            default: #expect((cache.value(for: key, hash: -key % hashes) != nil) == model.visit(key))
            }
            #expect(cache.bytes == model.bytes)
            #expect(cache.bytes <= 50)
        }
        #expect(cache.evictions > 100)
    }
}

/// SIEVE written as the paper tells it: an array, newest first, and the key at which the hand stands.
private struct SieveModel {
    var queue: [(key: Int, bytes: Int, isVisited: Bool)] = []
    var hand: Int?
    let budget: Int

    init(budget: Int) { self.budget = budget }

    var bytes: Int { queue.reduce(0) { $0 + $1.bytes } }

    mutating func visit(_ key: Int) -> Bool {
        guard let index = queue.firstIndex(where: { $0.key == key }) else { return false }
        queue[index].isVisited = true
        return true
    }

    mutating func remove(_ key: Int) -> Bool {
        guard let index = queue.firstIndex(where: { $0.key == key }) else { return false }
        if hand == key { hand = index > 0 ? queue[index - 1].key : nil }
        queue.remove(at: index)
        return true
    }

    mutating func insert(_ key: Int, bytes cost: Int) {
        _ = remove(key)
        while bytes + cost > budget {
            var index = hand.flatMap { hand in queue.firstIndex { $0.key == hand } } ?? queue.count - 1
            while queue[index].isVisited {
                queue[index].isVisited = false
                index = index > 0 ? index - 1 : queue.count - 1
            }
            hand = queue[index].key
            _ = remove(queue[index].key)
        }
        queue.insert((key, cost, false), at: 0)
    }
}
