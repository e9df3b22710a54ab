import IPCWire
import NIOCore

/// One client: its requests that are not decided yet, what it is still to be told, and whether it is read from.
///
/// The loop decides about it (`EngineLoop+Clients.swift`); its socket is a ``ClientChannel``.
final class ClientConnection {
    /// How far it has come; goes up only.
    enum Phase: Int, Comparable {
        case open
        /// A frame was malformed, the client said QUIT or sends nothing more: it is still answered, nothing more is read.
        case ending
        /// The client has all its replies, and its socket is being closed.
        case closing
        /// The client was closed for the others' sake; its socket may not have said so yet.
        case cutOff
        case closed

        static func < (one: Phase, other: Phase) -> Bool { one.rawValue < other.rawValue }
    }

    private struct LongRequest {
        var bytes: Int
        /// Its part of the ``RequestWindow``, in bytes.
        var work: Int
    }

    let id: ClientID
    let peer: Peer
    let channel: any ClientChannel
    let output: ClientOutput
    var decoder: CommandDecoder
    private let limits: Limits
    private let budget: BufferBudget
    private let window: RequestWindow
    private let process: RequestWindow.Process
    private var requestsUnderWay = 0
    /// The long ones among them.
    private var longRequests: [RequestID: LongRequest] = [:]
    /// Bytes of long requests that the budget counts: none once the connection is closed.
    private var countedBytes = 0
    private(set) var phase = Phase.open
    /// The connection is in the list of those to flush at the end of the turn.
    var isFlushDue = false
    /// The connection has had its turn and continues in a later slice (``TurnQueue``).
    var isSuspended = false
    /// The client has closed its side.
    var isInputClosed = false
    /// When a whole request was taken last.
    var lastRequest: BootTime = 0
    private(set) var isReadingPaused = false
    /// Its process has used its part of the ``RequestWindow``.
    private var isQueued = false
    private var isReadingArgument = false
    /// Its request needs more memory than is available at the moment.
    private(set) var isWaitingForRoom = false
    /// Memory in bytes that the budget reserves for the incomplete request, and the time of the reservation.
    private(set) var reservedBytes = 0
    private(set) var requestBegan: BootTime = 0

    /// The memory of smaller incomplete requests is not reserved.
    private static let freeBytes = 16 << 10
    /// Smaller requests under way are counted without their bytes.
    private static let shortBytes = 1 << 10
    /// Bytes that a socket is read in at once (``ClientChannel/setReadingArgument(_:)``); more is a long argument.
    static let pieceBytes = 4096

    init(
        id: ClientID, peer: Peer, channel: any ClientChannel, limits: Limits, budget: BufferBudget,
        window: RequestWindow
    ) {
        self.id = id
        self.peer = peer
        self.channel = channel
        self.limits = limits
        self.budget = budget
        self.window = window
        process = window.connected(peer.holder)
        decoder = CommandDecoder(limits: limits.wire)
        output = ClientOutput(limits: limits, budget: budget)
    }

    var wireLimits: WireLimits { limits.wire }

    var transport: Transport {
        var transport = output.transport
        transport.unreadRequestBytes = decoder.neededBytes
        transport.lastRequestAt = lastRequest
        return transport
    }

    var holder: Int64 { peer.holder }
    /// Memory attributed to the connection, in bytes.
    var heldBytes: Int { output.heldBytes + reservedBytes + countedBytes }

    // MARK: Reading

    var mayTakeRequest: Bool { phase == .open && !isSuspended && hasRoomForRequest }

    private var hasRoomForRequest: Bool { output.hasRoomForRequest && window.hasRoom(for: process) }

    /// Whether every whole request that it sent is under way and none will follow: what is left is to answer.
    var isAllAsked: Bool { isInputClosed && mayTakeRequest }

    /// Whether it goes on after a pause.
    var mayResume: Bool {
        isReadingPaused && phase == .open && !isSuspended && !isWaitingForRoom && !isQueued && output.mayResume
    }

