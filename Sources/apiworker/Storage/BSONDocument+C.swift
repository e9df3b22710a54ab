import CMongoC

/// Conversion of documents for libbson. They are always behind a pointer: libbson's type has to be aligned to 128
/// bytes, which Swift cannot express.
extension BSONDocument {
    /// A copy for the C library. The caller destroys it in the same scope: `defer { bson_destroy(…) }`.
    func allocated() -> OpaquePointer {
        let bytes = encoded()
        // The only possible failure is a length that is not the buffer's own.
        return bson_new_from_data(bytes, bytes.count) ?? bson_new()
    }

    /// Reads a document of libbson; `nil` if it is malformed, which a server doesn't send.
    init?(_ pointer: OpaquePointer) {
        guard let bytes = Self.bytes(pointer), let document = try? Self.decode(bytes) else { return nil }
        self = document
    }

    /// The bytes of a document of libbson.
    static func bytes(_ pointer: OpaquePointer) -> UnsafeRawBufferPointer? {
        guard let bytes = bson_get_data(pointer) else { return nil }
        // Every document begins with its length, itself included; libbson has checked that much.
        let length = UnsafeRawPointer(bytes).loadUnaligned(as: Int32.self).littleEndian
        return UnsafeRawBufferPointer(start: bytes, count: Int(length))
    }

    /// Calls a function that fills in a reply and an error.
    static func reply(
        _ body: (OpaquePointer, UnsafeMutablePointer<bson_error_t>) -> Bool
    ) -> (isDone: Bool, reply: BSONDocument, error: bson_error_t) {
        withReplyMemory { reply in
            defer { bson_destroy(reply) }
            var error = bson_error_t()
            let isDone = body(reply, &error)
            return (isDone, BSONDocument(reply) ?? [:], error)
        }
    }

    /// Provides an empty document for a reply, which `body` has to destroy or to pass on to an owner that does.
    static func withReplyMemory<Value, Failure>(
        _ body: (OpaquePointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        // bson_new is not suitable: functions that fill in a reply treat its memory as the caller's own.
        let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: size)
        defer { memory.deallocate() }
        let reply = OpaquePointer(memory)
        bson_init(reply)
        return try body(reply)
    }

    /// Size and alignment of bson_t, fixed by libbson's ABI.
    private static let size = 128
}
