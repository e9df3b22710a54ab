import Foundation
import NIOCore
import ProcessSupport
import TestSupport
import Testing

@testable import apiworker

/// The document at `/openapi.json` and the code say the same. `make check-openapi` compares it with a running worker.
@Suite struct OpenAPITests {
    private let document: JSONValue

    init() throws { document = try JSONValue.parse(Self.served) }

    private static var served: ByteBuffer {
        if case .bytes(let body) = OpenAPIDocument.response.body { body } else { ByteBuffer() }
    }

    /// The value at a path like `info/version`.
    private func value(_ path: String) -> JSONValue? {
        path.split(separator: "/").reduce(document) { value, name in value?[String(name)] }
    }

    private static func members(_ value: JSONValue?) -> [JSONValue.Member] {
        guard case .object(let members)? = value else { return [] }
        return members
    }

    @Test func `every route has its methods in the document, and the document has no others`() throws {
        let described = Self.members(document["paths"]).map { path in
            let operations = Self.members(path.value).map { $0.name.uppercased() }.filter { $0 != "PARAMETERS" }
            return (path.name, Set(operations))
        }
        let routed = try RoutePattern.allCases.filter { $0 != .other }.map { pattern in
            let route = try #require(Route(path: pattern.label))
            try #require(route.pattern == pattern)
            // The introduction of the document has OPTIONS for all paths.
            let methods = Set(route.allowed.components(separatedBy: ", ")).subtracting(["OPTIONS"])
            return (pattern.label.replacing(":id", with: "{id}"), methods)
        }
        #expect(Dictionary(uniqueKeysWithValues: described) == Dictionary(uniqueKeysWithValues: routed))
    }

    @Test func `numbers are those of the code`() throws {
        let schemas = "components/schemas/"
        for (path, number) in [
            ("Username/maxLength", Double(UserRules.maximumUsername)), ("Age/maximum", UserRules.maximumAge),
            ("Hobbies/maxItems", Double(UserRules.maximumHobbies)),
            ("Hobbies/items/maxLength", Double(UserRules.maximumHobby)),
            ("Pagination/properties/page/maximum", Double(PageRequest.maximumPage)),
            ("Pagination/properties/limit/maximum", Double(PageRequest.maximumLimit)),
            ("UserPage/properties/users/maxItems", Double(PageRequest.maximumLimit)),
            ("Graph/properties/nodes/maxItems", Double(PageRequest.maximumLimit)),
        ] { #expect(value(schemas + path) == .number(number), "\(path)") }
        #expect(value("components/parameters/Page/schema/maximum") == .number(Double(PageRequest.maximumPage)))
        for (route, standard) in [
            (RoutePattern.paginatedUsers, Routes.defaultListLimit), (.graph, Routes.defaultGraphLimit),
        ] {
            guard case .array(let parameters)? = document["paths"]?[route.label]?["get"]?["parameters"] else {
                throw TestFailure("\(route.label) has no parameters")
            }
            let limit = try #require(parameters.first { $0["name"] == .string("limit") }?["schema"])
            #expect(limit["minimum"] == .number(1) && limit["default"] == .number(Double(standard)), "\(route)")
            #expect(limit["maximum"] == .number(Double(PageRequest.maximumLimit)), "\(route)")
        }
        #expect(value("info/version") == .string(Version.current))
    }

    /// The texts that `message` may have below a value.
    private static func messages(_ value: JSONValue) -> [String] {
        if case .array(let items) = value { return items.flatMap(messages) }
        return members(value).flatMap { member in
            (member.name == "message" ? texts(of: member.value) : []) + messages(member.value)
        }
    }

    private static func texts(of schema: JSONValue) -> [String] {
        var texts = ["const", "enum", "examples"].flatMap { Self.texts(schema[$0]) }
        if case .array(let choices)? = schema["anyOf"] { texts += choices.flatMap { Self.texts(of: $0) } }
        return texts
    }

    private static func texts(_ value: JSONValue?) -> [String] {
        switch value {
        case .string(let text)?: [text]
        case .array(let items)?: items.flatMap { texts($0) }
        default: []
        }
    }

    @Test func `errors are those of http-api.md`() throws {
        let prose = try String(contentsOfFile: "\(Executables.packageFolder)/docs/http-api.md", encoding: .utf8)
        let table = prose.matches(of: /\| \d{3} \| `([^`]+)` \|/).map { String($0.1) }
        #expect(table.count > 15)
        #expect(Set(Self.messages(try #require(document["components"]))) == Set(table))
    }

    @Test func `workers serve the document that people read`() async throws {
        let python = "\(Executables.packageFolder)/.build/servers/python/bin/python3"
        let script = "\(Executables.packageFolder)/scripts/openapi"
        let finished = try await ChildProcess.run(python, [script, "--print"], environment: [:])
        try #require(finished.exit == .status(0), "\(finished): scripts/install-dependencies puts PyYAML there")
        #expect(finished.output == String(buffer: Self.served), "make openapi, and build again")
    }
}
