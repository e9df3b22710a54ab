import NIOCore

/// The memory of all connections together: what clients have not read yet, and requests that have not come whole.
///
/// Each connection alone is bounded (``Limits``); a thousand of them would still be too much. Data that several
/// connections wait for is in memory once and counts once. Above half of the limit, long values are not handed out any
/// more (`-BUSY`: the asker reads the database), and long requests wait with the kernel until others are complete.
/// Above the limit the daemon closes the connections of whoever holds most.
package final class BufferBudget {
    /// In bytes.
    package var limit: Int
    /// Bytes that are in memory for one connection alone.
    private var own = 0
    /// Bytes of requests that have begun.
    private var requests = 0
    private var sharedBytes = 0
    /// By the address of the data, which stays as long as a connection holds it.
    private var shared: [UInt: Shared] = [:]
    /// The most that was used since ``takePeak()``.
    private var peak = 0
    private var hasFreed = false

    private struct Shared {
        var bytes: Int
        var holders: Int
    }

    package init(limit: Int) { self.limit = limit }

    package var used: Int { own + requests + sharedBytes }
    package var isExceeded: Bool { used > limit }
    /// Whether what is long and can wait, or can do without, has to.
    package var isTight: Bool { used > limit / 2 }

    /// The most that was used since the last call.
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

    /// Whether so many more bytes of a request may be read. The only one that is being read always may.
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

    /// One more connection holds this memory. Returns what it is known by.
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

    /// The part of it that one of its holders answers for, in bytes.
    func share(of address: UInt) -> Int { shared[address].map { $0.bytes / $0.holders } ?? 0 }

    /// Whether holding it costs nothing, since somebody holds it already.
    func isHeld(_ data: ByteBuffer) -> Bool { shared[Self.address(data)] != nil }

    private static func address(_ data: ByteBuffer) -> UInt {
        data.withVeryUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
    }
}
