import DequeModule
import IPCWire

/// Requested pages of entries, in the order of their replies.
struct PageReads: Sendable {
    struct Page: Sendable {
        var id: UpstreamID
        /// The page begins after this position.
        var after: LogPosition
        /// The greatest known position when the page was requested: a page without it has a hole.
        var highestSeen: LogPosition
    }

    private var pages: Deque<Page> = []

    var isEmpty: Bool { pages.isEmpty }

    func isNext(_ id: UpstreamID) -> Bool { pages.first?.id == id }

    mutating func take(_ id: UpstreamID) -> Page? { isNext(id) ? pages.popFirst() : nil }

    /// Whether the entries that follow `applied` have to be requested.
    mutating func needsPage(after applied: LogPosition) -> Bool {
        guard let next = pages.first else { return true }
        guard next.after > applied else { return false }
        // The page before it had fewer entries than possible: this one would look like a hole.
        pages.removeAll()
        return true
    }

    /// The start of a page that may be requested while another one is read: the server works on it while this host
    /// applies. `nil`: there is none, or two are requested already.
    func pageAhead(of size: Int, to target: LogPosition) -> LogPosition? {
        guard pages.count == 1, let next = pages.first else { return nil }
        let after = next.after + UInt64(size)
        return after < target ? after : nil
    }

    mutating func asked(_ page: Page) { pages.append(page) }
}
