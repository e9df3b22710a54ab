import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

@testable import IPC

/// Something that listens where syncd would, says what a test wants, and otherwise behaves as an attached syncd
/// without anything in its cache.
final class FakeSyncd: Sendable {
    enum Answer: Sendable {
        case reply(Reply)
        case push(Push)
        case close
    }

    typealias Script = @Sendable (Request) -> [Answer]?

    private struct State {
        var script: Script?
        var requests: [Request] = []
        var channels: [any Channel] = []
        var accepted = 0
        var listener: (any Channel)?
        var nextLease: LeaseID = 100
    }

    let directory: TemporaryDirectory
    let clock: ManualClock
    let table: TagTable
    private let hasTable: Bool
    private let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    private let state = Mutex(State())

    var socketPath: String { directory.file("s") }
    var tablePath: String { directory.file("tags.table") }
    var journalPath: String { directory.file("journal") }

    /// `hasTable: false`: workers are shown a table that isn't there.
    init(directory: TemporaryDirectory, clock: ManualClock, hasTable: Bool = true) throws {
        self.directory = directory
        self.clock = clock
        self.hasTable = hasTable
        (table, _) = try TagTableFile.openOrCreate(path: directory.file("tags.table"), slotBits: 16)
        _ = try JournalDirectory(path: directory.file("journal"))
        table.setState(.attached)
        beat()
    }

    func start() async throws {
        let listener = try await ServerBootstrap(group: eventLoop)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(FakeSyncdHandler(self))
                }
            }
            .bind(unixDomainSocketPath: socketPath, cleanupExistingSocketFile: true).get()
        state.withLock { $0.listener = listener }
    }

    /// Ends all connections and takes no more.
    func stop() async throws {
        let (listener, channels) = state.withLock { state in
            defer {
                state.listener = nil
                state.channels = []
            }
            return (state.listener, state.channels)
        }
        try await listener?.close().get()
        for channel in channels { try? await channel.close().get() }
    }

    // MARK: Answers

    /// Answers for requests, `nil` meaning: as usual.
    func script(_ script: Script?) { state.withLock { $0.script = script } }

    func beat() {
        table.setScanStarted(clock.now)
        table.setBeat(clock.now)
        table.setFreshAsOf(clock.now)
    }

    /// Lets time pass, and writes a heartbeat.
    func advance(milliseconds: UInt64) {
        var rest = milliseconds
        while rest > 0 {
            let step = min(rest, 100)
            clock.advance(milliseconds: step)
            beat()
            rest -= step
        }
    }

    func send(_ push: Push) { write { push.encode(into: &$0) } }
    func send(_ reply: Reply) { write { reply.encode(into: &$0) } }

    private func write(_ encode: (inout RESPWriter) -> Void) {
        var writer = RESPWriter(version: .v3)
        encode(&writer)
        for channel in state.withLock({ $0.channels }) { channel.writeAndFlush(writer.buffer, promise: nil) }
    }

    // MARK: Received requests

    var requests: [Request] { state.withLock { $0.requests } }
    var accepted: Int { state.withLock { $0.accepted } }

    func count(where isWanted: (Request) -> Bool) -> Int { requests.count(where: isWanted) }

    var fetches: Int { count { if case .fetch = $0 { true } else { false } } }
    var fills: Int { count { if case .fill = $0 { true } else { false } } }
    var abandons: Int { count { if case .abandon = $0 { true } else { false } } }
    var invalidations: [([ByteBuffer], Event?)] {
        requests.compactMap { if case .invalidate(let tags, let event) = $0 { (tags, event) } else { nil } }
    }

    // MARK: The connections

    fileprivate func opened(_ channel: any Channel) {
        state.withLock { state in
            state.channels.append(channel)
            state.accepted += 1
        }
    }

    fileprivate func closed(_ channel: any Channel) {
        state.withLock { $0.channels.removeAll { $0 === channel } }
    }

    fileprivate func answers(to request: Request) -> [Answer] {
        let script = state.withLock { state in
            state.requests.append(request)
            return state.script
        }
        return script?(request) ?? usual(request)
    }

    private func usual(_ request: Request) -> [Answer] {
        switch request {
        case .hello:
            let path = hasTable ? tablePath : directory.file("none")
            return [.reply(.greeting(.test(table: path, journal: journalPath, logMode: .redis)))]
        case .track: return [.reply(.ok), .push(.epoch(table.epoch, reason: .tracking)), .push(beatPush)]
        case .subscribe(let channels):
            let changes = channels.enumerated().map { SubscriptionChange(channel: $1, count: $0 + 1) }
            return [.reply(.subscriptions(.subscribe, changes))]
        case .fetch: return [.reply(.fetched(.lease(newLease())))]
        case .invalidate(let tags, _):
            let position = table.applied + 1
            table.raise(tags: tags, to: position)
            table.setApplied(position)
            return [.reply(.integer(position))]
        default: return [.reply(.ok)]
        }
    }

    func newLease() -> Lease {
        let id = state.withLock { state in
            state.nextLease += 1
            return state.nextLease
        }
        return Lease(id: id, asOf: table.applied, epoch: table.epoch)
    }

    func hit(_ text: String, tags: [ByteBuffer] = []) -> FetchOutcome {
        .hit(
            Hit(
                value: ByteBuffer(string: text), asOf: table.applied, ttlMilliseconds: 60_000, tags: tags,
                epoch: table.epoch))
    }

    var beatPush: Push {
        .beat(
            Beat(
                epoch: table.epoch, applied: table.applied, state: table.state, beatNanoseconds: table.beat,
                freshAsOfNanoseconds: table.freshAsOf))
    }
}

private final class FakeSyncdHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let syncd: FakeSyncd
    private var decoder = CommandDecoder(limits: WireLimits())

    init(_ syncd: FakeSyncd) { self.syncd = syncd }

    func channelActive(context: ChannelHandlerContext) { syncd.opened(context.channel) }
    func channelInactive(context: ChannelHandlerContext) { syncd.closed(context.channel) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        decoder.feed(unwrapInboundIn(data))
        do {
            while let arguments = try decoder.next() {
                let request = try Request.parse(arguments, limits: WireLimits())
                for answer in syncd.answers(to: request) { perform(answer, on: context.channel) }
            }
        } catch {
            Issue.record("the worker sent something unreadable: \(error)")
            context.close(promise: nil)
        }
    }

    private func perform(_ answer: FakeSyncd.Answer, on channel: any Channel) {
        var writer = RESPWriter(version: .v3)
        switch answer {
        case .reply(let reply): reply.encode(into: &writer)
        case .push(let push): push.encode(into: &writer)
        case .close:
            channel.close(promise: nil)
            return
        }
        channel.writeAndFlush(writer.buffer, promise: nil)
    }
}
