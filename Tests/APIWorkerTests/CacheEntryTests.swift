import IPC
import NIOCore
import Testing

@testable import apiworker

/// docs/http-api.md, "Caching" and "Events".
@Suite struct CacheEntryTests {
    @Test(
        arguments: [
            (.users, "users:all", "users", 300), (.statistics, "stats:overview", "users", 300),
            (.graph(PageRequest(page: 2, limit: 50), includesConnections: true), "graph:2:50:true", "users", 120),
            (.graph(PageRequest(page: 1, limit: 100), includesConnections: false), "graph:1:100:false", "users", 120),
            (.user(id: "x"), "user:x", "user:x", 300),
        ] as [(CacheEntry, CacheKey, CacheTag, Int)])
    func `key, tag and time to live`(entry: CacheEntry, key: CacheKey, tag: CacheTag, seconds: Int) {
        #expect(entry.key == key)
        #expect(entry.tags == [tag])
        #expect(entry.timeToLive == .seconds(seconds))
    }

    @Test func `a write invalidates the lists and everybody whom it touches`() {
        #expect(CacheTag.writing(["a", "b"]) == ["users", "user:a", "user:b"])
    }

    @Test(
        arguments: [
            (.created(id: "a"), "user:created", #"{"userId":"a","timestamp":5}"#),
            (.updated(id: "a"), "user:updated", #"{"userId":"a","timestamp":5}"#),
            (.deleted(id: "a"), "user:deleted", #"{"userId":"a","timestamp":5}"#),
            (.linked(id: "a", friend: "b"), "users:linked", #"{"userId":"a","friendId":"b","timestamp":5}"#),
            (.unlinked(id: "a", friend: "b"), "users:unlinked", #"{"userId":"a","friendId":"b","timestamp":5}"#),
        ] as [(UserEvent, String, String)])
    func `events`(event: UserEvent, channel: String, payload: String) {
        let published = event.event(atMilliseconds: 5)
        #expect(String(buffer: published.channel) == channel)
        #expect(String(buffer: published.payload) == payload)
        #expect(UserEvent.channels.contains(channel))
    }

    @Test func `sources are called as X-Cache calls them`() {
        #expect([CacheSource.l1, .l2, .miss, .bypass].map(\.rawValue) == ["L1", "L2", "MISS", "BYPASS"])
    }
}
