import Foundation
import NIOCore
import Notation

@testable import apiworker

/// Documents of users, as other programs may have stored them. The first byte chooses: the bytes of a document, or users
/// whose fields the input decides.
enum UsersTarget {
    static func check(_ input: inout FuzzInput) throws {
        if input.byte().isMultiple(of: 2) {
            try checkDocument(Array(input.take(input.rest.count)))
        } else {
            try checkUsers(&input)
        }
    }

    // MARK: One document

    private static func checkDocument(_ bytes: [UInt8]) throws {
        let document = try? bytes.withUnsafeBytes { try BSONDocument.decode($0) }
        let text = bytes.withUnsafeBytes { bytes in StoredUser(bytes).map { user in body { user.write(to: &$0) } } }
        guard let document, let plain = PlainUser(document) else {
            return try require(text == nil, "\(bytes) is a user: \(text ?? "")")
        }
        try require(text == plain.text, "\(text ?? "nothing") is not \(plain.text)")
        let isJSON = (try? JSONSerialization.jsonObject(with: Data(plain.text.utf8))) != nil
        try require(isJSON, "\(plain.text) is no JSON")
    }

    private static func body(_ write: (inout JSONWriter) -> Void) -> String {
        var writer = JSONWriter()
        write(&writer)
        return String(buffer: writer.buffer)
    }

    // MARK: Several users

    private static func checkUsers(_ input: inout FuzzInput) throws {
        let includesConnections = !input.byte().isMultiple(of: 4)
        let documents = (0..<1 + Int(input.byte() % 8)).map { number in user(number, &input).encoded() }
        let pageCount = Int(input.byte()) % (documents.count + 1)
        var statistics = Statistics()
        var graph = GraphPage(includesConnections: includesConnections)
        for (number, document) in documents.enumerated() {
            document.withUnsafeBytes { bytes in
                guard let user = StoredUser(bytes) else { return }
                statistics.add(user)
                if number < pageCount { graph.add(user) } else if includesConnections { graph.addElsewhere(user) }
            }
        }
        let users = try documents.map { document in
            try document.withUnsafeBytes { PlainUser(try BSONDocument.decode($0)) }
        }
        let numbers = PlainUser.statistics(users.compactMap { $0 })
        let text = body(statistics.write)
        try require(text == numbers, "\(text) is not \(numbers)")
        let pagination = Pagination(page: PageRequest(page: 1, limit: 10), total: 0)
        let edges = PlainUser.graph(
            users.prefix(pageCount).compactMap { $0 }, elsewhere: users.dropFirst(pageCount).compactMap { $0 },
            includesConnections)
        let page = body { graph.write(to: &$0, pagination) }
        try require(page.hasPrefix(edges), "\(page) is not \(edges)")
    }

    private static let names = ["username", "age", "hobbies", "friends", "createdAt", "position", "more"]

    private static func user(_ number: Int, _ input: inout FuzzInput) -> BSONDocument {
        var document: BSONDocument = input.byte() < 8 ? [:] : ["_id": .string("\(number)")]
        for _ in 0..<input.byte() % 8 {
            document.append(names[Int(input.byte() % 7)], value(&input, depth: 0))
        }
        return document
    }

    private static func value(_ input: inout FuzzInput, depth: Int) -> BSONValue {
        switch input.byte() % 12 {
        case 0: .double(Double(bitPattern: input.number(bytes: 8)))
        // Few different texts, so that users share them.
        case 1: .string(String(input.byte() % 8))
        case 2: .string(String(decoding: input.field(), as: UTF8.self))
        case 3...6 where depth < 3: .array((0..<input.byte() % 8).map { _ in value(&input, depth: depth + 1) })
        case 7 where depth < 3: .document(["x": value(&input, depth: depth + 1), "y": value(&input, depth: depth + 1)])
        case 8: .date(Int64(bitPattern: input.number(bytes: 8)))
        case 9: .int32(Int32(truncatingIfNeeded: input.number(bytes: 4)))
        case 10: .int64(Int64(bitPattern: input.number(bytes: 8)))
        default: .null
        }
    }
}

/// A user as documents say it, put together without haste.
private struct PlainUser {
    var id: String
    var username: String
    var age: Double
    var hobbies: [String]
    var friends: [String]
    var createdAt = "1970-01-01T00:00:00.000Z"
    var x: Double
    var y: Double

