import IPCWire
import NIOCore

/// One direction of a Unix socket: bytes in order, each chunk after some time; then the end.
///
/// Unread data fill the kernel's buffer; the rest stays with the sender.
final class Pipe {
    private let world: World
    private let sender: Process
    private let receiver: Process
    private let delay: ClosedRange<UInt64>
    private let isSlicing: Bool
    private let kernelBytes: Int
    private var waiting: [ByteBuffer] = []
    private var inKernel = 0
    private var lastArrival: BootTime = 0
    private var isEnded = false
    private var isBroken = false
    /// Bytes that have arrived and are not read.
    private var unread: [ByteBuffer] = []
    /// Whether the receiver reads. Until it does, bytes that arrive stay with the kernel.
    var isRead = true {
        didSet {
            guard isRead, !oldValue, !unread.isEmpty else { return }
            world.after(0, receiver, "reads on") { [self] in readAll() }
        }
    }
    var deliver: (ByteBuffer) -> Void = { _ in }
    var ended: () -> Void = {}
    /// Called when data arrive after more than a trust window.
    var late: () -> Void = {}
    /// The kernel has accepted this many bytes.
    var taken: (Int) -> Void = { _ in }

    init(
        world: World, from sender: Process, to receiver: Process, kernelBytes: Int, delay: ClosedRange<UInt64>,
        isSlicing: Bool
    ) {
        self.kernelBytes = kernelBytes
        self.world = world
        self.sender = sender
        self.receiver = receiver
        self.delay = delay
        self.isSlicing = isSlicing
    }

    func send(_ bytes: ByteBuffer) {
        guard !isEnded, !isBroken else { return }
        waiting.append(bytes)
        pump()
    }

    /// The sender has closed, or died: data in the kernel still arrive, and then the end.
    func end() {
        guard !isEnded else { return }
        isEnded = true
        waiting = []
        lastArrival = max(lastArrival, world.now + world.random.number(delay))
        world.at(lastArrival, receiver, "end of connection", lane: ObjectIdentifier(self)) { [self] in
            if !isBroken { ended() }
        }
    }

    /// The receiver is gone: nothing arrives any more.
    func discard() {
        isBroken = true
        waiting = []
    }

    private func pump() {
        while var rest = waiting.first, inKernel == 0 || inKernel < kernelBytes {
            waiting.removeFirst()
            let room = max(1, kernelBytes - inKernel)
            var count = min(rest.readableBytes, room)
            if isSlicing, count > 1, world.random.oneIn(3) { count = 1 + world.random.below(count) }
            guard let chunk = rest.readSlice(length: count) else { continue }
            if rest.readableBytes > 0 { waiting.insert(rest, at: 0) }
            inKernel += count
            lastArrival = max(lastArrival, world.now + world.random.number(delay))
            let sentAt = world.now
            world.at(lastArrival, receiver, "bytes", lane: ObjectIdentifier(self)) { [self] in
                if world.now - sentAt > TrustTiming.trustWindowNanoseconds { late() }
                arrived(chunk)
            }
            taken(count)
        }
    }

    private func arrived(_ chunk: ByteBuffer) {
        unread.append(chunk)
        readAll()
    }

    private func readAll() {
        while isRead, !unread.isEmpty {
            let chunk = unread.removeFirst()
            inKernel -= chunk.readableBytes
            if !isBroken { deliver(chunk) }
        }
        guard !waiting.isEmpty else { return }
        world.after(0, sender, "socket writable") { [self] in pump() }
    }
}

/// A connected Unix socket between a worker and syncd.
final class Socket {
    let toServer: Pipe
    let toClient: Pipe

    init(world: World, client: Process, server: Process, plan: Plan) {
        toServer = Pipe(
            world: world, from: client, to: server, kernelBytes: plan.kernelBytes, delay: plan.socketDelay,
            isSlicing: plan.isSlicing)
        toClient = Pipe(
            world: world, from: server, to: client, kernelBytes: plan.kernelBytes, delay: plan.socketDelay,
            isSlicing: plan.isSlicing)
    }

    func closeClient() {
        toServer.end()
        toClient.discard()
    }

    func closeServer() {
        toClient.end()
        toServer.discard()
    }
}
