import IPCWire
import NIOCore

@testable import SyncCore

/// A model of the server that holds the shared log, with the behaviour that `Sources/syncd/Redis` has on a real
/// one. Commands are executed when the test says so, so that a test decides what happens in between.
final class ModelServer {
    var identity: ServerIdentity? = ServerIdentity(runID: "run-1", replicationID: "repl-1")
    var isPrimary = true
    var record: (incarnation: Incarnation, identity: ServerIdentity?)?
    var position: UInt64 = 0
    var entries: [LogEntry] = []
    var values: [ByteBuffer: (entry: ByteBuffer, ttl: UInt64)] = [:]
    var isRefusing: UpstreamFailure?
    /// The stream's key holds something else; only a replacement ends that.
    var isStreamDamaged = false
    /// Each inspection shows another process, as behind a proxy with several servers.
    var isRestless = false
    private(set) var replacements = 0
    private(set) var reconnects = 0
    /// Publications on the log channel, and on those of ``listened``, that are not delivered yet.
    var publications: [UpstreamEvent] = []
    /// Channels of events that the hosts have subscribed.
    var listened: [ByteBuffer] = []
    /// Tags of the events of other programs that are in the log.
    var bridged: [BridgedEvent: [ByteBuffer]] = [:]

    private var rawRecord: ByteBuffer? {
        record.map { ByteBuffer(string: "\($0.incarnation.description) \($0.identity?.runID ?? "-")") }
    }

    func flushAll() {
        record = nil
        position = 0
        entries = []
        values = [:]
    }

    /// Another process in its place. With its data, unless `losing` says how many entries are lost.
    func restart(losing lost: Int = 0) {
        identity = identity.map { ServerIdentity(runID: $0.runID + "+", replicationID: $0.replicationID + "+") }
        entries.removeLast(lost)
        position -= UInt64(lost)
    }

    /// An earlier state is restored into the running server.
    func goBack(by count: Int) {
        entries.removeLast(count)
        position -= UInt64(count)
    }

    /// Appends as another host does.
    func appendElsewhere(_ tags: String..., isPublished: Bool = true) {
        position += 1
        let body = LogEntryBody(
            origin: 7, nonce: position, eventChannel: nil, tags: tags.map { ByteBuffer(string: $0) })
        let entry = LogEntry(position: position, body: body)
        entries.append(entry)
        if isPublished, let record { publications.append(.published(record.incarnation, entry)) }
    }

    /// Publishes an event as any program does.
    func publish(_ channel: String, _ payload: String) {
        let event = Event(channel: ByteBuffer(string: channel), payload: ByteBuffer(string: payload))
        if listened.contains(event.channel) { publications.append(.message(event)) }
    }

    func execute(_ command: UpstreamCommand) -> UpstreamEvent? {
        switch command {
        case .inspect(let id, let last):
            if isRestless { identity?.runID += "+" }
            return .reply(id, isRefusing.map { .failed($0) } ?? .inspected(inspection(last)))
        case .append(let id, _) where isStreamDamaged: return .reply(id, .failed(.damaged("the stream is a list")))
        case .append(let id, let append): return .reply(id, isRefusing.map { .failed($0) } ?? self.append(append))
        case .probe(let id): return .reply(id, .probed(record?.incarnation, position: position))
        case .read(let id, let after, let count):
            return .reply(
                id, .entries(record?.incarnation, Array(entries.filter { $0.position > after }.prefix(count))))
        case .replace(let id, let replace):
            replacements += 1
            return .reply(id, self.replace(replace))
        case .publish(let id, _): return .reply(id, .published(receivers: 1))
        case .get(let id, let key):
            return .reply(id, .got(entry: values[key]?.entry, ttlMilliseconds: values[key]?.ttl ?? 0))
        case .set(let key, let entry, let ttl):
            values[key] = (entry, ttl)
            return nil
        case .subscribe, .unsubscribe, .patternSubscribe, .patternUnsubscribe: return nil
        case .reconnect:
            reconnects += 1
            return nil
        }
    }

    private func inspection(_ last: UInt64) -> Inspection {
        Inspection(
            identity: identity, serverVersion: "model", isPrimary: isPrimary, rawRecord: rawRecord,
            incarnation: record?.incarnation, recordedIdentity: record?.identity, position: position,
            firstEntry: entries.first?.position, lastEntry: entries.last?.position,
            entryAtLastApplied: entries.first { $0.position == last }, warnings: [])
    }

    private func append(_ append: AppendCommand) -> UpstreamReply {
        if record == nil { record = (append.fresh, identity) }
        guard let record, record.incarnation == append.incarnation || record.incarnation == append.fresh else {
            return .otherIncarnation(record?.incarnation)
        }
        if let name = append.bridged {
            if bridged[name] == append.body.tags { return .alreadyBridged(record.incarnation) }
            bridged[name] = append.body.tags
        }
        position += 1
        let entry = LogEntry(position: position, body: append.body)
        entries.append(entry)
        publications.append(.published(record.incarnation, entry))
        if let channel = append.body.eventChannel, listened.contains(channel) {
            publications.append(.message(Event(channel: channel, payload: append.eventPayload ?? ByteBuffer())))
        }
        return .appended(record.incarnation, position: position)
    }

    private func replace(_ replace: ReplaceCommand) -> UpstreamReply {
        if rawRecord == replace.expected {
            position = max(position, entries.last?.position ?? 0, replace.floor)
            entries = []
            isStreamDamaged = false
            record = (replace.fresh, identity)
        }
        return .replaced(record?.incarnation ?? .none, position: position)
    }
}
