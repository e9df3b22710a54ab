import Logging
import NIOCore
import Synchronization

/// Long bodies that are being sent. Clients that read slowly, or nothing, cannot make a worker keep any number of them,
/// nor keep their room from others.
///
/// A body is identified by its memory address, which cannot be reused while the body is here.
final class SendingBodies: Sendable {
    /// The room of one response, which ends with the object.
    final class Place: Sendable {
        private let bodies: SendingBodies
        private let client: ObjectIdentifier
        private let number: Int

        fileprivate init(_ bodies: SendingBodies, _ client: ObjectIdentifier, _ number: Int) {
            (self.bodies, self.client, self.number) = (bodies, client, number)
        }

        deinit { bodies.state.withLock { $0.end(number, of: client) } }
    }

    /// A connection with responses that are being sent.
    private struct Client {
        let channel: any Channel
        /// The last time at which it took a part of a response, or had none.
        var readAt: NIODeadline
        /// The addresses of the bodies by the number of the response.
        var responses: [Int: UInt] = [:]
    }

    private struct State {
        var bodies: [UInt: (body: ByteBuffer, count: Int)] = [:]
        var byteCount = 0
        var clients: [ObjectIdentifier: Client] = [:]
        var nextNumber = 0
        var nextLine = NIODeadline.uptimeNanoseconds(0)

        func hasRoom(for body: ByteBuffer, _ limits: HTTPLimits) -> Bool {
            bodies[body.address] != nil || byteCount + body.readableBytes <= limits.sendingBytes
        }

        mutating func begin(_ body: ByteBuffer, on channel: any Channel, now: NIODeadline) -> Int {
            let number = nextNumber
            nextNumber += 1
            clients[ObjectIdentifier(channel), default: Client(channel: channel, readAt: now)]
                .responses[number] = body.address
            if bodies[body.address] == nil { byteCount += body.readableBytes }
            bodies[body.address, default: (body, 0)].count += 1
            return number
        }

        mutating func end(_ number: Int, of id: ObjectIdentifier) {
            guard let address = clients[id]?.responses.removeValue(forKey: number) else { return }
            if clients[id]?.responses.isEmpty == true { clients[id] = nil }
            leave(address)
        }

        mutating func end(_ id: ObjectIdentifier) -> (any Channel)? {
            guard let client = clients.removeValue(forKey: id) else { return nil }
            for address in client.responses.values { leave(address) }
            return client.channel
        }

        private mutating func leave(_ address: UInt) {
            guard let (body, count) = bodies[address] else { return }
            bodies[address] = count > 1 ? (body, count - 1) : nil
            if count == 1 { byteCount -= body.readableBytes }
        }

        /// The client other than `id` that has not read for longest, if that is a while.
        func idlest(besides id: ObjectIdentifier, _ limits: HTTPLimits, now: NIODeadline) -> ObjectIdentifier? {
            let idlest = clients.lazy.filter { $0.key != id }.min { $0.value.readAt < $1.value.readAt }
            return idlest.flatMap { $0.value.readAt <= now - limits.yieldingWrite ? $0.key : nil }
        }
    }

    private let state = Mutex(State())
    private static let logInterval = TimeAmount.seconds(10)

    private let limits: HTTPLimits
    private let logger: Logger

    init(limits: HTTPLimits, logger: Logger) {
        self.limits = limits
        self.logger = logger
    }

    /// A response with this body begins. Where there is no room, clients that have not read theirs for longest are cut off.
    ///
    /// - Returns: `nil` if there is no room, because all others read.
    func begin(_ body: ByteBuffer, on channel: any Channel, now: NIODeadline = .now()) -> Place? {
        let id = ObjectIdentifier(channel)
        let (number, cut, isNews) = state.withLock { state -> (Int?, [any Channel], Bool) in
            var cut: [any Channel] = []
            while !state.hasRoom(for: body, limits), let idlest = state.idlest(besides: id, limits, now: now) {
                if let channel = state.end(idlest) { cut.append(channel) }
            }
            let isNews = !cut.isEmpty && state.nextLine <= now
            if isNews { state.nextLine = now + Self.logInterval }
            return (state.hasRoom(for: body, limits) ? state.begin(body, on: channel, now: now) : nil, cut, isNews)
        }
        // Outside of the lock: the places of their responses end with them.
        for channel in cut { channel.close(promise: nil) }
        if isNews {
            logger.warning("Clients that did not read their long responses were cut off: others need the room")
        }
        return number.map { Place(self, id, $0) }
    }

    /// A client has taken a part of its response.
    func clientHasRead(_ channel: any Channel, now: NIODeadline) {
        state.withLock { $0.clients[ObjectIdentifier(channel)]?.readAt = now }
    }
}

extension ByteBuffer {
    /// The address of the first readable byte.
    var address: UInt { withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) } }
}
