import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// The answer of a client to one line.
package enum ClientAnswer: Sendable, Hashable {
    /// A value; `-` means that there is none.
    case value(String, source: String)
    case error(String)
}

/// A client under test. It gets the requests that a service gets from its own clients, and does not know that its syncd
/// and its database are scripted.
package protocol CheckedClient: Sendable {
    /// Requests the reading or writing of a key.
    func ask(_ verb: ScriptedDatabase.Verb, _ key: String) async throws -> ClientAnswer
    /// The process group of the client.
    var processGroup: pid_t { get }
    /// The client's standard error, for a failure message.
    var complaints: String { get }
    func end() async
}

/// A client as a process: `<id> read <key>` or `<id> write <key>` go to its standard input, one line each, and `<id> ok
/// <value> <source>` or `<id> error <text>` come from its standard output, in any order.
package final class ClientProcess: CheckedClient {
    struct LaunchError: Error, CustomStringConvertible {
        var description: String
    }

    private struct State {
        var next = 1
        var waiting: [Int: EventLoopPromise<ClientAnswer>] = [:]
        var isEnded = false
    }

    package let processGroup: pid_t
    private let errorPath: String
    private let state = Mutex(State())
    // Set once by `init`, before the object is shared.
    private let pipes = Mutex<(any Channel)?>(nil)

    /// Maximum time of any answer.
    static let patience = TimeAmount.seconds(10)

    package init(_ command: [String], environment: [String: String], errorPath: String) async throws {
        self.errorPath = errorPath
        let input = try Pipe()
        let output = try Pipe()
        processGroup = try Self.spawn(command, environment, input: input, output: output, errorPath: errorPath)
        close(input.reading)
        close(output.writing)
        let channel = try await NIOPipeBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(LineHandler(self))
                }
            }
            .takingOwnershipOfDescriptors(input: output.reading, output: input.writing).get()
        pipes.withLock { $0 = channel }
    }

    private struct Pipe {
        let reading: CInt
        let writing: CInt

        init() throws {
            var ends: [CInt] = [0, 0]
            guard pipe(&ends) == 0 else {
                throw LaunchError(description: "no pipe: \(String(cString: strerror(errno)))")
            }
            (reading, writing) = (ends[0], ends[1])
            // Otherwise the other end would stay open in every process that is started meanwhile.
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        }
    }

    private static func spawn(
        _ command: [String], _ environment: [String: String], input: Pipe, output: Pipe, errorPath: String
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input.reading, 0)
        posix_spawn_file_actions_adddup2(&actions, output.writing, 1)
        posix_spawn_file_actions_addopen(&actions, 2, errorPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        // NIO's sockets are inherited: a socket that a child holds open, too, is not closed for its peer.
        for descriptor in 3..<Self.greatestDescriptor { posix_spawn_file_actions_addclose(&actions, descriptor) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A separate group: all processes that the client starts end with it.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        var pid: pid_t = 0
        let arguments = command.map { strdup($0) } + [nil]
        let variables = environment.sorted { $0.key < $1.key }.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in arguments + variables { free(text) } }
        let status = posix_spawnp(&pid, command[0], &actions, &attributes, arguments, variables)
        guard status == 0 else {
            for end in [input.reading, input.writing, output.reading, output.writing] { close(end) }
            throw LaunchError(description: "\(command[0]) cannot be started: \(String(cString: strerror(status)))")
        }
        return pid
    }

    /// An upper bound of this process's descriptors.
    private static let greatestDescriptor: Int32 = {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int32(min(limit.rlim_cur, 65_536))
    }()

    package var complaints: String {
        let text = String(decoding: SystemFiles.read(errorPath) ?? [], as: UTF8.self)
        return text.split(separator: "\n").suffix(5).joined(separator: "\n")
    }

    // MARK: Asking

    package func ask(_ verb: ScriptedDatabase.Verb, _ key: String) async throws -> ClientAnswer {
        guard let channel = pipes.withLock({ $0 }) else { throw LaunchError(description: "not started") }
        let promise = channel.eventLoop.makePromise(of: ClientAnswer.self)
        let id: Int? = state.withLock { state in
            guard !state.isEnded else { return nil }
            defer { state.next += 1 }
            state.waiting[state.next] = promise
            return state.next
        }
        guard let id else {
            promise.fail(BrokenRule("it has ended"))
            return try await promise.futureResult.get()
        }
        channel.writeAndFlush(ByteBuffer(string: "\(id) \(verb == .load ? "read" : "write") \(key)\n"), promise: nil)
        let deadline = channel.eventLoop.scheduleTask(in: Self.patience) { [weak self] in
            self?.take(id)?.fail(BrokenRule("it did not answer \"\(verb) \(key)\" within 10 s"))
        }
        defer { deadline.cancel() }
        return try await promise.futureResult.get()
    }

    private func take(_ id: Int) -> EventLoopPromise<ClientAnswer>? {
        state.withLock { $0.waiting.removeValue(forKey: id) }
    }

    fileprivate func said(_ line: String) {
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count >= 2, let id = Int(words[0]), let promise = take(id) else { return }
        let rest = words.count > 2 ? String(words[2]) : ""
        guard words[1] == "ok" else { return promise.succeed(.error(rest)) }
        let parts = rest.split(separator: " ").map(String.init)
        promise.succeed(.value(parts.first ?? "", source: parts.count > 1 ? parts[1] : ""))
    }

    fileprivate func ended() {
        let waiting = state.withLock { state in
            state.isEnded = true
            defer { state.waiting = [:] }
            return state.waiting
        }
        for promise in waiting.values { promise.fail(BrokenRule("it has ended")) }
    }

    package func end() async {
        kill(-processGroup, SIGKILL)
        try? await pipes.withLock { $0 }?.close().get()
        // The process was killed, so that this does not block.
        waitpid(processGroup, nil, 0)
    }
}

/// Splits the client's output into lines.
private final class LineHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let client: ClientProcess
    private var unread = ByteBuffer()

    init(_ client: ClientProcess) { self.client = client }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        unread.writeImmutableBuffer(unwrapInboundIn(data))
        while let end = unread.readableBytesView.firstIndex(of: UInt8(ascii: "\n")),
            let line = unread.readString(length: end - unread.readerIndex)
        {
            unread.moveReaderIndex(forwardBy: 1)
            client.said(line)
        }
        unread.discardReadBytes()
        // The line is longer than any answer, so it is dropped.
        if unread.readableBytes > 1 << 20 { unread.clear() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { client.ended() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) { client.ended() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
