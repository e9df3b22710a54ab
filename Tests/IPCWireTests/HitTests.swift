import NIOCore
import Testing

@testable import IPCWire

/// A hit whose entry was written before is the same hit, and the same bytes.
@Suite struct HitTests {
    static let hits: [Hit] = [
        RoundTripTests.hit, Hit(value: nil, asOf: 1, ttlMilliseconds: 2, tags: [], epoch: 3),
        Hit(value: nil, asOf: .greatest, ttlMilliseconds: 0, tags: [RoundTripTests.text], epoch: 0),
        Hit(value: ByteBuffer(), asOf: 0, ttlMilliseconds: 86_400_000, tags: [ByteBuffer()], epoch: .greatest),
        Hit(
            value: ByteBuffer(repeating: 13, count: 100_000), asOf: 9, ttlMilliseconds: 10,
            tags: (0..<64).map { ByteBuffer(repeating: 10, count: $0 * 4) }, epoch: 99),
    ]

    private func kept(_ hit: Hit) -> Hit {
        Hit(Hit.Entry(encoding: hit.entry), ttlMilliseconds: hit.ttlMilliseconds, epoch: hit.epoch)
    }

    private func written(_ version: RESPVersion, _ encode: (inout RESPWriter) -> Void) -> ByteBuffer {
        // Behind something else: what is written must not depend on where it stands.
        var writer = RESPWriter(version: version, buffer: ByteBuffer(string: "+OK\r\n"))
        encode(&writer)
        return writer.buffer
    }

    @Test(arguments: hits) func `it is the same`(hit: Hit) {
        #expect(kept(hit) == hit)
        #expect(kept(hit).hashValue == hit.hashValue)
    }

    @Test(arguments: hits, [RESPVersion.v2, .v3]) func `it is written the same`(hit: Hit, version: RESPVersion) {
        let kept = kept(hit)
        #expect(
            written(version) { Reply.fetched(.hit(kept)).encode(into: &$0) }
                == written(version) { Reply.fetched(.hit(hit)).encode(into: &$0) })
        #expect(
            written(version) { Push.fetched(ticket: 7, .hit(kept)).encode(into: &$0) }
                == written(version) { Push.fetched(ticket: 7, .hit(hit)).encode(into: &$0) })
    }

    @Test func `hits of other entries are others`() {
        let hit = RoundTripTests.hit
        for other in Self.hits.dropFirst() { #expect(kept(other) != hit) }
        #expect(Hit(hit.entry, ttlMilliseconds: hit.ttlMilliseconds + 1, epoch: hit.epoch) != hit)
        #expect(Hit(hit.entry, ttlMilliseconds: hit.ttlMilliseconds, epoch: hit.epoch + 1) != hit)
    }

    @Test func `a kept entry holds its own bytes and little more`() {
        var chunk = ByteBuffer(repeating: 0, count: 1 << 20)
        let value = chunk.readSlice(length: 100) ?? ByteBuffer()
        let tag = chunk.readSlice(length: 10) ?? ByteBuffer()
        let entry = Hit.Entry(encoding: Hit.Entry(value: value, asOf: 1, tags: [tag]))
        #expect((110...512).contains(entry.bytes))
        #expect(entry.value?.storageCapacity ?? 0 <= 256)
        #expect(entry.tags[0].storageCapacity <= 256)
    }
}
