import Testing

@testable import apiworker

@Suite struct HostFieldTests {
    @Test(arguments: [
        "", "a", "localhost:3001", "a.example.", "127.0.0.1:80", "[::1]", "[fe80::1%25eth0]:8080", "[v7.a:b]", "a:",
        "a:0", "a:65535", "x_y~z", "%C3%A9", "a,b", "!$&'()*+,;=",
    ])
    func `names a host`(text: String) { #expect(HostField.isValid(text)) }

    @Test(arguments: [
        "a b", " a", "a:65536", "a:99999", "a:99999999999999999999", "a:-1", "a:+1", "a:b", "a:1:2", "::1", "a/b",
        "a?b",
        "a#b", "u@a", "[", "[]", "]", "[::1", "::1]", "[::1]a", "[::1]:x", "[a]b]:1", "\"a\"", "a\\b", "<a>", "é",
        "a\t",
    ])
    func `names none`(text: String) { #expect(!HostField.isValid(text)) }
}
