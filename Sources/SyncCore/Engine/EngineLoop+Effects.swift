import IPCWire
import NIOCore

extension EngineLoop {
    func perform(_ effect: Effect) {
        host.willPerform(effect)
        switch effect {
        case .reply(let id, let request, let reply):
            switch reply {
            case .integer, .simple(.deferred): hasPromised = true
            default: break
            }
            answer(id, request) { reply }
        case .push(let id, let push):
            guard let client = client(id), client.phase < .closed else { return }
            client.output.push(push)
            needsFlush(client)
        case .pushTracking(let ids, let push):
            var writer = RESPWriter(version: .v3)
            push.encode(into: &writer)
            for id in ids {
                guard let client = clients[id], client.phase < .closed else { continue }
                client.output.push(encoded: writer.buffer)
                needsFlush(client)
            }
        case .close(let id, _): if let client = client(id) { endAfterReplies(client) }
        case .upstream(let command): sendUpstream(command)
        case .scanJournal(let sampledAt): scanJournal(sampledAt)
        case .removeJournalFile(let name, let version): removeJournalFile(name, version: version)
        case .writePending(let tags): pending.append(tags)
        case .writeMarker: writeMarker()
        case .answerFeedClaim(let id, let request, let name):
            answer(id, request) { FeedRole.tail(token: host.feedToken(name)).reply }
        // In the folder of another syncd, the token would be ahead of its table.
        case .storeFeedToken(let name, let token): if keepsTable() { host.storeFeedToken(name, token) }
        case .notice(let notice): host.log(.notice(notice))
        case .answerStatus(let id, let request, let sections, let asText):
            answer(id, request) { status(sections, asText: asText) }
        case .answerClients(let id, let request, let ids):
            answer(id, request) {
                .bulk(ByteBuffer(string: engine.clientLines(ids, now: host.now) { clients[$0]?.transport }))
            }
        case .shutdownAsked(let id, let request): shutdownAsked(id, request)
        }
    }

    private func answer(_ id: ClientID, _ request: RequestID, _ reply: () -> Reply) {
        guard let client = answered(id, request), client.phase < .closed else { return }
        client.output.reply(request, reply())
        needsFlush(client)
    }

    private func shutdownAsked(_ id: ClientID, _ request: RequestID) {
        guard let client = client(id) else { return }
        let isAllowed = host.mayShutDown(client.peer)
        answer(id, request) {
            isAllowed ? .ok : .error(ReplyError(.denied, "SHUTDOWN is for root and for the user that syncd runs as"))
        }
        if isAllowed { host.shutdownAsked() }
    }

    // MARK: Status

    /// `asked`: the names of sections; empty: all of them.
    private func status(_ asked: [String], asText: Bool) -> Reply {
        var names = ["server", "redis"].filter { host.statusFields($0) != nil }
        names.insert(contentsOf: SyncEngine.statusSections, at: names.first == "server" ? 1 : 0)
        // The log is what everything else depends on: it comes before Redis.
        if let index = names.firstIndex(of: "redis") { names.insert(names.remove(at: index), at: min(2, index)) }
        let asked = asked.map { $0.lowercased() }
        if !asked.isEmpty, asked.allSatisfy({ !["all", "everything", "default"].contains($0) }) {
            // The report is long, and nobody needs it as often as the others.
            if !asText { names.append(SyncEngine.reportSection) }
            let known = names.filter(asked.contains)
            // Exporters request sections of INFO that only Redis has, and expect an empty reply.
            if !asText, known.isEmpty {
                let unknown = ByteBuffer(string: String(asked[0].prefix(64))).escaped
                let text = "STATUS has no section '\(unknown)' here: it has \(names.joined(separator: ", "))"
                return .error(ReplyError(.generic, text))
            }
            names = known
        }
        let sections = names.map { StatusField($0, section($0)) }
        return asText ? .bulk(InfoText.render(sections)) : .fields(sections)
    }

    private func section(_ name: String) -> StatusValue {
        host.statusFields(name).map { .fields($0) } ?? statusSection(name)
    }

    /// Properties of a client that only its connection knows; `nil`: the client is unknown.
    package func transport(_ id: ClientID) -> Transport? { clients[id]?.transport }

    /// A section of STATUS that is the engine's.
    package func statusSection(_ name: String) -> StatusValue {
        engine.statusSection(name, now: host.now) { clients[$0]?.transport }
    }
}
