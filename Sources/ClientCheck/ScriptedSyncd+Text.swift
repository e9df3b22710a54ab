import IPC
import IPCTesting
import IPCWire
import NIOCore

// Checks name keys and values by text.
extension ScriptedSyncd {
    /// How often it was asked for a key.
    func fetches(_ key: String) -> Int { fetchCount(of: CacheKey(key)) }

    func fills(_ key: String) -> [Fill] { fills.filter { $0.key == ByteBuffer(string: key) } }

    func abandons(_ lease: LeaseID) -> Int { abandons.count { $0 == lease } }

    /// A hit of an entry with a tag or several.
    func entry(
        _ value: String?, tags: [String] = ["a tag of the entry"], ttlMilliseconds: UInt64 = 60_000
    ) -> FetchOutcome {
        hit(value, tags: tags.map { CacheTag($0) }, ttlMilliseconds: ttlMilliseconds)
    }
}

extension Request {
    /// The key of a FETCH.
    var fetchedText: String? { fetchedKey.map { String(buffer: $0) } }
}
