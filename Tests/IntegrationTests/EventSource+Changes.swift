import TestSupport

extension EventSource {
    /// A write as a page sees it.
    struct Change {
        var channel: String
        var data: JSON
        /// Tags that were invalidated before the event.
        var tags: Set<String> = []
        var positions: [Double] = []
    }

    /// The next event of a channel, and the invalidations before it. Where the machine is so busy that syncd is
    /// isolated for a moment there is news of that in between, and an invalidation may come once more.
    func change() async throws -> Change {
        var change = Change(channel: "", data: JSON(""))
        while true {
            let event = try await next(within: .seconds(20))
            let data = JSON(event.data)
            switch event.name {
            case "sync": continue
            case "invalidate":
                guard data.names == ["position", "tags"], let position = data["position"].number,
                    let tags = data["tags"].strings
                else { throw TestFailure("\(event)") }
                change.tags.formUnion(tags)
                change.positions.append(position)
            default:
                (change.channel, change.data) = (event.name, data)
                return change
            }
        }
    }
}
