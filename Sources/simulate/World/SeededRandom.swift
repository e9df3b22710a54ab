import IPCTesting

// The choices of the simulation.
extension SeededRandom {
    /// A number below `bound`, sufficiently uniform for choosing.
    mutating func below(_ bound: Int) -> Int { bound <= 1 ? 0 : Int(next() >> 33) % bound }

    mutating func number(_ range: ClosedRange<UInt64>) -> UInt64 {
        range.lowerBound + next() % (range.upperBound - range.lowerBound + 1)
    }

    /// True once in `n`; never for 0.
    mutating func oneIn(_ n: Int) -> Bool { n > 0 && below(n) == 0 }

    mutating func percent(_ share: Int) -> Bool { below(100) < share }

    mutating func element<Element>(_ elements: [Element]) -> Element? {
        elements.isEmpty ? nil : elements[below(elements.count)]
    }
}
