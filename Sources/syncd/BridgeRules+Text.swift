import NIOCore
import SyncCore

// The rules of the event bridge as text (docs/event-bridge.md). Rules end at a semicolon or a line's end, words are
// separated by spaces. The first word is the channel, the others name the tags that an event on it invalidates.
extension BridgeRules {
    /// The fault in a text.
    struct TextError: Error, CustomStringConvertible {
        var description: String
    }

    init(text: String) throws(TextError) {
        var rules: [Rule] = []
        for line in text.split(whereSeparator: { $0 == ";" || $0.isNewline }) {
            let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let channel = words.first else { continue }
            guard words.count > 1 else { throw TextError(description: "the rule for \(channel) names no tag") }
            guard (1...256).contains(channel.utf8.count), !channel.contains(where: { "{}>".contains($0) }) else {
                throw TextError(description: "\(channel) is not usable as a channel")
            }
            let name = ByteBuffer(string: channel)
            guard !rules.contains(where: { $0.channel == name }) else {
                throw TextError(description: "there are two rules for \(channel)")
            }
            var terms: [Term] = []
            for word in words.dropFirst() { terms.append(try Term(word: word)) }
            rules.append(Rule(channel: name, terms: terms))
        }
        self.init(rules)
    }
}

extension BridgeRules.Term {
    /// `tag`, `tag{field}tag`, `tag{field?}tag`, `field=value>tag` or `field>tag`.
    fileprivate init(word: String) throws(BridgeRules.TextError) {
        func bytes(_ text: some StringProtocol) -> ByteBuffer { ByteBuffer(string: String(text)) }
        let unreadable = BridgeRules.TextError(
            description: "\(word) is none of tag, tag{field}, tag{field?}, field=value>tag, field>tag")
        if let arrow = word.lastIndex(of: ">") {
            let condition = word[..<arrow]
            let tag = word[word.index(after: arrow)...]
            let parts = condition.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard !tag.isEmpty, let field = parts.first, !field.isEmpty else { throw unreadable }
            self =
                parts.count == 2
                ? .match(field: bytes(field), value: bytes(parts[1]), tag: bytes(tag))
                : .otherwise(field: bytes(field), tag: bytes(tag))
            return
        }
        guard word.contains(where: { $0 == "{" || $0 == "}" }) else {
            self = .tag(bytes(word))
            return
        }
        guard let open = word.firstIndex(of: "{"), let close = word.firstIndex(of: "}"), open < close,
            word.index(after: open) < close, word.count(where: { "{}".contains($0) }) == 2
        else { throw unreadable }
        let field = word[word.index(after: open)..<close]
        let isOptional = field.hasSuffix("?")
        let name = isOptional ? field.dropLast() : field
        guard !name.isEmpty else { throw unreadable }
        self = .field(
            before: bytes(word[..<open]), name: bytes(name), after: bytes(word[word.index(after: close)...]),
            isOptional: isOptional)
    }
}
