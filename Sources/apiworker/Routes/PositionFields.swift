import IPC
import NIOHTTP1

// The fields that carry positions of writes (docs/http-api.md, "Reading your own writes").
extension Request {
    /// The write that the response must not be older than; `nil`: none. Several fields are no position, as any other text.
    var after: SyncPosition? { headers.list("X-Sync-After").map { SyncPosition($0) } }
}

extension Response {
    /// A copy of the response that names the place of its write in the log.
    func at(_ position: SyncPosition) -> Response { with("X-Sync-Position", position.description) }
}
