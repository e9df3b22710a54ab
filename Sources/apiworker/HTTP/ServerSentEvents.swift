import NIOCore

/// The format of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
enum ServerSentEvents {
    static let mediaType = "text/event-stream"

    /// A comment, which pages do not see. It keeps proxies from closing an idle connection.
    static let comment = ByteBuffer(string: ":\n\n")

    /// An event with its data. A page joins several lines of data with line feeds, so every kind of line break in them
    /// arrives as one. A name has one line: line breaks in it become spaces.
    static func event(_ name: ByteBuffer, data: ByteBuffer) -> ByteBuffer {
        var text = ByteBuffer()
        text.reserveCapacity(name.readableBytes + data.readableBytes + 32)
        text.writeStaticString("event: ")
        text.writeBytes(name.readableBytesView.lazy.map { isBreak($0) ? UInt8(ascii: " ") : $0 })
        var rest = data.readableBytesView
        while true {
            text.writeStaticString("\ndata: ")
            guard let end = rest.firstIndex(where: isBreak) else { break }
            text.writeBytes(rest[..<end])
            let isPair = rest[end] == carriageReturn && rest[end...].dropFirst().first == lineFeed
            rest = rest[end...].dropFirst(isPair ? 2 : 1)
        }
        text.writeBytes(rest)
        text.writeStaticString("\n\n")
        return text
    }

    private static let lineFeed = UInt8(ascii: "\n")
    private static let carriageReturn = UInt8(ascii: "\r")

    private static func isBreak(_ byte: UInt8) -> Bool { byte == lineFeed || byte == carriageReturn }
}
