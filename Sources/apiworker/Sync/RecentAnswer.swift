/// The answer to a question that is asked at most once in an interval, however many want it, and not on the event loop.
actor RecentAnswer<Value: Sendable> {
    private let interval: Duration
    private var asking: Task<Value, Never>?
    private var last: (at: ContinuousClock.Instant, value: Value)?

    init(interval: Duration) { self.interval = interval }

    /// The last answer if it is not older than the interval, or the answer that is under way, or a new one.
    func value(_ ask: @escaping @Sendable () async -> Value) async -> Value {
        if let last, ContinuousClock.now - last.at < interval { return last.value }
        if let asking { return await asking.value }
        let task = Task { await ask() }
        asking = task
        let value = await task.value
        asking = nil
        last = (.now, value)
        return value
    }
}
