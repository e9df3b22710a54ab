/// The time of a decision, and its effects in order.
package struct Turn<Effect> {
    /// CLOCK_BOOTTIME in ns.
    package var now: UInt64
    package var effects: [Effect] = []

    package init(now: UInt64) { self.now = now }

    mutating func add(_ effect: Effect) { effects.append(effect) }
}
