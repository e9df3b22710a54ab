import NIOCore

/// The memory of all connections together: output that clients have not read yet, and incomplete requests.
///
/// Each connection alone is bounded (``Limits``); a thousand of them would still be too much. Data that several
/// connections wait for is in memory once and counts once. Above half of the limit, long values are refused (`-BUSY`:
/// the worker reads the database), and long requests wait in the kernel until others are complete. Above the limit the
/// daemon closes the connections of the process that holds most.
package final class BufferBudget {
    /// The limit, in bytes.
    package var limit: Int
    /// Bytes that are in memory for one connection alone.
    private var own = 0
    /// Bytes of incomplete requests.
    private var requests = 0
    private var sharedBytes = 0
    /// Shared data by address. The address is valid as long as a connection holds the data.
    private var shared: [UInt: Shared] = [:]
    /// The maximum since the last call of ``takePeak()``.
    private var peak = 0
    private var hasFreed = false

    private struct Shared {
        var bytes: Int
        var holders: Int
    }

    package init(limit: Int) { self.limit = limit }

    package var used: Int { own + requests + sharedBytes }
    package var isExceeded: Bool { used > limit }
    /// Whether long requests have to wait and long values are refused.
    package var isTight: Bool { used > limit / 2 }

    /// The maximum since the last call.
    package func takePeak() -> Int {
        defer { peak = used }
        return peak
    }

    /// Whether there may be more room than at the last call.
    package func takeFreed() -> Bool {
        defer { hasFreed = false }
        return hasFreed
    }

    private func note() { if used > peak { peak = used } }

    func changeOwn(by bytes: Int) {
        own += bytes
        if bytes < 0 { hasFreed = true }
        note()
    }

    /// Whether `bytes` more of a request may be read. The only incomplete request may always be read.
    package func reserve(_ bytes: Int, besides reserved: Int) -> Bool {
        guard requests == reserved || used + bytes <= limit / 2 else { return false }
        requests += bytes
        note()
        return true
    }

    package func release(_ bytes: Int) {
        requests -= bytes
        hasFreed = true
    }

    /// Adds one connection to the holders of this memory. Returns its key.
    func hold(_ data: ByteBuffer) -> UInt {
        let address = Self.address(data)
        if shared[address]?.holders == nil {
            shared[address] = Shared(bytes: data.storageCapacity, holders: 0)
            sharedBytes += data.storageCapacity
        }
        shared[address]?.holders += 1
        note()
        return address
    }

    func drop(_ address: UInt) {
        guard let data = shared[address] else { return }
        if data.holders > 1 {
            shared[address]?.holders -= 1
        } else {
            sharedBytes -= data.bytes
            hasFreed = true
            shared[address] = nil
        }
    }

    /// The part of one holder in the size of shared data, in bytes.
    func share(of address: UInt) -> Int { shared[address].map { $0.bytes / $0.holders } ?? 0 }

    /// Whether the data are held already, so that one more holder costs nothing.
    func isHeld(_ data: ByteBuffer) -> Bool { shared[Self.address(data)] != nil }

    private static func address(_ data: ByteBuffer) -> UInt {
        data.withVeryUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
    }
}
