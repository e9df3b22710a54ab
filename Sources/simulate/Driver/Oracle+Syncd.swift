import IPC
import IPCWire
import NIOCore
import SyncCore

// Checks of syncd's effects.
extension Oracle {
    func requested(_ syncd: SimulatedSyncd, _ client: ClientID, _ id: RequestID, _ request: Request) {
        guard syncd.isPresent else { return }
        let host = syncd.host.index
        switch request {
        case .fetch(let key, _): hosts[host].fetches[client, default: [:]][id] = key
        case .fetchAfter(_, let key, _): hosts[host].fetches[client, default: [:]][id] = key
        case .renew(let key, _):
            hosts[host].fetches[client, default: [:]][id] = key
            figures.add("renewals asked for")
        case .fill(let fill): hosts[host].fills[client, default: [:]][id] = fill
        case .invalidate(let tags, _, _): hosts[host].invalidations[client, default: [:]][id] = versions(of: tags)
        case .abandon(let key, let lease):
            if let current = hosts[host].leases[key], current.id == lease, current.holder == client {
                hosts[host].leases[key] = nil
            }
        default: break
        }
    }

    func clientClosed(_ syncd: SimulatedSyncd, _ client: ClientID) {
        guard syncd.isPresent else { return }
        let host = syncd.host.index
        hosts[host].fills[client] = nil
        hosts[host].invalidations[client] = nil
        hosts[host].fetches[client] = nil
        let gone = hosts[host].leases.filter { $0.value.holder == client }.map(\.key)
        for key in gone { hosts[host].leases[key] = nil }
        hosts[host].closing = true
        world.after(0, nil, "after close") { [self] in hosts[host].closing = false }
    }

    /// `decidedAt`: the time of the turn that the effect is of. syncd may have been stopped since.
    func effect(_ syncd: SimulatedSyncd, _ effect: Effect, decidedAt: BootTime) {
        guard syncd.isPresent else { return }
        let host = syncd.host.index
        switch effect {
        case .reply(let client, let id, let reply):
            if let key = hosts[host].fetches[client]?.removeValue(forKey: id) {
                if case .fetched(.lease(let lease)) = reply {
                    granted(lease, key, to: client, syncd, decidedAt: decidedAt, isPassedOn: false)
                }
                if case .wait(let ticket) = reply { hosts[host].tickets[ticket] = key }
            }
            if let versions = hosts[host].invalidations[client]?.removeValue(forKey: id), case .integer = reply {
                took(versions, on: host)
            }
            guard let fill = hosts[host].fills[client]?.removeValue(forKey: id) else { break }
            filled(fill, reply, syncd, client)
        case .push(let client, .fetched(let ticket, let outcome)):
            guard let key = hosts[host].tickets.removeValue(forKey: ticket) else {
                return fail("the outcome of a ticket that nobody has")
            }
            if case .lease(let lease) = outcome {
                granted(lease, key, to: client, syncd, decidedAt: decidedAt, isPassedOn: true)
            }
        case .removeJournalFile(let name, _):
            if name.hasSuffix(".intent") { figures.add("goal: intent of a dead owner collected") }
            if name.hasSuffix(".orphan") { figures.add("goal: orphan repeated to its end") }
        case .notice(let notice): self.notice(notice, syncd)
        case .storeFeedToken(_, let token?): stored(token, embeddedIn: syncd.host.table)
        case .writeMarker: figures.add("goal: marker written")
        case .writePending: figures.add("goal: write deferred")
        default: break
        }
    }

    func granted(
        _ lease: Lease, _ key: ByteBuffer, to client: ClientID, _ syncd: SimulatedSyncd, decidedAt: BootTime,
        isPassedOn: Bool
    ) {
        let host = syncd.host.index
        if let current = hosts[host].leases[key] {
            // A lease ends when its holder has gone, or when its load took too long or failed.
            check(
                decidedAt >= current.endsAt || isPassedOn && hosts[host].closing,
                "a second lease for one key: \(lease.id) beside \(current.id)")
            if isPassedOn, decidedAt >= current.endsAt { figures.add("goal: lease passed on after its time") }
        }
        hosts[host].leases[key] = (lease.id, client, decidedAt + plan.limits.leaseNanoseconds)
        check(lease.id > hosts[host].lastLease, "a lease id was given out twice: \(lease.id)")
        hosts[host].lastLease = max(hosts[host].lastLease, lease.id)
        hosts[host].leaseAsOf[lease.id] = lease.asOf
        world.trace("lease", nil, lease.id.number, lease.asOf.number)
        figures.add("leases")
        if isPassedOn, hosts[host].closing { figures.add("goal: lease passed on after its holder left") }
    }

    func filled(_ fill: Fill, _ reply: Reply, _ syncd: SimulatedSyncd, _ client: ClientID) {
        if let current = hosts[syncd.host.index].leases[fill.key], current.id == fill.lease, current.holder == client {
            hosts[syncd.host.index].leases[fill.key] = nil
        }
        if case .error(let error) = reply, error.code == .stale { figures.add("goal: stale fill refused") }
        guard case .ok = reply else { return }
        figures.add("fills")
        guard let (key, tags) = names.entry(fill.key),
            let asOf = hosts[syncd.host.index].leaseAsOf[fill.lease]
        else { return fail("a fill was accepted under a lease that nobody got") }
        let table = syncd.host.table
        for tag in tags where table.slot(table.slotIndex(TagHash.tag(tag.bytes))) > asOf {
            fail("promise 5: a fill was accepted although a tag was invalidated after its lease", key: key)
        }
    }

    func notice(_ notice: Notice, _ syncd: SimulatedSyncd) {
        let host = syncd.host.index
        switch notice {
        case .epochRaised(let epoch, let reason):
            world.trace("epoch raised", syncd, epoch.number)
            figures.add("goal: epoch raised: \(reason.rawValue)")
            hosts[host].leases = [:]
        case .isolated(let reason):
            world.trace("isolated", syncd)
            hosts[host].leases = [:]
            isolated(reason)
        case .attached(let epoch, let applied):
            world.trace("attached", syncd, epoch.number, applied.number)
            figures.add("attached")
        case .upstreamReady:
            if let lost = hosts[host].lostLink, lost.epoch == syncd.epoch {
                figures.add("goal: link lost and resumed in the same epoch")
            }
            hosts[host].lostLink = nil
        case .feedReset: figures.add("goal: feed reset")
        case .uncoveredWrites(_, _, let first):
            figures.add("goal: uncovered write")
            check(!syncd.loop.isCovered(first), "a write counts as uncovered, and its own entry was applied")
        case .logReplaced, .upstreamWarning, .upstreamDenied, .foreignLog, .unreadableEvent: break
        }
    }

    func isolated(_ reason: IsolationReason) {
        figures.add("isolated")
        if let goal = reason.goal { figures.add("goal: isolated: \(goal)") }
    }
}

extension IsolationReason {
    /// The goal of a campaign; `nil`: none.
    fileprivate var goal: String? {
        switch self {
        case .otherProcess: "another process"
        case .logVanished, .noLog: "log vanished"
        case .otherLog: "another log"
        case .logWentBack: "went back"
        case .logChanged: "changed"
        case .otherKeys, .failed(.damaged): "damaged"
        case .replica, .failed(.wrongRole): "replica"
        case .entriesMissing: "entries missing"
        case .lateAppend: "append timed out"
        case .lateProbe: "no probe for 2 s"
        case .starting, .disconnected, .failed, .tooManyAppends, .tooMuchPending, .unexpectedReply: nil
        }
    }
}
