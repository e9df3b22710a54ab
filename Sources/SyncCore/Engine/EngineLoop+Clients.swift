import IPCWire
import NIOCore

// Input and output of clients.
extension EngineLoop {
    func connected(_ id: ClientID) {
        guard let client = client(id) else { return }
        guard !isStopping, engine.hasRoom(for: client.peer) else {
            client.end()
            client.output.refuse(isStopping ? "syncd is stopping" : "max number of clients reached")
            return needsFlush(client)
        }
        engine.clientConnected(id, peer: client.peer, now: host.now)
        host.log(.clientConnected(id, client.peer))
    }

    func disconnected(_ id: ClientID) {
        guard let client = client(id) else { return }
        forget(client)
        client.closed()
        host.log(.clientGone(id, client.peer))
        turn.now = host.now
        engine.clientClosed(id, &turn)
    }

    // MARK: Requests

    func received(_ id: ClientID, _ bytes: ByteBuffer) {
        guard let client = client(id), client.phase == .open else { return }
        let now = host.now
        charge(client, since: now)
        client.decoder.feed(bytes)
        take(from: client, now: now)
    }

    func inputClosed(_ id: ClientID) {
        guard let client = client(id) else { return }
        client.isInputClosed = true
        endIfAllIsAsked(client)
    }

    /// Begins to take a client's requests: until there are no more, too many are not answered yet, or its turn is over.
    func take(from client: ClientConnection, now: BootTime) {
        guard client.phase == .open, !client.isSuspended else { return }
        guard turns.hasTime else { return suspend(client) }
        taking = client
        (takingBegan, takingNow) = (now, now)
        hasTaken = false
    }

    /// Takes one request; its effects come before the next one.
    func takeRequest(of client: ClientConnection) {
        if hasTaken {
            takingNow = host.now
            if takingNow - takingBegan >= TurnQueue.turnNanoseconds { suspend(client) }
        }
        do throws(RESPError) {
            guard client.mayTakeRequest, let arguments = try client.decoder.next() else { return endTaking(client) }
            hasTaken = true
            decide(arguments, of: client)
        } catch {
            taking = nil
            let id = client.output.open()
            client.output.reply(id, .error(ReplyError(.generic, "Protocol error: \(error.description)")))
            client.end()
            client.dropRequest()
            host.log(.protocolError(client.id, client.peer, error))
            needsFlush(client)
        }
    }

    private func endTaking(_ client: ClientConnection) {
        taking = nil
        client.lastRequest = takingNow
        endIfAllIsAsked(client)
        client.reserve(takingNow)
        if client.isWaitingForRoom, !waitingForRoom.contains(where: { $0 === client }) { waitingForRoom.append(client) }
        client.updateReading()
        client.updatePieces()
    }

    private func decide(_ arguments: [ByteBuffer], of client: ClientConnection) {
        let id = client.output.open()
        do throws(ReplyError) {
            let request = try Request.parse(arguments, limits: client.wireLimits)
            host.willDecide(request, id, of: client.id)
            client.begin(
                id, bytes: arguments.reduce(0) { $0 + $1.readableBytes }, work: engine.serverWork(of: request))
            turn.now = host.now
            engine.request(client.id, id, request, &turn)
        } catch {
            host.log(.requestRefused(client.id, error))
            client.output.reply(id, .error(error))
            needsFlush(client)
        }
    }

    private func suspend(_ client: ClientConnection) {
        client.isSuspended = true
        client.updateReading()
        if turns.suspend(client) { scheduleSlice(at: host.now) }
    }

    /// The client sends nothing more, and every whole request that it sent is under way.
    private func endIfAllIsAsked(_ client: ClientConnection) {
        if client.isAllAsked { endAfterReplies(client) }
    }

    /// Closes after all earlier requests have been answered.
    func endAfterReplies(_ client: ClientConnection) {
        client.end()
        needsFlush(client)
    }

    // MARK: Output

    /// Hands the output of this turn to the socket, once.
    func flush(_ client: ClientConnection) {
        client.isFlushDue = false
        guard client.phase < .closing else { return }
        let (action, hasCollapsed) = client.output.flush()
        if hasCollapsed { host.log(.pushesCollapsed(client.id, client.peer)) }
        switch action {
        case .nothing: break
        case .write(let bytes): if client.channel.write(bytes) { sent(client, bytes.readableBytes) }
        case .writeParts(let parts):
            if client.channel.write(parts) { sent(client, parts.reduce(0) { $0 + $1.readableBytes }) }
        case .close(let bytes): return cutOff(client, .doesNotRead(unsentBytes: bytes))
        }
        closeIfSent(client)
        if client.mayResume { resume(client) }
    }

    /// The kernel has accepted this many bytes.
    func sent(_ client: ClientConnection, _ bytes: Int) {
        let action = client.output.sent(bytes)
        guard client.phase < .closing, !closeIfSent(client) else { return }
        switch action {
        case .nothing: break
        case .pushEpoch:
            client.output.push(.epoch(engine.epoch, reason: .slow))
            needsFlush(client)
        case .flush: needsFlush(client)
        }
        if client.mayResume { resume(client) }
    }

    /// Closes a client that is to be closed and has all its replies.
    @discardableResult
    private func closeIfSent(_ client: ClientConnection) -> Bool {
        guard client.phase == .ending, client.output.requestsInFlight == 0, client.output.isTaken else { return false }
        client.close()
        return true
    }

    /// Closes without another word.
    func cutOff(_ client: ClientConnection, _ reason: CutOffReason) {
        guard client.phase < .cutOff else { return }
        host.log(.clientCutOff(client.id, client.peer, reason))
        client.cutOff()
    }

    // MARK: Memory of all clients

    /// Lets clients that wait for room go on: first those whose process holds least.
    func giveRoom() {
        guard budget.takeFreed(), !waitingForRoom.isEmpty else { return }
        waitingForRoom.removeAll { !$0.isWaitingForRoom }
        let held = heldByProcess()
        let inOrder = waitingForRoom.sorted { held[$0.holder, default: 0] < held[$1.holder, default: 0] }
        for client in inOrder {
            client.reserve(host.now)
            client.updateReading()
            if client.isWaitingForRoom { break }
        }
        waitingForRoom.removeAll { !$0.isWaitingForRoom }
    }

    /// While others wait, a request has to be completed within its limit of time.
    func cutOffSlowRequests(_ now: BootTime) {
        giveRoom()
        guard !waitingForRoom.isEmpty else { return }
        let limit = limits.requestNanoseconds
        for id in clients.keys.sorted() {
            guard let client = clients[id], client.reservedBytes > 0, now - client.requestBegan > limit else {
                continue
            }
            cutOff(client, .slowRequest(milliseconds: limit / 1_000_000))
        }
        giveRoom()
    }

    private func heldByProcess() -> [Int64: Int] {
        clients.values.reduce(into: [:]) { $0[$1.holder, default: 0] += $1.heldBytes }
    }

    /// Above the limit the process that holds most is cut off, client by client.
    func keepWithinBudget() {
        while budget.isExceeded {
            let held = heldByProcess()
            guard let holder = held.max(by: { ($0.value, $1.key) < ($1.value, $0.key) })?.key,
                let largest = clients.values.filter({ $0.holder == holder && $0.heldBytes > 0 && $0.phase < .cutOff })
                    .max(by: { ($0.heldBytes, $1.id) < ($1.heldBytes, $0.id) })
            else { return }
            cutOff(largest, .holdsMost(bytes: largest.heldBytes, limit: budget.limit))
        }
    }
}
