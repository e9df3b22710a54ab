import IPCWire
import NIOCore

// The event bridge: an event that another program publishes on a channel of the rules invalidates like a write of a
// worker.
extension SyncEngine {
    /// Handles an event from the server. If another program has published the event, its tags are invalidated once: by
    /// this host, or by another one that has received it.
    mutating func bridge(_ event: Event, _ turn: inout Turn<Effect>) {
        guard feed.isForeign(event.channel), let tags = bridgedTags(event, &turn) else { return }
        let name = feed.name()
        if tags == [BridgeRules.everything], !feed.asksForEverything() { return }
        withLog(&turn) { log, turn in
            log.append(tags: tags, event: nil, for: .bridge(name), &turn)
        }
    }

    /// PUBLISH by a client on a channel of the rules. The invalidation and the event are appended together, as in
    /// INVALIDATE, so that no subscriber hears of a change that is not invalidated yet. Returns false if there is no
    /// rule.
    mutating func publishBridged(
        _ client: ClientID, _ id: RequestID, _ event: Event, _ turn: inout Turn<Effect>
    ) -> Bool {
        guard let tags = bridgedTags(event, &turn) else { return false }
        withLog(&turn) { log, turn in
            log.append(tags: tags, event: event, for: .publisher(client, id, channel: event.channel), &turn)
        }
        if configuration.mode == .embedded { _ = relay(event, &turn) }
        return true
    }

    /// The tags that an event invalidates; `nil` without a rule.
    private mutating func bridgedTags(_ event: Event, _ turn: inout Turn<Effect>) -> [ByteBuffer]? {
        guard let (tags, problem) = configuration.bridge.reading(event, limits: limits.wire) else { return nil }
        figures.bridged += 1
        if let problem, let told = unreadableEvents.came(event, problem: problem, now: turn.now) {
            turn.add(.notice(.unreadableEvent(told)))
        }
        return tags
    }

    /// Channels that the upstream connection subscribes by itself, and keeps.
    func isBridged(_ channel: ByteBuffer) -> Bool { configuration.bridge.rules.contains { $0.channel == channel } }
}
