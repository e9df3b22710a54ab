import IPCWire
import NIOCore
import Testing

@testable import SyncCore

extension BridgeRules {
    /// The rules that syncd has by default.
    static let ofUsers = BridgeRules(
        ["user:created", "user:updated", "user:deleted", "users:linked", "users:unlinked"].map {
            Rule(
                channel: .text($0),
                terms: [
                    .tag(.text("users")), .field(before: .text("user:"), name: .text("userId"), after: .text("")),
                    .field(
                        before: .text("user:"), name: .text("friendId"), after: .text(""),
                        isOptional: $0.hasPrefix("user:")),
                ])
        } + [
            Rule(
                channel: .text("cache:invalidate"),
                terms: [.field(before: .text(""), name: .text("tags"), after: .text(""), isOptional: true)]
                    + ["users:*", "graph:*", "stats:*"].map {
                        .match(field: .text("pattern"), value: .text($0), tag: .text("users"))
                    } + [.otherwise(field: .text("pattern"), tag: .text("*"))])
        ])
}

/// The tags that an event of another program invalidates.
@Suite struct BridgeRulesTests {
    private func problem(_ channel: String, _ payload: String) -> BridgeRules.Problem? {
        BridgeRules.ofUsers.reading(Event(channel: .text(channel), payload: .text(payload)), limits: WireLimits())?
            .problem
    }

    private func tags(_ channel: String, _ payload: String, limits: WireLimits = WireLimits()) -> [String]? {
        BridgeRules.ofUsers.tags(for: Event(channel: .text(channel), payload: .text(payload)), limits: limits)?
            .map { String(buffer: $0) }
    }

    @Test(arguments: ["user:created", "user:updated", "user:deleted", "users:linked", "users:unlinked"])
    func `users and the users named in the payload`(_ channel: String) {
        #expect(tags(channel, #"{"userId":"a","friendId":"b","timestamp":1}"#) == ["users", "user:a", "user:b"])
        #expect(tags(channel, #"{"userId":"a","friendId":"a"}"#) == ["users", "user:a"])
        #expect(tags(channel, #"{"userId":["a","b"],"friendId":7}"#) == ["users", "user:a", "user:b", "user:7"])
        #expect(problem(channel, #"{"userId":"a","friendId":"b"}"#) == nil)
    }

    @Test func `whether a field may be missing is said by the rule`() {
        #expect(tags("user:updated", #"{"userId":"a","timestamp":1}"#) == ["users", "user:a"])
        #expect(tags("user:updated", #"{"userId":"a","friendId":null}"#) == ["users", "user:a"])
        #expect(tags("users:linked", #"{"userId":"a","timestamp":1}"#) == ["*"])
        #expect(problem("users:linked", #"{"userId":"a"}"#) == .missing(.text("friendId")))
    }

    @Test func `tags as given and patterns`() {
        #expect(tags("cache:invalidate", #"{"tags":["a","user:b","*"]}"#) == ["a", "user:b", "*"])
        for pattern in ["users:*", "graph:*", "stats:*"] {
            #expect(tags("cache:invalidate", #"{"pattern":"\#(pattern)"}"#) == ["users"])
        }
        #expect(tags("cache:invalidate", #"{"pattern":"user:1"}"#) == ["*"])
        #expect(tags("cache:invalidate", #"{"pattern":"users:*","tags":["a"]}"#) == ["a", "users"])
        #expect(tags("cache:invalidate", #"{"pattern":["users:*","x"]}"#) == ["users", "*"])
    }

