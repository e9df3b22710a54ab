import Testing

@testable import apiworker

/// Pages and the parameters of queries.
@Suite struct PaginationTests {
    @Test(
        arguments: [
            (nil, 1), ("1", 1), ("7", 7), ("007", 7), ("0", 1), ("-0", 1), ("-3", 1), ("1000000000", 1_000_000_000),
            ("1000000001", 1_000_000_000), ("99999999999999999999999999", 1_000_000_000), ("", 1), ("x", 1), ("1.5", 1),
            ("+5", 1), (" 5", 1), ("5 ", 1), ("1e3", 1), ("0x10", 1), ("-", 1), ("--1", 1), ("٥", 1), ("1\u{301}", 1),
        ] as [(String?, Int)])
    func `pages`(text: String?, page: Int) {
        #expect(PageRequest.parse(page: text, limit: nil, defaultLimit: 50) == PageRequest(page: page, limit: 50))
    }

    @Test(
        arguments: [
            (nil, 50), ("1", 1), ("1000", 1000), ("1001", 1000), ("0", 1), ("-1", 1), ("99999999999999999999", 1000),
            ("-99999999999999999999", 1), ("ten", 50), ("", 50), ("10.0", 50), ("NaN", 50),
        ] as [(String?, Int)])
    func `limits`(text: String?, limit: Int) {
        #expect(PageRequest.parse(page: nil, limit: text, defaultLimit: 50) == PageRequest(page: 1, limit: limit))
    }

    @Test func `what stands before a page never overflows`() {
        #expect(PageRequest(page: 1, limit: 10).skipped == 0)
        #expect(PageRequest(page: 3, limit: 10).skipped == 20)
        let last = PageRequest.parse(page: "9999999999999", limit: "9999999999", defaultLimit: 1)
        #expect(last.skipped == 999_999_999_000)
    }

    @Test(arguments: [
        (1, 10, 0, 0, false), (1, 10, 10, 1, false), (1, 10, 11, 2, true), (2, 10, 11, 2, false), (9, 10, 11, 2, false),
        (1, 1, 3, 3, true), (1, 1000, 1001, 2, true),
    ])
    func `where a page stands`(page: Int, limit: Int, total: Int, totalPages: Int, hasMore: Bool) {
        let pagination = Pagination(page: PageRequest(page: page, limit: limit), total: total)
        #expect(
            json(pagination.write)
                == #"{"page":\#(page),"limit":\#(limit),"total":\#(total),"totalPages":\#(totalPages),"hasMore":\#(hasMore)}"#
        )
    }

    // MARK: Queries

    @Test(arguments: [
        ("a=1", "1"), ("a=1&b=2", "1"), ("b=2&a=1", "1"), ("a=1&a=2", "1"), ("a", ""), ("a=", ""), ("a==", "="),
        ("a=b=c", "b=c"), ("%61=1", "1"), ("a=%41%5a%7A", "AZz"), ("a=x+y%2Bz", "x y+z"), ("a=%C3%A9", "é"),
        ("a=%", "%"), ("a=%4", "%4"), ("a=%G1x", "%G1x"), ("a=%4G", "%4G"), ("a=%%41", "%A"), ("a=%+1", "% 1"),
        ("a=%26%3D", "&="), ("&&a=1&", "1"), ("a=%FF", "\u{fffd}"), ("a=%00", "\u{0}"), ("a=?#", "?#"), ("a=é", "é"),
    ])
    func `parameters`(query: String, value: String) {
        #expect(QueryParameters(query)["a"] == value)
    }

    @Test func `parameters that are not there`() {
        for query in [nil, "", "b=1", "A=1", "=a", "&", "a%3D1"] as [String?] {
            #expect(QueryParameters(query)["a"] == nil, "\(query ?? "nil")")
        }
    }
}