    init?(_ document: BSONDocument) {
        guard let id = document["_id"]?.string else { return nil }
        self.id = id
        username = document["username"]?.string ?? ""
        age = document["age"]?.number ?? 0
        hobbies = document["hobbies"]?.array?.compactMap(\.string) ?? []
        friends = document["friends"]?.array?.compactMap(\.string) ?? []
        if case .date(let milliseconds)? = document["createdAt"] {
            let date = UTCDate(millisecondsSince1970: milliseconds)
            createdAt = "\(date.dayText)T\(date.timeText).\(date.millisecond.padded(3))Z"
        }
        x = document["position"]?.document?["x"]?.number ?? 0
        y = document["position"]?.document?["y"]?.number ?? 0
    }

    private static func list(_ texts: [String]) -> String { "[" + texts.joined(separator: ",") + "]" }

    private static func quoted(_ text: String) -> String { JSONString.quoted(text) }

    private static func number(_ number: Double) -> String {
        Int64(exactly: number).map(String.init) ?? (number.isFinite ? number.description : "null")
    }

    private var position: String { #"{"x":\#(Self.number(x)),"y":\#(Self.number(y))}"# }

    var text: String {
        #"{"_id":\#(Self.quoted(id)),"username":\#(Self.quoted(username)),"age":\#(Self.number(age)),"#
            + #""hobbies":\#(Self.list(hobbies.map(Self.quoted))),"friends":\#(Self.list(friends.map(Self.quoted))),"#
            + #""createdAt":"\#(createdAt)","position":\#(position)}"#
    }

    static func statistics(_ users: [PlainUser]) -> String {
        let friends = users.reduce(0) { $0 + $1.friends.count }
        var counts: [ExactText: Int] = [:]
        for user in users {
            for hobby in Set(user.hobbies.map(ExactText.init)) { counts[hobby, default: 0] += 1 }
        }
        let top = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(5)
        let hobbies = top.map { hobby, count in #"{"hobby":\#(quoted(hobby.text)),"count":\#(count)}"# }
        let hundredths = users.isEmpty ? 0 : (friends * 200 + users.count) / (users.count * 2)
        var text = #"{"totalUsers":\#(users.count),"totalConnections":\#(friends / 2),"#
        text += #""avgConnections":"\#(hundredths / 100).\#((hundredths % 100).padded(2))","#
        text += #""totalHobbies":\#(counts.count),"topHobbies":\#(list(hobbies))}"#
        return text
    }

    /// The page without its pagination.
    static func graph(_ users: [PlainUser], elsewhere: [PlainUser], _ includesConnections: Bool) -> String {
        let hobbies = Dictionary(
            (users + elsewhere).map { (ExactText($0.id), Set($0.hobbies.map(ExactText.init))) }
        ) { first, _ in first }
        var (nodes, edges, done): ([String], [String], Set<ExactText>) = ([], [], [])
        for user in users {
            let own = Set(user.hobbies.map(ExactText.init))
            let shared = user.friends.reduce(0) { $0 + (hobbies[ExactText($1)]?.intersection(own).count ?? 0) }
            let score = Double(user.friends.count) + (includesConnections ? 0.5 * Double(shared) : 0)
            let type = score > 5 ? "highScoreNode" : "lowScoreNode"
            var node = #"{"id":\#(quoted(user.id)),"type":"\#(type)","data":{"label":\#(quoted(user.username)),"#
            node += #""age":\#(number(user.age)),"hobbies":\#(list(user.hobbies.map(quoted))),"#
            node += #""popularityScore":\#(number(score))},"position":\#(user.position)}"#
            nodes.append(node)
            guard includesConnections else { continue }
            done.insert(ExactText(user.id))
            var targets: Set<ExactText> = []
            for friend in user.friends where !done.contains(ExactText(friend)) {
                guard targets.insert(ExactText(friend)).inserted else { continue }
                let id = quoted("e-\(user.id)-\(friend)")
                edges.append(#"{"id":\#(id),"source":\#(quoted(user.id)),"target":\#(quoted(friend))}"#)
            }
        }
        return #"{"nodes":\#(list(nodes)),"edges":\#(list(edges)),"pagination":"#
    }
}
