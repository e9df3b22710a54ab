import NIOCore

/// Something that happens to syncd, in the order in which it happens.
package enum Input: Sendable {
    /// A client has been given its place (``EngineLoop/connect(_:peer:)``).
    case connected(ClientID)
    /// Bytes of a client.
    case received(ClientID, ByteBuffer)
    /// A client sends nothing more, and still reads.
    case inputClosed(ClientID)
    /// The kernel has taken a number of bytes of a client's output.
    case sent(ClientID, Int)
    /// A client's socket is closed.
    case disconnected(ClientID)
    /// Redis, or the connections to it.
    case upstream(UpstreamEvent)
    /// A timer that the host was asked for.
    case due(EngineTimer)
}
