import IPCWire
import NIOCore

extension SyncedCache {
    /// Follows the changes of a database, so that writes of programs that say nothing to syncd are noticed
    /// (docs/change-feed.md). Returns when the task is cancelled.
    ///
    /// All workers of all hosts may call this. One of them at a time reads the changes; another one takes its place when it
    /// ends, hangs or loses a connection.
    ///
    /// - Parameters:
    ///   - source: the same database for all callers of this name.
    ///   - name: 1 to 200 ASCII letters, digits, `-`, `.` and `_`.
    ///   - troubled: told of each trouble of the source, once until it works again. On any thread.
    ///   - tags: the tags of a document: those with which its writes are invalidated. At least one of them belongs to this
    ///     document alone. More than 8, or one longer than 256 B, stand for
    ///     everything. A change without tags is passed over.
    public func follow(
        _ source: any ChangeSource, named name: String,
        troubled: @escaping @Sendable (ChangeSourceFailure) -> Void = { _ in },
        tags: @escaping @Sendable (DocumentChange) -> [CacheTag]
    ) async {
        guard let path = configuration.socketPath else { return }
        let reader = FeedReader(
            source: source, name: ByteBuffer(string: name), tags: tags, clock: clock,
            troubles: FeedTroubles(troubled))
        while !Task.isCancelled {
            do {
                let client = try await SyncdClient.connect(
                    path: path, name: configuration.clientName + "-feed", timeout: .seconds(2), eventLoop: eventLoop,
                    platform: platform)
                defer { client.close() }
                // An older syncd knows nothing of feeds.
                if client.greeting.hasFeeds { try await reader.run(over: client) }
            } catch {
                // syncd is away, or has ended the connection.
            }
            try? await clock.sleep(clock.now() + FeedReader.pauseNanoseconds)
        }
    }
}
