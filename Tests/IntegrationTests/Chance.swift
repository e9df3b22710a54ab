import Synchronization

/// Chance that a seed decides, for several tasks: the same choices, as far as their turns are the same.
final class Chance: Sendable {
    /// The generator SplitMix64.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }

    let seed: UInt64
    private let generator: Mutex<Generator>

    init(seed: UInt64) {
        self.seed = seed
        generator = Mutex(Generator(state: seed))
    }

    func number(_ range: ClosedRange<Int>) -> Int { generator.withLock { Int.random(in: range, using: &$0) } }
    func bool() -> Bool { number(0...1) == 1 }
    func element<Element>(_ elements: [Element]) -> Element { elements[number(0...elements.count - 1)] }
    func shuffled<Element>(_ elements: [Element]) -> [Element] {
        var (rest, result): ([Element], [Element]) = (elements, [])
        while !rest.isEmpty { result.append(rest.remove(at: number(0...rest.count - 1))) }
        return result
    }
    func pause(_ milliseconds: ClosedRange<Int>) async {
        try? await Task.sleep(for: .milliseconds(number(milliseconds)))
    }
}
