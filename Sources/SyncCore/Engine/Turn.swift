import IPCWire

/// The time of a decision, and its effects in order.
package struct Turn<Effect> {
    package var now: BootTime
    package var effects: [Effect] = []

    package init(now: BootTime) { self.now = now }

    mutating func add(_ effect: Effect) { effects.append(effect) }
}
