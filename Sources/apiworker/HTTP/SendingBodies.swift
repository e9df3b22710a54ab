import NIOCore
import Synchronization

/// Long bodies that are being sent. Clients that read slowly, or nothing, cannot make a worker keep any number of them.
///
/// A body is identified by its memory address, which cannot be reused while the body is here.
final class SendingBodies: Sendable {
    private struct State {
        var bodies: [UInt: (body: ByteBuffer, count: Int)] = [:]
        var byteCount = 0
    }

    private let state = Mutex(State())
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    /// Bytes of all bodies.
    var byteCount: Int { state.withLock { $0.byteCount } }

    /// A response with this body begins.
    ///
    /// - Returns: false if there is no room for it.
    func begin(_ body: ByteBuffer) -> Bool {
        state.withLock { state in
            if state.bodies[body.address] == nil {
                guard state.byteCount + body.readableBytes <= limit else { return false }
                state.bodies[body.address] = (body, 0)
                state.byteCount += body.readableBytes
            }
            state.bodies[body.address]?.count += 1
            return true
        }
    }

    /// The response is sent, or its client has left.
    func end(_ body: ByteBuffer) {
        state.withLock { state in
            guard let count = state.bodies[body.address]?.count else { return }
            if count > 1 {
                state.bodies[body.address]?.count = count - 1
            } else {
                state.bodies[body.address] = nil
                state.byteCount -= body.readableBytes
            }
        }
    }
}

extension ByteBuffer {
    /// The address of the first readable byte.
    var address: UInt { withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) } }
}
