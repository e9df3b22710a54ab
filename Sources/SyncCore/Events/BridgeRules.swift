import IPCWire
import NIOCore

/// Rules for the invalidations by events of other programs, one per channel (docs/event-bridge.md).
package struct BridgeRules: Sendable, Hashable {
    /// The tags that an event on one channel invalidates.
    package struct Rule: Sendable, Hashable {
        package var channel: ByteBuffer
        package var terms: [Term]

        package init(channel: ByteBuffer, terms: [Term]) {
            self.channel = channel
            self.terms = terms
        }
    }

    /// One part of a rule. A field is a member of the event's JSON object, a string or a number; of an array, each
    /// element counts.
    package enum Term: Sendable, Hashable {
        /// A fixed tag.
        case tag(ByteBuffer)
        /// `before`, the field's value, `after`. An event without the field does not show what has changed, unless
        /// the field is optional.
        case field(before: ByteBuffer, name: ByteBuffer, after: ByteBuffer, isOptional: Bool = false)
        /// A tag that is invalidated if the field has this value.
        case match(field: ByteBuffer, value: ByteBuffer, tag: ByteBuffer)
        /// A tag that is invalidated if the field has a value that no `match` of the rule names.
        case otherwise(field: ByteBuffer, tag: ByteBuffer)
    }

    package var rules: [Rule]
    /// A longer payload is not parsed: it counts as malformed.
    static let maximumPayloadBytes = 1 << 20

    package init(_ rules: [Rule]) { self.rules = rules }

    /// No event invalidates anything.
    package static let none = BridgeRules([])

    package var channels: [ByteBuffer] { rules.map(\.channel) }

    /// The reason why an event does not show what has changed.
    enum Problem: Error, Sendable, Hashable, CustomStringConvertible {
        case tooLong
        case notText
        case notObject
        case missing(ByteBuffer)
        case unusable(ByteBuffer)
        case namesNothing

        var description: String {
            switch self {
            case .tooLong: "the payload is longer than \(BridgeRules.maximumPayloadBytes) bytes"
            case .notText: "the payload is not UTF-8"
            case .notObject: "the payload is no JSON object"
            case .missing(let field): "the field \(field.escaped) is missing"
            case .unusable(let field): "the field \(field.escaped) holds something that is no name"
            case .namesNothing: "the payload has none of the rule's fields"
            }
        }
    }

    /// The tags that an event invalidates, and the problem if it could not be read; `nil`: there is no rule for its
    /// channel.
    ///
    /// A superfluous invalidation is harmless and a missing one is not. So an event that does not show what has changed
    /// invalidates everything that it could have been, and because a rule's field can name any tag, that is everything.
    /// Invalid tags, or too many, stand for everything, too.
    func reading(_ event: Event, limits: WireLimits) -> (tags: [ByteBuffer], problem: Problem?)? {
        guard let rule = rules.first(where: { $0.channel == event.channel }) else { return nil }
        var tags: [ByteBuffer]
        do throws(Problem) {
            tags = try rule.tags(of: event.payload)
        } catch {
            return ([Self.everything], error)
        }
        var seen: Set<ByteBuffer> = []
        tags = tags.filter { seen.insert($0).inserted }
        let isInvalidatable =
            tags.count <= limits.tagsPerInvalidation
            && tags.allSatisfy { $0.readableBytes > 0 && $0.readableBytes <= limits.tagBytes }
        return (isInvalidatable ? tags : [Self.everything], nil)
    }

    /// The tags that an event invalidates; `nil`: there is no rule for its channel.
    func tags(for event: Event, limits: WireLimits) -> [ByteBuffer]? { reading(event, limits: limits)?.tags }

    static let everything = ByteBuffer(string: "*")
}

extension BridgeRules.Rule {
    fileprivate var fieldNames: [ByteBuffer] {
        terms.compactMap { term in
            switch term {
            case .tag: nil
            case .field(_, let name, _, _), .match(let name, _, _), .otherwise(let name, _): name
            }
        }
    }

    fileprivate func tags(of payload: ByteBuffer) throws(BridgeRules.Problem) -> [ByteBuffer] {
        let names = fieldNames
        // A rule without fields ignores the payload.
        if names.isEmpty { return try tags(from: JSONFields(ByteBuffer(), names: [])) }
        guard payload.readableBytes <= BridgeRules.maximumPayloadBytes else { throw .tooLong }
        guard payload.isUTF8 else { throw .notText }
        let fields = JSONFields(payload, names: names)
        guard fields.isWellFormed else { throw .notObject }
        if let unusable = fields.unusable.first { throw .unusable(unusable) }
        return try tags(from: fields)
    }

    private func tags(from fields: JSONFields) throws(BridgeRules.Problem) -> [ByteBuffer] {
        var tags = terms.compactMap { if case .tag(let tag) = $0 { tag } else { nil } }
        for term in terms {
            switch term {
            case .tag: break
            case .field(let before, let name, let after, let isOptional):
                let found = fields.found.filter { $0.name == name }
                if found.isEmpty, !isOptional { throw .missing(name) }
                for field in found {
                    guard field.isName else { throw .unusable(name) }
                    var tag = before
                    tag.writeImmutableBuffer(field.value)
                    tag.writeImmutableBuffer(after)
                    tags.append(tag)
                }
            case .match(let name, let value, let tag): if fields.values(of: name).contains(value) { tags.append(tag) }
            case .otherwise(let name, let tag):
                if !fields.values(of: name).allSatisfy({ isMatched($0, of: name) }) { tags.append(tag) }
            }
        }
        guard !tags.isEmpty else { throw .namesNothing }
        return tags
    }

    private func isMatched(_ value: ByteBuffer, of field: ByteBuffer) -> Bool {
        terms.contains { if case .match(field, value, _) = $0 { true } else { false } }
    }
}

extension JSONFields.Field {
    /// Texts that programs write in place of a missing name.
    private static let placeholders = ["undefined", "null", "NaN", "None", "[object Object]"].map {
        ByteBuffer(string: $0)
    }

    /// Whether the value names something. A number does if it can be written in one way only, and if no program has
    /// rounded it: an integer up to 2^53.
    fileprivate var isName: Bool {
        guard isNumber else { return value.readableBytes > 0 && !Self.placeholders.contains(value) }
        guard value.readableBytes <= 17, let number = Int64(String(buffer: value)) else { return false }
        return String(number) == String(buffer: value) && number.magnitude <= WireLimits.maximumNumber
    }
}

extension ByteBuffer {
    fileprivate var isUTF8: Bool {
        readableBytesView.allSatisfy { $0 < 0x80 } || String(validating: readableBytesView, as: UTF8.self) != nil
    }
}
