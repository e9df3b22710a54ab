import Foundation
import NIOCore

@testable import apiworker

/// Input that anybody may send to the API. The first byte chooses: a body, a query, or headers.
enum HTTPTarget {
    static func check(_ input: inout FuzzInput) throws {
        switch input.byte() % 3 {
        case 0: try checkBody(input.buffer())
        case 1: try checkQuery(input.text())
        default: try checkHeaders(&input)
        }
    }

    // MARK: Bodies

    private static func checkBody(_ bytes: ByteBuffer) throws {
        guard let value = try? JSONValue.parse(bytes) else { return }
        // Stricter than others: what it takes is JSON for everybody.
        let others = try? JSONSerialization.jsonObject(with: Data(bytes.readableBytesView), options: .fragmentsAllowed)
        try require(others != nil, "\(value) is no JSON")
        try require(try JSONValue.parse(value.text).text == value.text, "\(value) is not read as it was written")
        try checkNewUser(value)
        try checkChange(value)
    }

    private static func checkNewUser(_ value: JSONValue) throws {
        let user: NewUser
        do throws(ValidationFailure) {
            user = try NewUser.validate(value)
        } catch {
            return try checkProblems(error.problems)
        }
        try checkFields(user.username, user.age, user.hobbies)
        let again = JSONValue.object([
            .init(name: "username", value: .string(user.username)), .init(name: "age", value: .number(user.age)),
            .init(name: "hobbies", value: .array(user.hobbies.map { .string($0) })),
        ])
        try require(try NewUser.validate(again) == user, "\(user) is not what it would be stored as")
    }

    private static func checkChange(_ value: JSONValue) throws {
        let change: UserChange
        do throws(ValidationFailure) {
            change = try UserChange.validate(value)
        } catch {
            return try checkProblems(error.problems)
        }
        try checkFields(change.username ?? "a", change.age ?? 1, change.hobbies ?? [])
        let user = User(
            id: "id", username: "a", age: 1, hobbies: [], friends: ["b"], createdAtMilliseconds: 1,
            position: Position(x: 1, y: 2))
        let changed = change.applied(to: user)
        try require(
            changed.id == "id" && changed.friends == ["b"] && changed.createdAtMilliseconds == 1,
            "\(change) changes what can't be changed")
        try require(!change.isEmpty || changed == user, "a change of nothing changes something")
    }

    private static func checkFields(_ username: String, _ age: Double, _ hobbies: [String]) throws {
        try require((1...100).contains(username.unicodeScalars.count), "\(username) is a name")
        try require(age > 0 && age <= 150, "\(age) is an age")
        try require(hobbies.count <= 50, "\(hobbies.count) hobbies")
        try require(hobbies.allSatisfy { (1...50).contains($0.unicodeScalars.count) }, "\(hobbies) are hobbies")
        try require(Set(hobbies.map(ExactText.init)).count == hobbies.count, "twice the same in \(hobbies)")
        // MongoDB's names and texts in C end with NUL.
        try require(!([username] + hobbies).contains { $0.utf8.contains(0) }, "NUL in \(username) or \(hobbies)")
    }

    private static func checkProblems(_ problems: [FieldProblem]) throws {
        let known = [UserRules.username, UserRules.age, UserRules.hobbies, UserRules.position, UserRules.body]
        try require(!problems.isEmpty && problems.allSatisfy(known.contains), "\(problems)")
    }

    // MARK: Queries

    private static func checkQuery(_ text: String) throws {
        let query = QueryParameters(text)
        let names = ["page", "limit", "search", "includeConnections"]
        let again = names.compactMap { name in query[name].map { "\(name)=\(encoded($0))" } }.joined(separator: "&")
        let same = QueryParameters(again)
        for name in names {
            try require(
                query[name].map(ExactText.init) == same[name].map(ExactText.init),
                "\(name) is \(query[name] ?? "nothing") and then \(same[name] ?? "nothing")")
        }
        let page = PageRequest.parse(page: query["page"], limit: query["limit"], defaultLimit: 50)
        try require((1...1_000_000_000).contains(page.page) && (1...1000).contains(page.limit), "\(page)")
        try require(page.skipped >= 0, "\(page) skips \(page.skipped)")
        for total in [0, 1, 1_000_000_000_000] {
            let pagination = Pagination(page: page, total: total)
            try require(pagination.hasMore == (page.skipped + page.limit < total), "\(pagination)")
        }
        if let search = query["search"], let pattern = SearchPattern.matching(search) {
            try checkPattern(pattern, of: search)
        }
    }

    private static func encoded(_ text: String) -> String {
        text.utf8.reduce(into: "") { $0 += "%" + ($1 < 16 ? "0" : "") + String($1, radix: 16) }
    }

    /// Each character of ASCII that could mean something is escaped, and without the escapes it is the text.
    private static func checkPattern(_ pattern: String, of text: String) throws {
        try require(pattern.utf8.count <= SearchPattern.maximumBytes, "a pattern of \(pattern.utf8.count) bytes")
        var rest = pattern.unicodeScalars[...]
        var meant = String.UnicodeScalarView()
        while let scalar = rest.popFirst() {
            guard scalar == "\\" else {
                let isPlain = !scalar.isASCII || scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
                try require(isPlain, "\(scalar) is not escaped in \(pattern)")
                meant.append(scalar)
                continue
            }
            guard let escaped = rest.popFirst() else { throw Broken(description: "\(pattern) ends in an escape") }
            try require(escaped.isASCII && !escaped.properties.isAlphabetic, "\\\(escaped) means something")
            meant.append(escaped)
        }
        try require(ExactText(String(meant)) == ExactText(text), "\(pattern) is not \(text)")
    }

    // MARK: Headers

    private static func checkHeaders(_ input: inout FuzzInput) throws {
        let tag = EntityTag(of: ByteBuffer(bytes: input.field()))
        let header = input.text()
        for named in ["\(tag)", tag.ofGzip] {
            try require(named.utf8.count <= 55 && named.utf8.allSatisfy { (0x21...0x7e).contains($0) }, "\(named)")
            for list in [named, "W/\(named)", "\(named), \(header)", " \"\", W/\(named)\t,\(header)"] {
                try require(EntityTag.isNamed(named, in: list), "\(named) is not found in \(list)")
            }
            if EntityTag.isNamed(named, in: header) {
                try require(header.contains("*") || header.contains(named), "\(named) is found in \(header)")
            }
        }
        try require(AcceptEncoding.prefersGzip("gzip,\(header)"), "gzip is not seen before \(header)")
        try require(AcceptEncoding.prefersGzip("\(header),gzip"), "gzip is not seen after \(header)")
        if AcceptEncoding.prefersGzip(header) {
            let text = header.lowercased()
            try require(text.contains("gzip") || text.contains("*"), "gzip is seen in \(header)")
        }
    }
}

extension JSONValue {
    /// As it is written.
    fileprivate var text: ByteBuffer {
        var writer = JSONWriter()
        write(to: &writer)
        return writer.buffer
    }

    private func write(to writer: inout JSONWriter) {
        switch self {
        // Not finite: written as `null`.
        case .null: writer.value(Double.nan)
        case .bool(let flag): writer.value(flag)
        case .number(let number): writer.value(number)
        case .string(let text): writer.value(text)
        case .array(let items):
            writer.array { writer in
                for item in items { item.write(to: &writer) }
            }
        case .object(let members):
            // The names that a program writes are constants.
            writer.array { writer in
                for member in members {
                    writer.value(member.name)
                    member.value.write(to: &writer)
                }
            }
        }
    }
}
