import NIOCore

extension Reply {
    /// Writes the reply in the writer's protocol version.
    package func encode(into writer: inout RESPWriter) {
        switch self {
        case .ok: writer.simpleString("OK")
        case .simple(.pong): writer.simpleString("PONG")
        case .simple(.reset): writer.simpleString("RESET")
        case .simple(.deferred): writer.simpleString("DEFERRED")
        case .integer(let number): writer.integer(number)
        case .bulk(let bytes): writer.bulkString(bytes)
        case .null: writer.null()
        case .emptyArray: writer.arrayHeader(0)
        case .array(let items):
            writer.arrayHeader(items.count)
            for item in items { item.encode(into: &writer) }
        case .emptyMap: writer.mapHeader(0)
        case .error(let error): writer.error(code: error.code.rawValue, message: error.message)
        case .greeting(let greeting): greeting.encode(into: &writer)
        case .fetched(let outcome):
            writer.arrayHeader(outcome.elementCount)
            outcome.encode(into: &writer)
        case .wait(let ticket):
            writer.arrayHeader(2)
            writer.word("wait")
            writer.integer(ticket)
        case .fields(let fields): StatusValue.fields(fields).encode(into: &writer)
        case .subscriptions(let kind, let changes):
            for change in changes {
                writer.pushHeader(3)
                writer.bulkString(kind.rawValue)
                if let channel = change.channel { writer.bulkString(channel) } else { writer.null() }
                writer.integer(UInt64(change.count))
            }
        }
    }
}

extension FetchOutcome {
    var elementCount: Int {
        switch self {
        case .hit: 6
        case .lease: 4
        case .miss: 1
        }
    }

    /// Writes the elements, without the header of the enclosing array or push.
    func encode(into writer: inout RESPWriter) {
        switch self {
        case .hit(let hit): hit.encode(into: &writer)
        case .lease(let lease):
            writer.frames("$5\r\nlease\r\n")
            writer.integer(lease.id.number)
            writer.integer(lease.asOf.number)
            writer.integer(lease.epoch.number)
        case .miss: writer.frames("$4\r\nmiss\r\n")
        }
    }
}

extension Greeting {
    func encode(into writer: inout RESPWriter) {
        writer.mapHeader(15 + (arena == nil ? 0 : 1) + (hasFeeds ? 1 : 0))
        func text(_ name: StaticString, _ value: String) {
            writer.word(name)
            writer.bulkString(value)
        }
        func number(_ name: StaticString, _ value: UInt64) {
            writer.word(name)
            writer.integer(value)
        }
        text("server", "syncd")
        text("version", version)
        number("proto", UInt64(proto.rawValue))
        number("id", clientID)
        text("mode", "standalone")
        text("role", "sidecar")
        writer.word("modules")
        writer.arrayHeader(0)
        number("epoch", epoch.number)
        text("incarnation", incarnation)
        number("applied", applied.number)
        text("state", state.label)
        text("log", logMode.rawValue)
        text("table", table)
        text("journal", journal)
        if let arena { text("arena", arena) }
        if hasFeeds { number("feeds", 1) }
        number("trust-window-ms", trustWindowMilliseconds)
    }
}

extension StatusValue {
    func encode(into writer: inout RESPWriter) {
        switch self {
        case .text(let text): writer.bulkString(text)
        case .bytes(let bytes): writer.bulkString(bytes)
        case .number(let number): writer.integer(number)
        case .flag(let flag): writer.boolean(flag)
        case .null: writer.null()
        case .fields(let fields):
            writer.mapHeader(fields.count)
            for field in fields {
                writer.bulkString(field.name)
                field.value.encode(into: &writer)
            }
        case .list(let items):
            writer.arrayHeader(items.count)
            for item in items { item.encode(into: &writer) }
        }
    }
}
