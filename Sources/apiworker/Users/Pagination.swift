/// The requested part of a list.
struct PageRequest: Sendable, Equatable {
    /// The page, from 1.
    var page: Int
    /// Users per page, 1 … 1000.
    var limit: Int

    static let maximumLimit = 1000
    /// A greater page is always empty, and `page * limit` must not overflow.
    static let maximumPage = 1_000_000_000

    /// Reads the query's texts: numbers outside the range are clamped, unreadable ones mean the default.
    static func parse(page: String?, limit: String?, defaultLimit: Int) -> PageRequest {
        PageRequest(
            page: number(page, default: 1, maximum: maximumPage),
            limit: number(limit, default: defaultLimit, maximum: maximumLimit))
    }

    /// Number of users before this page.
    var skipped: Int { (page - 1) * limit }

    private static func number(_ text: String?, default standard: Int, maximum: Int) -> Int {
        guard let text else { return standard }
        let isNegative = text.hasPrefix("-")
        let digits = isNegative ? text.dropFirst() : Substring(text)
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return standard }
        if isNegative { return 1 }
        // More digits than fit into a number are more than the maximum.
        return min(max(Int(digits) ?? maximum, 1), maximum)
    }
}

/// The place of a page in its list.
struct Pagination: Sendable, Equatable {
    var page: PageRequest
    var total: Int

    init(page: PageRequest, total: Int) {
        self.page = page
        self.total = total
    }

    var totalPages: Int { (total + page.limit - 1) / page.limit }
    var hasMore: Bool { page.page < totalPages }

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("page", page.page)
            writer.field("limit", page.limit)
            writer.field("total", total)
            writer.field("totalPages", totalPages)
            writer.field("hasMore", hasMore)
        }
    }
}