    func updateReading() {
        if phase == .open, !isQueued, !window.hasRoom(for: process) {
            isQueued = true
            window.queue(self, of: process)
        }
        let isPaused = isSuspended || isWaitingForRoom || !hasRoomForRequest
        guard isPaused != isReadingPaused, phase != .closed else { return }
        isReadingPaused = isPaused
        channel.setReading(!isPaused)
    }

    func updatePieces() {
        let isLong = Self.missingBytes(&decoder) > Self.pieceBytes
        guard isLong != isReadingArgument, phase != .closed else { return }
        isReadingArgument = isLong
        channel.setReadingArgument(isLong)
    }

    // By reference: to look at a decoder that is a property of an object would cost a copy of it.
    private static func missingBytes(_ decoder: inout CommandDecoder) -> Int { decoder.missingBytes }
    private static func neededBytes(_ decoder: inout CommandDecoder) -> Int { decoder.neededBytes }

    // MARK: Memory for requests

    /// Reserves the memory of the present request in the budget.
    func reserve(_ now: BootTime) {
        let needed = Self.neededBytes(&decoder)
        guard needed > Self.freeBytes else { return releaseReservation() }
        guard needed > reservedBytes else { return }
        // Memory is reserved in steps: the sum of many arguments is not known before.
        let step = max(needed, 2 * reservedBytes) - reservedBytes
        isWaitingForRoom = !budget.reserve(step, besides: reservedBytes)
        if requestBegan == 0 { requestBegan = now }
        if !isWaitingForRoom { reservedBytes += step }
    }

    private func releaseReservation() {
        requestBegan = 0
        isWaitingForRoom = false
        guard reservedBytes > 0 else { return }
        budget.release(reservedBytes)
        reservedBytes = 0
    }

    // MARK: Requests under way

    /// Whether somebody is still to answer one of its requests.
    var hasRequestsUnderWay: Bool { requestsUnderWay > 0 }

    /// A request of this many bytes is handed to the engine, which answers it at once or when Redis has answered.
    ///
    /// - Parameter work: the server's work in addition to that for the request's bytes, as a number of bytes.
    func begin(_ request: RequestID, bytes: Int, work: Int) {
        var long = LongRequest(bytes: 0, work: 0)
        if bytes + work > Self.shortBytes {
            long = LongRequest(bytes: bytes, work: bytes + work)
            longRequests[request] = long
            countedBytes += bytes
            budget.changeOwn(by: bytes)
        }
        requestsUnderWay += 1
        window.begin(process, bytes: long.work)
    }

    /// The connections of its process that may go on when a request was answered.
    func takeQueued() -> [ClientConnection] {
        let taken = window.takeQueued(process)
        for client in taken { client.isQueued = false }
        return taken
    }

    /// The engine has answered it.
    func answered(_ request: RequestID) {
        requestsUnderWay -= 1
        let long = longRequests.isEmpty ? nil : longRequests.removeValue(forKey: request)
        window.end(process, bytes: long?.work ?? 0)
        guard let long, countedBytes > 0 else { return }
        countedBytes -= long.bytes
        budget.changeOwn(by: -long.bytes)
    }

    // MARK: Ending

    /// Nothing more is taken from it.
    func end() {
        if phase < .ending { phase = .ending }
    }

    /// The client has everything that it is to get.
    func close() {
        phase = .closing
        channel.close()
    }

    /// Gives back what a request that never comes whole was given.
    func dropRequest() { releaseReservation() }

    func cutOff() {
        phase = .cutOff
        forget()
        channel.close()
    }

    func closed() {
        phase = .closed
        forget()
        window.disconnected(process)
    }

    /// Releases the resources of the connection.
    private func forget() {
        output.discard()
        releaseReservation()
        budget.changeOwn(by: -countedBytes)
        countedBytes = 0
        decoder = CommandDecoder(limits: limits.wire)
    }
}
