import IPCWire
import NIOCore

/// What the events of other programs invalidate: one rule per channel (docs/event-bridge.md).
package struct BridgeRules: Sendable, Hashable {
    /// What an event on one channel invalidates.
    package struct Rule: Sendable, Hashable {
        package var channel: ByteBuffer
        package var terms: [Term]

        package init(channel: ByteBuffer, terms: [Term]) {
            self.channel = channel
            self.terms = terms
        }
    }

    /// One part of a rule. A field is a member of the JSON object that the event carries, a string or a number; of
    /// an array, each element counts.
    package enum Term: Sendable, Hashable {
        /// This tag, always.
        case tag(ByteBuffer)
        /// `before`, the field's value, `after`.
        case field(before: ByteBuffer, name: ByteBuffer, after: ByteBuffer)
        /// This tag, if the field has this value.
        case match(field: ByteBuffer, value: ByteBuffer, tag: ByteBuffer)
        /// This tag, if the field has a value that no `match` of the rule names.
        case otherwise(field: ByteBuffer, tag: ByteBuffer)
    }

    package var rules: [Rule]
    /// A longer payload is not looked into: it counts as malformed.
    static let maximumPayloadBytes = 1 << 20

    package init(_ rules: [Rule]) { self.rules = rules }

    /// No event invalidates anything.
    package static let none = BridgeRules([])

    package var channels: [ByteBuffer] { rules.map(\.channel) }

    /// The tags that an event invalidates; `nil`: there is no rule for its channel.
    ///
    /// A superfluous invalidation is harmless and a missing one is not. So a payload that cannot be read still
    /// invalidates what the rule says without it, or everything if it says nothing then. Tags that no entry can
    /// have, or too many, stand for everything, too.
    func tags(for event: Event, limits: WireLimits) -> [ByteBuffer]? {
        guard let rule = rules.first(where: { $0.channel == event.channel }) else { return nil }
        let isShort = event.payload.readableBytes <= Self.maximumPayloadBytes
        let payload = isShort ? event.payload : ByteBuffer()
        let fields = JSONFields(payload, names: rule.fieldNames)
        var tags = rule.constantTags
        if !fields.isWellFormed, tags.isEmpty { return [Self.everything] }
        tags += rule.tags(from: fields)
        var seen: Set<ByteBuffer> = []
        tags = tags.filter { seen.insert($0).inserted }
        let isInvalidatable =
            !tags.isEmpty && tags.count <= limits.tagsPerInvalidation
            && tags.allSatisfy { $0.readableBytes > 0 && $0.readableBytes <= limits.tagBytes }
        return isInvalidatable ? tags : [Self.everything]
    }

    private static let everything = ByteBuffer(string: "*")
}

extension BridgeRules.Rule {
    fileprivate var constantTags: [ByteBuffer] {
        terms.compactMap { if case .tag(let tag) = $0 { tag } else { nil } }
    }

    fileprivate var fieldNames: [ByteBuffer] {
        terms.compactMap { term in
            switch term {
            case .tag: nil
            case .field(_, let name, _), .match(let name, _, _), .otherwise(let name, _): name
            }
        }
    }

    fileprivate func tags(from fields: JSONFields) -> [ByteBuffer] {
        terms.flatMap { term -> [ByteBuffer] in
            switch term {
            case .tag: return []
            case .field(let before, let name, let after):
                return fields.values(of: name).map { value in
                    var tag = before
                    tag.writeImmutableBuffer(value)
                    tag.writeImmutableBuffer(after)
                    return tag
                }
            case .match(let name, let value, let tag): return fields.values(of: name).contains(value) ? [tag] : []
            case .otherwise(let name, let tag):
                return fields.values(of: name).allSatisfy { isMatched($0, of: name) } ? [] : [tag]
            }
        }
    }

    private func isMatched(_ value: ByteBuffer, of field: ByteBuffer) -> Bool {
        terms.contains { if case .match(field, value, _) = $0 { true } else { false } }
    }
}
