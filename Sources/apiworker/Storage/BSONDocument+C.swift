import CMongoC

/// Documents as libbson has them. Always behind a pointer: its type has to be aligned to 128 bytes, which Swift can't.
extension BSONDocument {
    /// A copy for the C library. Whoever calls this destroys it in the same scope: `defer { bson_destroy(…) }`.
    func allocated() -> OpaquePointer {
        let bytes = encoded()
        // Only a length that is not the buffer's own gives no document.
        return bson_new_from_data(bytes, bytes.count) ?? bson_new()
    }

    /// Reads what libbson holds; `nil` if it is no document, which a server doesn't send.
    init?(_ pointer: OpaquePointer) {
        guard let bytes = bson_get_data(pointer) else { return nil }
        // Every document begins with its length, itself included; libbson has checked that much.
        let length = UnsafeRawPointer(bytes).loadUnaligned(as: Int32.self).littleEndian
        let buffer = UnsafeRawBufferPointer(start: bytes, count: Int(length))
        guard let document = try? Self.decode(buffer) else { return nil }
        self = document
    }

    /// Calls something that fills in a reply and an error.
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

    /// Lends an empty document for a reply, which `body` has to destroy or to hand on to somebody who does.
    static func withReplyMemory<Value, Failure>(
        _ body: (OpaquePointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        // Not from bson_new: functions that fill in a reply take its memory for the caller's own.
        let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: size)
        defer { memory.deallocate() }
        let reply = OpaquePointer(memory)
        bson_init(reply)
        return try body(reply)
    }

    /// Size and alignment of bson_t, fixed by libbson's ABI.
    private static let size = 128
}
