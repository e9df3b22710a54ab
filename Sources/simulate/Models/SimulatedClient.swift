import NIOCore
import SyncCore

/// syncd's end of a client's socket.
final class SimulatedClient: ClientChannel {
    private unowned let syncd: SimulatedSyncd
    private let socket: Socket
    private(set) var id: ClientID?
    private(set) var isClosed = false
    /// Writes that were not taken at once, each with the byte of all output at which it ends.
    private var unsent: [(end: Int, bytes: Int)] = []
    private var (written, taken) = (0, 0)
    private var isWriting = false

    init(_ socket: Socket, of syncd: SimulatedSyncd) {
        self.syncd = syncd
        self.socket = socket
        socket.toServer.isRead = false
        socket.toServer.deliver = { [unowned self] bytes in submit { .received($0, bytes) } }
        socket.toServer.ended = { [unowned self] in close() }
        socket.toClient.taken = { [unowned self] count in
            taken += count
            tellSent()
        }
    }

    func accept() {
        if isClosed { return }
        id = syncd.loop.connect(self, peer: Peer(pid: 1, uid: 0))
        setReading(true)
    }

    private func submit(_ input: (ClientID) -> Input) {
        if let id { syncd.loop.submit(input(id)) }
    }

    // MARK: As the loop's channel

    func write(_ bytes: ByteBuffer) -> Bool {
        send(bytes)
        return isTaken(bytes.readableBytes)
    }

    func write(_ parts: [ByteBuffer]) -> Bool {
        for part in parts { send(part) }
        return isTaken(parts.reduce(0) { $0 + $1.readableBytes })
    }

    private func send(_ bytes: ByteBuffer) {
        written += bytes.readableBytes
        isWriting = true
        socket.toClient.send(bytes)
        isWriting = false
    }

    private func isTaken(_ bytes: Int) -> Bool {
        if taken == written { return true }
        unsent.append((written, bytes))
        return false
    }

    private func tellSent() {
        while !isWriting, let first = unsent.first, first.end <= taken {
            unsent.removeFirst()
            submit { .sent($0, first.bytes) }
        }
    }

    func setReading(_ isReading: Bool) { socket.toServer.isRead = isReading }
    func setReadingArgument(_ isLong: Bool) {}

    func close() {
        guard !isClosed else { return }
        isClosed = true
        socket.closeServer()
        syncd.world.after(0, syncd, "closed") { [self] in submit { .disconnected($0) } }
    }

    /// syncd has died.
    func abandon() {
        isClosed = true
        socket.closeServer()
    }
}
