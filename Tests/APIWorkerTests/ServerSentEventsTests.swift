import NIOCore
import Testing

@testable import apiworker

/// docs/http-api.md, "Events for pages": the format.
@Suite struct ServerSentEventsTests {
    private static func text(_ name: String, _ data: String) -> String {
        String(buffer: ServerSentEvents.event(ByteBuffer(string: name), data: ByteBuffer(string: data)))
    }

    @Test(arguments: [
        (#"{"a":1}"#, ["{\"a\":1}"]), ("", [""]), ("a\nb", ["a", "b"]), ("a\r\nb", ["a", "b"]), ("a\rb", ["a", "b"]),
        ("\n", ["", ""]), ("a\n", ["a", ""]), ("\n\nevent: x\n\n", ["", "", "event: x", "", ""]),
        ("a\n\rb", ["a", "", "b"]), ("\r\r\n", ["", "", ""]), ("data: x", ["data: x"]), (" é 😀", [" é 😀"]),
    ])
    func `data, line by line`(data: String, lines: [String]) {
        let expected = "event: user:created\n" + lines.map { "data: \($0)\n" }.joined() + "\n"
        #expect(Self.text("user:created", data) == expected)
    }

    @Test func `no name can begin a line of its own`() {
        #expect(Self.text("a\ndata: x\r\n\ry", "1") == "event: a data: x   y\ndata: 1\n\n")
    }

    @Test func `bytes that are no text go through as they are`() {
        let event = ServerSentEvents.event(ByteBuffer(bytes: [0xff]), data: ByteBuffer(bytes: [0xfe, 0x0a, 0x00]))
        #expect(
            Array(event.readableBytesView)
                == Array("event: ".utf8) + [0xff, 0x0a] + Array("data: ".utf8) + [0xfe, 0x0a] + Array("data: ".utf8)
                + [0x00, 0x0a, 0x0a])
    }
}
