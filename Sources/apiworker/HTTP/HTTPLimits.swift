import NIOCore

/// What a connection may cost (docs/http-api.md).
struct HTTPLimits: Sendable {
    /// Bytes of request line and headers.
    var headBytes = 16 << 10
    /// Header fields.
    var headFields = 128
    /// Bytes of a body that bring nothing of it: the head of a chunk with its extensions, and trailers. Counted read by
    /// read.
    var chunkHeadBytes = 16 << 10
    /// Bytes of a request's body.
    var bodyBytes = 1 << 20
    /// Connections at once; a further one is closed.
    var connections = 4096
    /// How long a request may take to arrive: its head, from the first byte on, and then its body.
    var arrival: TimeAmount = .seconds(10)
    /// How long a connection may be kept without a request.
    var idle: TimeAmount = .seconds(60)
    /// How long a client may let a response wait that it doesn't read.
    var stalledWrite: TimeAmount = .seconds(60)
    /// How long a closed connection still takes what the client was sending. Closing at once would reset it, and the
    /// last response could get lost.
    var linger: TimeAmount = .seconds(1)
    /// How long a connection without a request is kept after the process was asked to end: a request that was on its
    /// way is still answered, and its client told to close.
    var lastRequest: TimeAmount = .seconds(1)
    /// How long requests may go on after the process was asked to end.
    var grace: TimeAmount = .seconds(10)
}
