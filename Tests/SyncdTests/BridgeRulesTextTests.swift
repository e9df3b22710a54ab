import NIOCore
import ProcessSupport
import SyncCore
import Testing

@testable import syncd

/// The rules of the event bridge as people write them.
@Suite struct BridgeRulesTextTests {
    private func bytes(_ text: String) -> ByteBuffer { ByteBuffer(string: text) }

    @Test func `the defaults are the user's rules`() throws {
        let rules = try BridgeRules(text: #require(ConfigurationKey.bridgeRules.defaultText)).rules
        let channels = ["user:created", "user:updated", "user:deleted", "users:linked", "users:unlinked"]
        #expect(rules.map(\.channel) == (channels + ["cache:invalidate"]).map(bytes))
        for (index, rule) in rules.prefix(5).enumerated() {
            #expect(
                rule.terms == [
                    .tag(bytes("users")), .field(before: bytes("user:"), name: bytes("userId"), after: bytes("")),
                    .field(before: bytes("user:"), name: bytes("friendId"), after: bytes(""), isOptional: index < 3),
                ])
        }
        #expect(
            rules.last?.terms == [
                .field(before: bytes(""), name: bytes("tags"), after: bytes(""), isOptional: true),
                .match(field: bytes("pattern"), value: bytes("users:*"), tag: bytes("users")),
                .match(field: bytes("pattern"), value: bytes("graph:*"), tag: bytes("users")),
                .match(field: bytes("pattern"), value: bytes("stats:*"), tag: bytes("users")),
                .otherwise(field: bytes("pattern"), tag: bytes("*")),
            ])
    }

    @Test func `lines and semicolons separate rules`() throws {
        let rules = try BridgeRules(text: "\n a  x ;b\t=k p{f}s ;\n\n c f=a=b>t f>>t").rules
        #expect(
            rules == [
                BridgeRules.Rule(channel: bytes("a"), terms: [.tag(bytes("x"))]),
                BridgeRules.Rule(
                    channel: bytes("b"),
                    terms: [
                        .tag(bytes("=k")), .field(before: bytes("p"), name: bytes("f"), after: bytes("s")),
                    ]),
                BridgeRules.Rule(
                    channel: bytes("c"),
                    terms: [
                        .match(field: bytes("f"), value: bytes("a=b"), tag: bytes("t")),
                        .otherwise(field: bytes("f>"), tag: bytes("t")),
                    ]),
            ])
        #expect(try BridgeRules(text: " ; \n").rules.isEmpty)
    }

    @Test(arguments: [
        "a", "a; b x", "a x; a y", "a{ x", "a x{", "a x}y{", "a {}", "a {f}{g}", "a {?}", "a f=v>", "a >t", "a =v>t",
        "a }f{",
        String(repeating: "a", count: 257) + " x",
    ])
    func `what cannot be read is refused`(_ text: String) {
        #expect(throws: BridgeRules.TextError.self) { try BridgeRules(text: text) }
    }
}