    @Test func `other channels have no rule`() {
        #expect(tags("user:renamed", #"{"userId":"a"}"#) == nil)
        #expect(tags("user:created ", #"{"userId":"a"}"#) == nil)
        #expect(
            BridgeRules.none.tags(
                for: Event(channel: .text("user:created"), payload: .text("{}")), limits: WireLimits()) == nil)
    }

    /// Whatever programs publish by mistake: nobody knows which user it was, so it may have been each.
    @Test(arguments: [
        "", " ", "x", "a", "{", "[]", #"{"userId":"#, #"{"userId":"a""#, #"{"userId":"a",}"#, "\u{feff}{}", "\0", "7",
        "null", "true", #""a""#, #"["a"]"#, #"[{"userId":"a"}]"#, "{'userId':'a'}", "{userId:\"a\"}", "userId=a",
        #"{"userId":"a"}{"userId":"b"}"#, "{\"userId\":\"a\"}\0", #"{"userId":NaN}"#,
        #""\"{\\\"userId\\\":\\\"a\\\"}\"""#,
    ])
    func `what is no object invalidates everything`(_ payload: String) {
        for channel in ["user:updated", "cache:invalidate"] {
            #expect(tags(channel, payload) == ["*"])
            #expect(problem(channel, payload) == .notObject)
        }
    }

    @Test(arguments: [
        "{}", #"{"timestamp":1}"#, #"{"id":"a"}"#, #"{"userid":"a"}"#, #"{"user_id":"a"}"#, #"{"userId ":"a"}"#,
        #"{"data":{"userId":"a"}}"#, #"{"payload":"{\"userId\":\"a\"}"}"#, #"{"userId":null}"#, #"{"userId":[]}"#,
        #"{"friendId":"b"}"#, #""{}""#,
    ])
    func `an object without the field invalidates everything`(_ payload: String) {
        #expect(tags("user:updated", payload) == ["*"])
        #expect(problem("user:updated", payload) == .missing(.text("userId")))
    }

    @Test(arguments: [
        #"{"id":"a"}"#, #"["a",{"id":"b"}]"#, #"["a",null]"#, #"["a",["b"]]"#, "true", "false", #""""#, #"["a",""]"#,
        "1.0", "1.5", "1e3", "-0", "9007199254740993", "12345678901234567890", "1e400", #""undefined""#, #""null""#,
        #""NaN""#, #""None""#, #""[object Object]""#,
    ])
    func `a field that names nothing invalidates everything`(_ value: String) {
        #expect(tags("user:updated", #"{"userId":\#(value)}"#) == ["*"])
        #expect(problem("user:updated", #"{"userId":\#(value)}"#) == .unusable(.text("userId")))
        #expect(tags("user:updated", #"{"userId":"a","friendId":\#(value)}"#) == ["*"], "an optional one, too")
        #expect(tags("cache:invalidate", #"{"tags":\#(value),"pattern":"users:*"}"#) == ["*"])
    }

    @Test(arguments: ["7", "0", "-7", "9007199254740992"])
    func `an integer has one spelling`(_ value: String) {
        #expect(tags("user:updated", #"{"userId":\#(value)}"#) == ["users", "user:\(value)"])
    }

    @Test func `what was encoded twice is read`() {
        #expect(tags("user:updated", #" "{\"userId\":\"a\\u00e9\"}" "#) == ["users", "user:a\u{e9}"])
        #expect(problem("user:updated", #""{\"userId\":\"a\"}""#) == nil)
    }

    @Test func `what is not text invalidates everything`() {
        var payload = ByteBuffer(string: #"{"userId":"M"#)
        payload.writeBytes([0xfc])
        payload.writeString(#"ller"}"#)
        let event = Event(channel: .text("user:updated"), payload: payload)
        let reading = BridgeRules.ofUsers.reading(event, limits: WireLimits())
        #expect(reading?.tags == [.text("*")] && reading?.problem == .notText)
        #expect(tags("user:updated", #"{"userId":"Müller"}"#) == ["users", "user:Müller"])
    }

    @Test func `a rule without fields does not look at the payload`() {
        let rules = BridgeRules([.init(channel: .text("stock"), terms: [.tag(.text("items"))])])
        for payload in ["", "?", "{}"] {
            let reading = rules.reading(Event(channel: .text("stock"), payload: .text(payload)), limits: WireLimits())
            #expect(reading?.tags == [.text("items")] && reading?.problem == nil)
        }
    }

    @Test func `a rule that says nothing of a payload invalidates everything`() {
        #expect(tags("cache:invalidate", "{}") == ["*"])
        #expect(tags("cache:invalidate", #"{"tags":[]}"#) == ["*"])
        #expect(tags("cache:invalidate", #"{"tags":"a"}"#) == ["a"])
        #expect(problem("cache:invalidate", "{}") == .namesNothing)
    }

    @Test func `tags that no entry can have stand for everything`() {
        var limits = WireLimits()
        limits.tagBytes = 8
        limits.tagsPerInvalidation = 3
        #expect(tags("user:updated", #"{"userId":"123"}"#, limits: limits) == ["users", "user:123"])
        #expect(tags("user:updated", #"{"userId":"1234"}"#, limits: limits) == ["*"])
        #expect(tags("cache:invalidate", #"{"tags":["a",""]}"#) == ["*"])
        #expect(tags("cache:invalidate", #"{"tags":[1,2,3,3]}"#, limits: limits) == ["1", "2", "3"])
        #expect(tags("cache:invalidate", #"{"tags":[1,2,3,4]}"#, limits: limits) == ["*"])
    }

    @Test func `a huge payload is not looked into`() {
        let filler = String(repeating: " ", count: 1 << 20)
        #expect(tags("user:updated", #"{"userId":"a"}"# + filler) == ["*"])
        #expect(problem("user:updated", filler + " ") == .tooLong)
        #expect(tags("cache:invalidate", #"{"tags":["a"]}"# + filler) == ["*"])
    }

    @Test func `tags are bytes`() {
        // é as one scalar and as two: two tags.
        #expect(tags("cache:invalidate", "{\"tags\":[\"\u{e9}\",\"e\u{301}\"]}")?.count == 2)
    }
}
