import IPC
import IPCWire
import NIOCore

/// A client in any language, as in docs/clients.md: without the table it trusts syncd's answers, and an answer of any
/// kind may take 500 ms. The client sends one request at a time; without a reply, it reads the database. Every other
/// connection speaks RESP3, and waits for another client's load and for positions.
// Unchecked: everything in a simulation runs on its one thread.
final class PlainClient: Reader, @unchecked Sendable {
    private let oracle: Oracle
    private let database: Database
    private var socket: Socket?
    private var decoder: RESPDecoder
    private var isConnecting = false
    private var question: Question?
    private var questions: UInt64 = 0
    private var version = RESPVersion.v2

    private struct Question {
        var read: Oracle.Read
        var number: UInt64
        /// The outcome comes as a push with this ticket.
        var ticket: UInt64?
        var hasPosition: Bool
    }

    static let patienceNanoseconds: UInt64 = 500_000_000

    init(host: Host, oracle: Oracle, database: Database) {
        self.oracle = oracle
        self.database = database
        decoder = RESPDecoder(limits: host.plan.limits.wire)
        super.init(host: host, name: "client\(host.index)")
    }

    /// Requests a key, unless it is waiting for a reply; connects first if necessary.
    func read(_ key: Int, after written: WrittenVersion? = nil) {
        world.run(self) {
            guard socket != nil else { return connect { [self] in read(key, after: written) } }
            guard question == nil else { return }
            questions += 1
            let number = questions
            question = Question(
                read: oracle.readBegan(key, on: self, after: written), number: number, hasPosition: written != nil)
            let name = oracle.names.keys[key].bytes
            let wait: UInt64? = version == .v3 ? world.random.number(1...400) : nil
            send(
                written.map { .fetchAfter($0.position, key: name, waitMilliseconds: wait) }
                    ?? .fetch(key: name, waitMilliseconds: wait))
            world.after(Self.patienceNanoseconds, self, "no answer") { [self] in
                if question?.number == number { hangUp() }
            }
        }
    }

    private func send(_ request: Request) {
        var writer = RESPWriter(version: version)
        request.encode(into: &writer)
        socket?.toServer.send(writer.buffer)
    }

    private func connect(_ connected: @escaping () -> Void) {
        guard !isConnecting else { return }
        isConnecting = true
        world.after(world.random.number(10_000...200_000), self, "connect") { [self] in
            isConnecting = false
            guard let server = host.listener else { return }
            let socket = Socket(world: world, client: self, server: server, plan: host.plan)
            self.socket = socket
            decoder = RESPDecoder(limits: host.plan.limits.wire)
            socket.toClient.deliver = { [unowned self] bytes in received(bytes) }
            socket.toClient.ended = { [unowned self] in hangUp() }
            server.connected(socket)
            version = world.random.oneIn(2) ? .v3 : .v2
            if version == .v3 { send(.hello(version: .v3, name: nil)) }
            connected()
        }
    }

    private func hangUp() {
        socket?.closeClient()
        socket = nil
        question = nil
    }

    private func received(_ bytes: ByteBuffer) {
        decoder.feed(bytes)
        do {
            while let value = try decoder.next() {
                guard let question else { continue }
                switch value {
                case .array:
                    switch try FetchReply(value) {
                    case .outcome(let outcome): answered(outcome, question)
                    case .wait(let ticket): self.question?.ticket = ticket
                    case .error: self.question = nil
                    }
                case .push:
                    guard case .fetched(question.ticket, let outcome) = try Push.decode(value) else { continue }
                    answered(outcome, question)
                // The reply to a HELLO or FILL is not used.
                default: break
                }
            }
        } catch {
            oracle.fail("syncd sent what is no reply: \(error)")
        }
    }

    private func answered(_ outcome: FetchOutcome, _ question: Question) {
        let read = question.read
        self.question = nil
        switch outcome {
        case .miss: break
        case .hit(let hit):
            oracle.figures.add("reads of clients without a table")
            if question.ticket != nil {
                oracle.figures.add("goal: FETCH \(question.hasPosition ? "… AFTER " : "")waited for a hit")
            }
            oracle.readEnded(read, CachedValue(value: hit.value, source: .l2), on: self)
        case .lease(let lease):
            let key = read.key
            Task { [self] in
                let name = oracle.names.keys[key].bytes
                guard let value = try? await database.load(key, for: self) else {
                    return send(.abandon(key: name, lease: lease.id))
                }
                send(
                    .fill(
                        Fill(
                            key: name, lease: lease.id, ttlMilliseconds: host.plan.ttlMilliseconds,
                            tags: oracle.names.tags[key].map(\.bytes), value: value)))
            }
        }
    }
}
