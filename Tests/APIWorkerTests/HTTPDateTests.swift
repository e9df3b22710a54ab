import Testing

@testable import apiworker

@Suite struct HTTPDateTests {
    /// RFC 9110, 5.6.7, and the edges of months and leap years.
    @Test(arguments: [
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
        (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
    ])
    func `as RFC 9110 has it`(second: Int, text: String) {
        #expect(HTTPDate.text(second) == text)
    }

    @Test func `now`() {
        let date = HTTPDate()
        let before = Int(WallClock.milliseconds / 1000)
        let text = date.now
        let after = Int(WallClock.milliseconds / 1000)
        #expect((before...after).map(HTTPDate.text).contains(text))
    }
}
