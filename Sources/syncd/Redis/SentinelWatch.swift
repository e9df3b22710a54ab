import NIOCore

/// Asks the sentinels every 2 s whether the connected primary is still the present one: a primary that was cut off from
/// them, and replaced, does not know it. While no sentinel answers, nothing changes.
final class SentinelWatch {
    private let group: SentinelGroup
    private let connector: RedisConnector
    /// The primary that is connected now.
    private let present: () -> SentinelAnswer?
    private let onMoved: (SentinelAnswer) -> Void
    private var task: RepeatedTask?
    private var search: SentinelSearch?

    private static let interval = TimeAmount.seconds(2)

    init(
        _ group: SentinelGroup, connector: RedisConnector, present: @escaping () -> SentinelAnswer?,
        onMoved: @escaping (SentinelAnswer) -> Void
    ) {
        self.group = group
        self.connector = connector
        self.present = present
        self.onMoved = onMoved
    }

    func start() {
        task = connector.eventLoop.scheduleRepeatedTask(initialDelay: Self.interval, delay: Self.interval) {
            [bound = NIOLoopBound(self, eventLoop: connector.eventLoop)] _ in bound.value.ask()
        }
    }

    func stop() {
        task?.cancel()
        search?.cancel()
        search = nil
    }

    private func ask() {
        guard search == nil, present() != nil else { return }
        let search = SentinelSearch(group, connector: connector)
        self.search = search
        search.run { [weak self] result in
            guard let self else { return }
            self.search = nil
            if case .success(let answer) = result, let present = self.present(), answer.isNewer(than: present) {
                self.onMoved(answer)
            }
        }
    }
}
