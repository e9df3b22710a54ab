import NIOCore
import SyncCore
import Testing

@testable import syncd

/// Long values of Redis come a few at a time.
@Suite struct LongValuesTests {
    private func query(_ id: UpstreamID, _ bytes: Int) -> LongValues.Query {
        LongValues.Query(id: id, key: ByteBuffer(string: "\(id)"), bytes: bytes)
    }

    private func sent(_ values: inout LongValues) -> [UpstreamID] {
        var ids: [UpstreamID] = []
        while let query = values.next() { ids.append(query.id) }
        return ids
    }

    @Test func `the next one is asked for when an earlier one has come`() {
        var values = LongValues()
        for id in UInt64(0)..<6 { _ = values.add(query(UpstreamID(id), 900_000)) }
        #expect(sent(&values) == [0, 1])
        values.answered(0)
        #expect(sent(&values) == [2])
        values.answered(2)
        values.answered(1)
        #expect(sent(&values) == [3, 4])
    }

    @Test func `a value beyond the limit comes alone`() {
        var values = LongValues()
        _ = values.add(query(0, 5 << 20))
        _ = values.add(query(1, 20_000))
        #expect(sent(&values) == [0])
        values.answered(0)
        #expect(sent(&values) == [1])
    }

    @Test func `more than can come in time is refused, and taken when some have come`() {
        var values = LongValues()
        let taken = (UInt64(0)..<20).filter { values.add(query(UpstreamID($0), 1 << 20)) }
        #expect(taken == Array(0..<8))
        #expect(sent(&values) == [0, 1])
        let isTaken = values.add(query(99, 1 << 20))
        #expect(isTaken)
    }
}
