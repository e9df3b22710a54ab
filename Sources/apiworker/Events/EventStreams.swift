import Glibc
import IPC
import NIOCore
import NIOHTTP1
import Synchronization

/// The pages that listen to `GET /api/events` (docs/http-api.md, "Events for pages").
///
/// Each message is made once and shared by all pages. Publishing never waits: a client that does not read fills its own
/// queue, and is cut off when that is full. So no client delays another, and memory is bounded.
final class EventStreams: Sendable {
    struct Limits: Sendable {
        /// Maximum number of streams.
        var streams = 512
        /// Bytes that may wait for one client, in addition to the buffers of NIO (64 KiB) and the kernel for its
        /// connection.
        var queuedBytes = 256 << 10
        /// Size of the kernel's send buffer in bytes; the kernel takes twice as much. Without this it would grow to
        /// some megabytes.
        var socketBytes = 64 << 10
        /// Maximum time without an acknowledgement from the client: one that vanished would otherwise keep its place
        /// for a quarter of an hour.
        var silence = TimeAmount.seconds(60)
        /// Interval of comments.
        var commentInterval = Duration.seconds(15)
    }

    private struct State {
        var streams: [ObjectIdentifier: (stream: EventStream, channel: any Channel)] = [:]
        var isEnded = false
        var sync: SyncNews?
        var cutCount = 0
    }

    let limits: Limits
    private let state = Mutex(State())
    /// Called with whether any page listens, when that changes. Runs under the lock.
    private let onListening: @Sendable (Bool) -> Void

    init(limits: Limits = Limits(), onListening: @escaping @Sendable (Bool) -> Void = { _ in }) {
        self.limits = limits
        self.onListening = onListening
        onListening(false)
    }

    /// Number of open streams.
    var count: Int { state.withLock { $0.streams.count } }
    /// Number of streams that were cut off because their clients did not read.
    var cutCount: Int { state.withLock { $0.cutCount } }

    // MARK: Clients

    /// The response without its messages, for HEAD. A proxy must neither store nor buffer the body.
    static let head = Response(
        .ok,
        [
            "Content-Type": ServerSentEvents.mediaType, "Cache-Control": "no-store", "Connection": "close",
            "X-Accel-Buffering": "no",
        ])

    /// A response that continues until ``end()``, or until the client leaves. `nil`: too many streams, or the worker is
    /// ending.
    func response(on channel: any Channel) -> Response? {
        guard let stream = open(on: channel) else { return nil }
        return Response(head: Self.head.head, body: .parts { await stream.next() })
    }

    private func open(on channel: any Channel) -> EventStream? {
        let stream = EventStream(limit: limits.queuedBytes)
        let isTaken = state.withLock { state in
            guard !state.isEnded, state.streams.count < limits.streams else { return false }
            state.streams[ObjectIdentifier(channel)] = (stream, channel)
            if state.streams.count == 1 { onListening(true) }
            // Under the lock, so that later publications come later.
            if let sync = state.sync { _ = stream.offer(sync.message) }
            return true
        }
        guard isTaken else { return nil }
        channel.closeFuture.whenComplete { [self] _ in
            state.withLock { remove(ObjectIdentifier(channel), from: &$0) }
            stream.end()
        }
        // The channel may be closed already.
        _ = channel.setOption(.socketOption(.so_sndbuf), value: .init(limits.socketBytes))
        _ = channel.setOption(Self.silenceOption, value: .init(limits.silence.nanoseconds / 1_000_000))
        channel.triggerUserOutboundEvent(StreamBegan(), promise: nil)
        return stream
    }

    /// tcp(7): in milliseconds. Because of the comments there is always something to acknowledge.
    static let silenceOption = ChannelOptions.tcpOption(.init(rawValue: TCP_USER_TIMEOUT))

    private func remove(_ id: ObjectIdentifier, from state: inout State) {
        if state.streams.removeValue(forKey: id) != nil, state.streams.isEmpty { onListening(false) }
    }

    // MARK: Messages

    func publish(_ event: Event) {
        guard count > 0 else { return }
        publish(ServerSentEvents.event(event.channel, data: event.payload))
    }

    /// An applied entry of the invalidation log.
    func publishInvalidation(position: LogPosition, tags: [CacheTag]) {
        guard count > 0 else { return }
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("position", Int(clamping: position.number))
            writer.name("tags")
            writer.value(tags.map(\.description))
        }
        publish(ServerSentEvents.event(ByteBuffer(string: "invalidate"), data: writer.buffer))
    }

    /// The state of the worker's cache: sent to each new page, and to all when it changes.
    func publish(_ sync: SyncNews) {
        publish { state in
            guard state.sync != sync else { return nil }
            state.sync = sync
            return sync.message
        }
    }

    /// The state for all pages, also if it is the same as before: they read again.
    func publishAgain(_ sync: SyncNews) {
        publish { state in
            state.sync = sync
            return sync.message
        }
    }

    func publishComment() { publish(ServerSentEvents.comment) }

    /// Ends all streams in good order, and accepts no more.
    func end() {
        let streams = state.withLock { state in
            state.isEnded = true
            return state.streams.values.map(\.stream)
        }
        for stream in streams { stream.end() }
    }

    private func publish(_ message: ByteBuffer) { publish { _ in message } }

    /// Under the lock: all clients get all messages in one order.
    private func publish(_ make: (inout State) -> ByteBuffer?) {
        let cut = state.withLock { state -> [any Channel] in
            guard let message = make(&state) else { return [] }
            let cut = state.streams.filter { !$0.value.stream.offer(message) }
            for (id, client) in cut {
                remove(id, from: &state)
                client.stream.end()
            }
            state.cutCount += cut.count
            return cut.values.map(\.channel)
        }
        for channel in cut { channel.close(promise: nil) }
    }
}

/// The state of the worker's cache for pages. With each change a page may have missed an event.
struct SyncNews: Sendable, Hashable {
    var mode: SyncMode
    var epoch: Epoch

    /// The message `event: sync`.
    fileprivate var message: ByteBuffer {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("sync", mode.rawValue)
            writer.field("epoch", Int(clamping: epoch.number))
        }
        return ServerSentEvents.event(ByteBuffer(string: "sync"), data: writer.buffer)
    }
}

extension CacheStatus {
    /// The state as sent to pages.
    var news: SyncNews { SyncNews(mode: sync, epoch: epoch) }
}
