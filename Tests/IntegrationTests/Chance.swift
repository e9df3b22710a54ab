import IPCTesting
import Synchronization

/// Chance that a seed decides, for several tasks: the same choices, as far as their turns are the same.
final class Chance: Sendable {
    let seed: UInt64
    private let generator: Mutex<SeededRandom>

    init(seed: UInt64) {
        self.seed = seed
        generator = Mutex(SeededRandom(seed: seed))
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
