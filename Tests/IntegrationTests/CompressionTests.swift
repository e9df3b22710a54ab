import TestSupport
import Testing

/// Bodies in gzip, from a real worker.
@Suite(.tags(.servers), .processes) struct CompressionTests {
    @Test func `who takes gzip gets it, with an ETag of its own`() async throws {
        let host = try await TestHost.start(
            workers: 1, home: .embedded, environment: ["WORKER_GZIP_BYTES": "1048576"])
        let http = try host.connect()
        for number in 0..<10 { try await TestHost.createUser(http, "user \(number)") }
        let gzip = [("Accept-Encoding", "gzip")]

        let plain = try await http.get("/api/users")
        #expect(plain.json.array?.count == 10 && plain["content-encoding"] == nil)
        let compressed = try await http.request("GET", "/api/users", headers: gzip)
        #expect(compressed.status == 200 && compressed.cache == "L1")
        #expect(compressed["content-encoding"] == "gzip")
        #expect(compressed.body.readableBytes < plain.body.readableBytes / 2)
        #expect(compressed.body.readableBytesView.starts(with: [0x1f, 0x8b]))
        #expect([plain, compressed].allSatisfy { $0["vary"] == "Accept-Encoding" })
        let (tag, other) = (try #require(plain["etag"]), try #require(compressed["etag"]))
        #expect(other == tag.dropLast() + "-gzip\"")

        let known = try await http.request("GET", "/api/users", headers: gzip + [("If-None-Match", other)])
        #expect(known.status == 304 && known["etag"] == other && known["content-encoding"] == nil)
        let otherForm = try await http.request("GET", "/api/users", headers: gzip + [("If-None-Match", tag)])
        #expect(otherForm.status == 200)
        let head = try await http.request("HEAD", "/api/users", headers: gzip)
        #expect(head["content-length"] == "\(compressed.body.readableBytes)" && head["content-encoding"] == "gzip")

        try await TestHost.createUser(http, "one more")
        let newer = try await http.request("GET", "/api/users", headers: gzip + [("If-None-Match", other)])
        #expect(newer.status == 200 && newer["etag"] != other)
    }
}
