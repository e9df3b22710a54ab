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
                    .field(before: .text("user:"), name: .text("friendId"), after: .text("")),
                ])
        } + [
            Rule(
                channel: .text("cache:invalidate"),
                terms: [.field(before: .text(""), name: .text("tags"), after: .text(""))]
                    + ["users:*", "graph:*", "stats:*"].map {
                        .match(field: .text("pattern"), value: .text($0), tag: .text("users"))
                    } + [.otherwise(field: .text("pattern"), tag: .text("*"))])
        ])
}

/// What an event of another program invalidates.
@Suite struct BridgeRulesTests {
    private func tags(_ channel: String, _ payload: String, limits: WireLimits = WireLimits()) -> [String]? {
        BridgeRules.ofUsers.tags(for: Event(channel: .text(channel), payload: .text(payload)), limits: limits)?
            .map { String(buffer: $0) }
    }

    @Test(arguments: ["user:created", "user:updated", "user:deleted", "users:linked", "users:unlinked"])
    func usersAndTheUsersNamedInThePayload(_ channel: String) {
        #expect(tags(channel, #"{"userId":"a","timestamp":1}"#) == ["users", "user:a"])
        #expect(tags(channel, #"{"userId":"a","friendId":"b","timestamp":1}"#) == ["users", "user:a", "user:b"])
        #expect(tags(channel, #"{"userId":"a","friendId":"a"}"#) == ["users", "user:a"])
        #expect(tags(channel, #"{"userId":["a","b"],"friendId":7}"#) == ["users", "user:a", "user:b", "user:7"])
        #expect(tags(channel, "{}") == ["users"])
        #expect(tags(channel, #"{"userId":null,"friendId":{"userId":"x"}}"#) == ["users"])
    }

    @Test func tagsAsGivenAndPatterns() {
        #expect(tags("cache:invalidate", #"{"tags":["a","user:b","*"]}"#) == ["a", "user:b", "*"])
        for pattern in ["users:*", "graph:*", "stats:*"] {
            #expect(tags("cache:invalidate", #"{"pattern":"\#(pattern)"}"#) == ["users"])
        }
        #expect(tags("cache:invalidate", #"{"pattern":"user:1"}"#) == ["*"])
        #expect(tags("cache:invalidate", #"{"pattern":"users:*","tags":["a"]}"#) == ["a", "users"])
        #expect(tags("cache:invalidate", #"{"pattern":["users:*","x"]}"#) == ["users", "*"])
    }

    @Test func otherChannelsHaveNoRule() {
        #expect(tags("user:renamed", #"{"userId":"a"}"#) == nil)
        #expect(tags("user:created ", #"{"userId":"a"}"#) == nil)
        #expect(
            BridgeRules.none.tags(
                for: Event(channel: .text("user:created"), payload: .text("{}")), limits: WireLimits()) == nil)
    }

    @Test(arguments: ["", "x", "{", "[]", #"{"userId":"#, "\u{feff}{}", "\0"])
    func aMalformedPayloadInvalidatesWhatTheRuleCanSay(_ payload: String) {
        #expect(tags("user:updated", payload) == ["users"])
        #expect(tags("cache:invalidate", payload) == ["*"])
    }

    @Test func whatStandsBeforeAFaultCountsToo() {
        #expect(tags("user:updated", #"{"userId":"a",}"#) == ["users", "user:a"])
        #expect(tags("cache:invalidate", #"{"tags":["a"],}"#) == ["*"])
    }

    @Test func aRuleThatSaysNothingOfAPayloadInvalidatesEverything() {
        #expect(tags("cache:invalidate", "{}") == ["*"])
        #expect(tags("cache:invalidate", #"{"tags":[]}"#) == ["*"])
        #expect(tags("cache:invalidate", #"{"tags":"a"}"#) == ["a"])
    }

    @Test func tagsThatNoEntryCanHaveStandForEverything() {
        var limits = WireLimits()
        limits.tagBytes = 8
        limits.tagsPerInvalidation = 3
        #expect(tags("user:updated", #"{"userId":"123"}"#, limits: limits) == ["users", "user:123"])
        #expect(tags("user:updated", #"{"userId":"1234"}"#, limits: limits) == ["*"])
        #expect(tags("cache:invalidate", #"{"tags":["a",""]}"#) == ["*"])
        #expect(tags("cache:invalidate", #"{"tags":[1,2,3,3]}"#, limits: limits) == ["1", "2", "3"])
        #expect(tags("cache:invalidate", #"{"tags":[1,2,3,4]}"#, limits: limits) == ["*"])
    }

    @Test func aHugePayloadIsNotLookedInto() {
        let filler = String(repeating: " ", count: 1 << 20)
        #expect(tags("user:updated", #"{"userId":"a"}"# + filler) == ["users"])
        #expect(tags("cache:invalidate", #"{"tags":["a"]}"# + filler) == ["*"])
    }

    @Test func tagsAreBytes() {
        // é as one scalar and as two: two tags.
        #expect(tags("cache:invalidate", "{\"tags\":[\"\u{e9}\",\"e\u{301}\"]}")?.count == 2)
    }
}
