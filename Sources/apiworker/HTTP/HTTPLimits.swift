import NIOCore

/// Limits of a connection (docs/http-api.md, "Connections").
struct HTTPLimits: Sendable {
    /// Bytes of request line and headers.
    var headBytes = 16 << 10
    /// Number of header fields.
    var headFields = 128
    /// Bytes of a body that carry no content: the head of a chunk with its extensions, and trailers. Counted read by
    /// read.
    var chunkHeadBytes = 16 << 10
    /// Bytes that are read and answered before other connections have their turn: some forty of the shortest requests.
    var readBytes = 1 << 10
    /// Bytes of a request's body.
    var bodyBytes = 1 << 20
    /// Maximum number of connections; a further one is closed.
    var connections = 4096
    /// Maximum time for the arrival of a request: its head, from the first byte on, and then its body.
    var arrival: TimeAmount = .seconds(10)
    /// Maximum time of a connection without a request. Longer than load balancers keep an idle connection (60 s is their
    /// usual time): who closes first does not send a request into a connection that is being closed.
    var idle: TimeAmount = .seconds(75)
    /// Maximum time in which a client does not read ``progressBytes`` of its response.
    var stalledWrite: TimeAmount = .seconds(60)
    /// Longer bodies are written in parts of this length.
    var progressBytes = 128 << 10
    /// Bytes of the longer bodies that are being sent, on all connections together. A body counts once, however many
    /// clients it is sent to.
    var sendingBytes = 256 << 20
    /// Time in which a client that does not read ``progressBytes`` of its response is left alone by others that need its
    /// room.
    var yieldingWrite: TimeAmount = .seconds(1)
    /// Time for which a closed connection still accepts input. Closing at once would reset it, and the last response
    /// could get lost.
    var linger: TimeAmount = .seconds(1)
    /// Time for which a connection without a request stays open after the process was asked to end: a request that was
    /// on its way is still answered, and its client told to close.
    var lastRequest: TimeAmount = .seconds(1)
    /// Maximum time of requests after the process was asked to end.
    var grace: TimeAmount = .seconds(10)
}

extension HTTPLimits {
    /// Descriptors for everything but clients: up to 128 connections to MongoDB, its monitors, syncd, files.
    private static let otherDescriptors = 256

    /// The limits of a worker.
    ///
    /// - Parameter descriptors: the descriptors that the process may have. Where they are few, there are fewer connections,
    ///   so that the database is reached nevertheless.
    init(idleSeconds: Int, descriptors: Int) {
        idle = .seconds(Int64(idleSeconds))
        connections = min(connections, max(descriptors - Self.otherDescriptors, descriptors / 2))
    }
}
