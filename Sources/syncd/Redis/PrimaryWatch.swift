import NIOCore

/// Asks the servers of a ``PrimarySource`` every 2 s, while it has to, whether the connected primary is still the present one: a primary
/// that was cut off from them, and replaced, does not know it. While none of them answers, nothing changes.
final class PrimaryWatch {
    private let source: any PrimarySource
    private let connector: RedisConnector
    /// The primary that is connected now.
    private let present: () -> PrimaryAnswer?
    /// Whether the primary has been asked more than once a short while ago.
    private let isInUse: () -> Bool
    private let onMoved: (PrimaryAnswer) -> Void
    private var task: RepeatedTask?
    private var search: PrimarySearch?

    private static let interval = TimeAmount.seconds(2)

    init(
        _ source: any PrimarySource, connector: RedisConnector, present: @escaping () -> PrimaryAnswer?,
        isInUse: @escaping () -> Bool, onMoved: @escaping (PrimaryAnswer) -> Void
    ) {
        self.source = source
        self.connector = connector
        self.present = present
        self.isInUse = isInUse
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
        guard search == nil, present() != nil, !source.fencesPrimary || isInUse() else { return }
        let search = PrimarySearch(source, connector: connector)
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
