import CZlib
import NIOCore
import Testing

@testable import apiworker

@Suite struct CompressionTests {
    // MARK: Accepted codings

    @Test(arguments: [
        "gzip", "GZIP", "x-gzip", " gzip ", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "*", "*;q=0.1", "gzip;q=1.000",
        "gzip ; q=0.5", "gzip;Q=0.5", "identity, gzip", "identity;q=0.5, *;q=0.5", "identity;q=0, gzip;q=0.001",
        "deflate, gzip;q=1, *;q=0", ",gzip,",
    ])
    func `gzip is accepted`(field: String) {
        #expect(AcceptEncoding.prefersGzip(field))
    }

    @Test(arguments: [
        "", "identity", "deflate", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *", "identity, gzip;q=0.5",
        "gzipped",
        "br", "gzip;q=", "gzip;q=2", "gzip;q=1.001", "gzip;q=-1", "gzip;q=0.0001", "gzip;q=.5", "gzip;q=0,5",
        "gzip;x=1",
        "gzip;q=1;q=1", "\"gzip\"", ";q=1",
    ])
    func `gzip is not accepted`(field: String) {
        #expect(!AcceptEncoding.prefersGzip(field))
    }

    @Test func `no field, no gzip`() { #expect(!AcceptEncoding.prefersGzip(nil)) }

    // MARK: Compressing

    private static func inflated(_ body: ByteBuffer, expecting count: Int) throws -> ByteBuffer {
        var stream = z_stream()
        try #require(inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK)
        defer { inflateEnd(&stream) }
        var (input, output) = (Array(body.readableBytesView), [UInt8](repeating: 0, count: count + 1))
        let status = input.withUnsafeMutableBufferPointer { input in
            output.withUnsafeMutableBufferPointer { output in
                stream.next_in = input.baseAddress
                stream.avail_in = UInt32(input.count)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(output.count)
                return inflate(&stream, Z_FINISH)
            }
        }
        #expect(status == Z_STREAM_END && stream.avail_in == 0)
        return ByteBuffer(bytes: output[..<Int(stream.total_out)])
    }

    private static func body(_ bytes: Int) -> ByteBuffer {
        var body = ByteBuffer()
        var number = 0
        while body.readableBytes < bytes {
            body.writeString("{\"_id\":\(number),\"username\":\"user \(number)\"},")
            number += 1
        }
        body.moveWriterIndex(to: bytes)
        return body
    }

    private static func noise(_ bytes: Int) -> ByteBuffer {
        var state: UInt64 = 1
        return ByteBuffer(
            bytes: (0..<bytes).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 33)
            })
    }

    @Test(arguments: [1024, 65_536, 65_537, 3_000_000]) func `what comes out is what went in`(bytes: Int) async throws {
        let bodies = try #require(CompressedBodies(byteBudget: 64 << 20))
        let body = Self.body(bytes)
        let compressed = try #require(await bodies.compressed(body, tag: EntityTag(of: body)))
        #expect(compressed.readableBytes < bytes / 2)
        #expect(try Self.inflated(compressed, expecting: bytes) == body)
    }

    @Test func `short bodies and noise stay as they are`() async throws {
        let bodies = try #require(CompressedBodies(byteBudget: 1 << 20))
        for body in [Self.body(1023), Self.noise(5000), ByteBuffer()] {
            #expect(await bodies.compressed(body, tag: EntityTag(of: body)) == nil)
        }
        #expect(Gzip.compress(ByteBuffer()) == nil)
    }

    @Test func `each is compressed once, within the budget`() async throws {
        let bodies = try #require(CompressedBodies(byteBudget: 200 << 10))
        let (small, large) = (Self.body(10_000), Self.body(200_000))
        for body in [small, large] {
            let tag = EntityTag(of: body)
            let first = try #require(await bodies.compressed(body, tag: tag))
            let second = try #require(await bodies.compressed(body, tag: tag))
            // The same memory, not only the same bytes.
            #expect(
                first.withUnsafeReadableBytes { $0.baseAddress } == second.withUnsafeReadableBytes { $0.baseAddress })
        }
        #expect(bodies.statistics.entries == 2)
        for bytes in 20_000..<20_100 {
            let body = Self.body(bytes)
            _ = await bodies.compressed(body, tag: EntityTag(of: body))
        }
        #expect(bodies.statistics.bytes <= 200 << 10 && bodies.statistics.entries < 102)
        #expect(CompressedBodies(byteBudget: 0) == nil)
    }

    // MARK: Responses

    @Test func `switched off, nothing is different`() {
        let body = Self.body(5000)
        for isCompressible in [false, true] {
            let headers = Routes.entity(body, EntityTag(of: body), source: .l2, isCompressible: isCompressible).headers
            #expect(headers["Vary"] == (isCompressible ? ["Accept-Encoding"] : []))
            #expect(headers["ETag"] == [EntityTag(of: body).description] && headers["Content-Length"] == ["5000"])
            #expect(headers["X-Cache"] == ["L2"] && headers["Age"] == [] && headers["Content-Encoding"] == [])
        }
    }

    @Test func `a compressed body has another tag`() {
        let tag = EntityTag(of: Self.body(5000))
        #expect(tag.ofGzip == tag.description.dropLast() + "-gzip\"")
    }

    @Test func `a value in grace says its age`() {
        let body = ByteBuffer(string: "{}")
        let response = Routes.entity(
            body, EntityTag(of: body), source: .stale, age: .milliseconds(75_900), isCompressible: false)
        #expect(response.headers["X-Cache"] == ["STALE"] && response.headers["Age"] == ["75"])
    }
}
