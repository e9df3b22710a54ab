import Testing

@testable import apiworker

@Suite struct SearchPatternTests {
    @Test(arguments: [
        ("abc XYZ 09", #"abc\ XYZ\ 09"#), ("(a+)+$", #"\(a\+\)\+\$"#), (".*", #"\.\*"#), ("\\d", #"\\d"#),
        ("[^x]|{1}?", #"\[\^x\]\|\{1\}\?"#), ("é_😀", #"é\_😀"#), ("\\E\\Q", #"\\E\\Q"#), ("\n", "\\\n"), ("", ""),
    ])
    func `nothing has a special meaning`(text: String, pattern: String) {
        #expect(SearchPattern.matching(text) == pattern)
    }

    @Test func `no pattern is longer than a server takes`() throws {
        let half = SearchPattern.maximumBytes / 2
        let longest = try #require(SearchPattern.matching(String(repeating: ".", count: half)))
        #expect(longest.utf8.count == SearchPattern.maximumBytes && longest.utf8.count < 32_764)
        #expect(SearchPattern.matching(String(repeating: ".", count: half + 1)) == nil)
        #expect(SearchPattern.matching(String(repeating: "é", count: half)) == nil)
    }

    @Test func `nobody's name has a NUL`() {
        #expect(SearchPattern.matching("a\u{0}b") == nil)
    }

    @Test func `whatever a name may be can be searched for`() {
        #expect(UserRules.maximumUsername * 4 <= SearchPattern.maximumBytes / 2)
        let longest = String(repeating: "👩‍👩‍👧‍👧", count: 1000)
        #expect(UserRules.username(.string(longest)).flatMap(SearchPattern.matching) != "", "it is refused, or found")
        #expect(UserRules.username(.string(longest)) == nil)
    }
}
