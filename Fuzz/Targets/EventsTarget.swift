import IPCWire
import NIOCore
import ProcessSupport

@testable import SyncCore
@testable import apiworker
@testable import syncd

/// Events that other programs publish, and the rules of what they invalidate. The first byte chooses between the
/// default rules and rules that the input has before its first NUL; the rest is the payload.
enum EventsTarget {
    static func check(_ input: inout FuzzInput) throws {
        let hasRules = input.byte() & 1 == 1
        let text =
            hasRules ? String(decoding: input.field(), as: UTF8.self) : ConfigurationKey.bridgeRules.defaultText ?? ""
        let payload = input.buffer()
        try checkFields(payload)
        guard let rules = try rules(text) else { return }
        try require(hasRules || rules.rules.count == 6, "the default rules are \(rules)")
        for channel in rules.channels {
            try require((1...256).contains(channel.readableBytes), "a channel of \(channel.readableBytes) bytes")
            try checkTags(rules.tags(for: Event(channel: channel, payload: payload), limits: .tightTags), .tightTags)
            try checkTags(rules.tags(for: Event(channel: channel, payload: payload), limits: .init()), .init())
        }
        let other = ByteBuffer(string: "{no channel has braces}")
        try require(rules.tags(for: Event(channel: other, payload: payload), limits: .init()) == nil, "of no channel")
    }

    private static func rules(_ text: String) throws -> BridgeRules? {
        do throws(BridgeRules.TextError) {
            return try BridgeRules(text: text)
        } catch {
            try require(!error.description.isEmpty, "an error without words")
            return nil
        }
    }

    private static func checkTags(_ tags: [ByteBuffer]?, _ limits: WireLimits) throws {
        guard let tags else { throw Broken(description: "a channel with a rule has none") }
        try require((1...limits.tagsPerInvalidation).contains(tags.count), "\(tags.count) tags")
        try require(Set(tags).count == tags.count, "twice the same: \(tags)")
        try require(tags.allSatisfy { (1...limits.tagBytes).contains($0.readableBytes) }, "too long or empty: \(tags)")
    }

    /// Two parsers of JSON that have nothing in common find the same.
    private static func checkFields(_ payload: ByteBuffer) throws {
        let names = ["userId", "tags", "a", ""].map { ByteBuffer(string: $0) }
        let fields = JSONFields(payload, names: names)
        // The API's parser is the stricter one. The API counts levels, this one values.
        guard case .object(let members)? = try? JSONValue.parse(payload),
            JSONValue.object(members).depth < JSONFields.maximumDepth
        else { return }
        try require(fields.isWellFormed, "an object is not found well-formed")
        for name in names {
            let expected = JSONValue.object(members)[String(buffer: name)].map(\.values) ?? []
            let found = fields.values(of: name)
            try require(
                found.count == expected.count
                    && zip(found, expected).allSatisfy { field, value in
                        switch value {
                        case .string(let text): field == ByteBuffer(string: text)
                        case .number(let number): Double(String(buffer: field)) == number
                        default: false
                        }
                    },
                "\(String(buffer: name)) has \(expected), found is \(found)")
        }
    }
}

extension JSONValue {
    /// Levels of arrays and objects.
    fileprivate var depth: Int {
        switch self {
        case .array(let items): 1 + (items.map(\.depth).max() ?? 0)
        case .object(let members): 1 + (members.map(\.value.depth).max() ?? 0)
        default: 0
        }
    }

    /// The string or number that it is, or those directly in an array.
    fileprivate var values: [JSONValue] {
        let items = if case .array(let items) = self { items } else { [self] }
        return items.filter { value in
            switch value {
            case .string, .number: true
            default: false
            }
        }
    }
}

extension WireLimits {
    /// Small enough for events of few fields to reach them.
    fileprivate static var tightTags: WireLimits {
        var limits = WireLimits()
        limits.tagBytes = 12
        limits.tagsPerInvalidation = 3
        return limits
    }
}
