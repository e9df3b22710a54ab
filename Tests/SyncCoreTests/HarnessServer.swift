import EngineTesting
import IPCWire
import NIOCore
import SyncCore
import Testing

/// A server with the model of Redis that the simulator uses, too. Commands are executed when the test says so, so that
/// a test decides what happens in between.
final class HarnessServer {
    var data = RedisData()
    var identity: ServerIdentity? = ServerIdentity(runID: "run-1", replicationID: "repl-1")
    var isPrimary = true
    /// Its clock, in ms.
    var now: UInt64 = 0
    /// The failure of inspections and appends.
    var isRefusing: UpstreamFailure?
    var isRefusingProbes: UpstreamFailure?
    /// Each inspection shows another process, as behind a proxy with several servers.
    var isRestless = false
    private(set) var replacements = 0
    private(set) var probes = 0
    private(set) var reconnects = 0
    /// Publications on the log channel, and on those of ``listened``, that are not delivered yet.
    var publications: [UpstreamEvent] = []
    /// Channels of events that the hosts have subscribed.
    var listened: [ByteBuffer] = []

    var incarnation: Incarnation? { data.incarnation }
    var position: LogPosition { data.readablePosition ?? 0 }
    var entries: [LogEntry] {
        get { data.entries }
        set {
            let last: LogPosition = if case .entries(_, let last) = data.stream { last } else { 0 }
            data.stream = .entries(newValue, lastID: max(last, newValue.last?.position ?? 0))
        }
    }

    func execute(_ command: UpstreamCommand) -> UpstreamEvent? {
        switch command {
        case .inspect(let id, _), .append(let id, _):
            if let isRefusing { return .reply(id, .failed(isRefusing)) }
            if isRestless, case .inspect = command { identity?.runID += "+" }
        case .replace: replacements += 1
        case .probe(let id, _):
            probes += 1
            if let isRefusingProbes { return .reply(id, .failed(isRefusingProbes)) }
        case .reconnect: reconnects += 1
        default: break
        }
        let execution = run(command)
        return command.id.flatMap { id in execution.reply.map { .reply(id, $0) } }
    }

    private func run(_ command: UpstreamCommand, isPublished: Bool = true) -> RedisData.Execution {
        let execution = data.execute(command, identity: identity, info: (identity, isPrimary), now: now)
        if isPublished {
            if let published = execution.published { publications.append(published) }
            if let event = execution.event { publish(event) }
        }
        return execution
    }

    private func publish(_ event: Event) {
        if listened.contains(event.channel) { publications.append(.message(event)) }
    }

    // MARK: Others

    /// Appends as another host does.
    func appendElsewhere(_ tags: String..., nonce: UInt64? = nil, isPublished: Bool = true) {
        let body = LogEntryBody(
            origin: 7, nonce: nonce ?? position.number + 1, eventChannel: nil, tags: tags.map { ByteBuffer(string: $0) }
        )
        let fresh = Incarnation(high: 7, low: 7)
        let append = AppendCommand(incarnation: incarnation ?? fresh, fresh: fresh, body: body, eventPayload: nil)
        let reply = run(.append(0, append), isPublished: isPublished).reply
        #expect(reply == .appended(append.incarnation, position: position))
    }

    /// Another host replaces the log, and nobody is told.
    func replaceElsewhere(_ fresh: Incarnation) {
        let expected: ByteBuffer? = if case .text(let text) = data.record { ByteBuffer(string: text) } else { nil }
        _ = run(.replace(0, ReplaceCommand(expected: expected, fresh: fresh, floor: 0)), isPublished: false)
        #expect(incarnation == fresh)
    }

    /// Publishes an event as any program does.
    func publish(_ channel: String, _ payload: String) {
        publish(Event(channel: ByteBuffer(string: channel), payload: ByteBuffer(string: payload)))
    }

    // MARK: Faults

    /// Another process in its place. With its data, unless `losing` says how many entries are lost.
    func restart(losing lost: Int = 0) {
        identity = identity.map { ServerIdentity(runID: $0.runID + "+", replicationID: $0.replicationID + "+") }
        goBack(by: lost)
    }

    /// An earlier state is restored into the running server.
    func goBack(by count: Int) {
        for _ in 0..<count {
            guard let older = data.withoutLastEntry else {
                Issue.record("the log has too few entries")
                return
            }
            data = older
        }
    }

    /// Nothing can be appended any more, but an inspection shows nothing of it: greater ids were used and deleted.
    func spoilStream() { data.stream = .entries(entries, lastID: position + 100) }
}
