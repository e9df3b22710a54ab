import IPCWire
import NIOCore

/// One connection through a ``RedisProxy``: the client's side, the server's side, and the order of the answers. Belongs
/// to one event loop.
final class ProxyLink {
    /// The source of the answer to a command.
    private enum Source {
        case server
        /// A fixed answer, independent of the server.
        case text(String)
        /// A fixed answer that replaces the server's.
        case insteadOfServer(String)
    }

    private let client: any Channel
    private var server: (any Channel)?
    private weak var proxy: RedisProxy?
    private var commands = CommandDecoder(limits: WireLimits())
    private var answers = RESPDecoder(limits: WireLimits())
    /// Held data.
    private var fromClient = ByteBuffer()
    private var fromServer = ByteBuffer()
    private var sources: [Source] = []
    private(set) var isSubscriber = false
    /// The server's output is dropped.
    private var isSilent = false
    private(set) var isClosed = false

    init(client: any Channel, proxy: RedisProxy) {
        self.client = client
        self.proxy = proxy
    }

    func connected(_ server: any Channel) {
        self.server = server
        if isClosed { server.close(promise: nil) }
        regrant()
    }

    func close() {
        isClosed = true
        client.close(promise: nil)
        server?.close(promise: nil)
    }

    func clientSent(_ bytes: ByteBuffer) {
        fromClient.writeImmutableBuffer(bytes)
        regrant()
    }

    func serverSent(_ bytes: ByteBuffer) {
        guard !isSilent else { return }
        fromServer.writeImmutableBuffer(bytes)
        regrant()
    }

    /// Forwards the waiting data, unless the network is cut.
    func regrant() {
        guard let proxy, !proxy.isStalled, !isClosed, let server else { return }
        commands.feed(fromClient)
        fromClient = ByteBuffer()
        answers.feed(fromServer)
        fromServer = ByteBuffer()
        do {
            while let words = try commands.next() { pass(words, to: server, proxy) }
            while let value = try answers.next() { pass(value) }
        } catch {
            close()
        }
        flushReady()
    }

    private func pass(_ words: [ByteBuffer], to server: any Channel, _ proxy: RedisProxy) {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(words.count)
        for word in words { writer.bulkString(word) }
        var texts = words.map { String(buffer: $0) }
        texts[0] = texts[0].uppercased()
        if texts[0].hasSuffix("SUBSCRIBE") { isSubscriber = true }
        switch proxy.verdict(on: texts) {
        case .forward:
            sources.append(.server)
            server.writeAndFlush(writer.buffer, promise: nil)
        case .answer(let text): sources.append(.text(text))
        case .replaceAnswer(let text):
            sources.append(.insteadOfServer(text))
            server.writeAndFlush(writer.buffer, promise: nil)
        case .forwardAndFallSilent:
            isSilent = true
            server.writeAndFlush(writer.buffer, promise: nil)
        }
    }

    private func pass(_ value: RESPValue) {
        if isSubscriber { return write(value) }
        flushReady()
        guard !sources.isEmpty else { return write(value) }
        switch sources.removeFirst() {
        case .server, .text: write(value)
        case .insteadOfServer(let text): answer(text)
        }
    }

    /// Sends the fixed answers whose turn it is.
    private func flushReady() {
        while case .text(let text)? = sources.first {
            sources.removeFirst()
            answer(text)
        }
    }

    /// Sends the client these bytes.
    func answer(_ text: String) { client.writeAndFlush(ByteBuffer(string: text), promise: nil) }

    private func write(_ value: RESPValue) {
        var writer = RESPWriter(version: .v2)
        value.encodeAsRESP2(into: &writer)
        client.writeAndFlush(writer.buffer, promise: nil)
    }
}

extension RESPValue {
    /// The encoding of a RESP2 server.
    fileprivate func encodeAsRESP2(into writer: inout RESPWriter) {
        switch self {
        case .simpleString(let text): line("+", text, into: &writer)
        case .error(let text): line("-", text, into: &writer)
        case .integer(let number): writer.integer(number)
        case .bulkString(let bytes), .verbatim(let bytes), .bigNumber(let bytes): writer.bulkString(bytes)
        case .array(let items), .map(let items), .set(let items), .push(let items):
            writer.arrayHeader(items.count)
            for item in items { item.encodeAsRESP2(into: &writer) }
        case .null, .double, .boolean: writer.null()
        }
    }

    private func line(_ type: String, _ text: ByteBuffer, into writer: inout RESPWriter) {
        writer.buffer.writeString(type)
        writer.buffer.writeImmutableBuffer(text)
        writer.buffer.writeString("\r\n")
    }
}

/// Forwards received data.
final class ProxyHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let onRead: (ByteBuffer) -> Void
    private let onClosed: () -> Void

    init(onRead: @escaping (ByteBuffer) -> Void, onClosed: @escaping () -> Void) {
        self.onRead = onRead
        self.onClosed = onClosed
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { onRead(unwrapInboundIn(data)) }

    func channelInactive(context: ChannelHandlerContext) { onClosed() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
