/// A violated rule of one field in a body.
struct FieldProblem: Sendable, Equatable {
    var field: String
    /// The rule of the field.
    var rule: String
}

/// A body that is JSON but breaks the endpoint's rules.
struct ValidationFailure: Error, Equatable {
    var problems: [FieldProblem]
}

/// The rules for a user's fields (docs/http-api.md, "Rules"). Each returns the value to store, or `nil`. Characters are
/// Unicode scalars: one `Character` may be of any length.
enum UserRules {
    static let maximumUsername = 100
    static let maximumAge = 150.0
    static let maximumHobbies = 50
    static let maximumHobby = 50

    static let username = FieldProblem(field: "username", rule: "a text of 1 to \(maximumUsername) characters")
    static let age = FieldProblem(field: "age", rule: "a number greater than 0 and at most 150")
    static let hobbies = FieldProblem(
        field: "hobbies", rule: "an array of at most \(maximumHobbies) texts of at most \(maximumHobby) characters")
    static let position = FieldProblem(field: "position", rule: "an object with two numbers, x and y")
    static let body = FieldProblem(field: "body", rule: "a JSON object")

    static func username(_ value: JSONValue) -> String? {
        guard case .string(let text) = value else { return nil }
        let trimmed = text.trimmed
        return (1...maximumUsername).contains(trimmed.unicodeScalars.count) ? trimmed : nil
    }

    static func age(_ value: JSONValue) -> Double? {
        guard case .number(let number) = value, number > 0, number <= maximumAge else { return nil }
        return number
    }

    /// The hobbies trimmed, in lower case, without empty ones and duplicates.
    static func hobbies(_ value: JSONValue) -> [String]? {
        guard case .array(let items) = value else { return nil }
        var hobbies: [String] = []
        var seen: Set<ExactText> = []
        for item in items {
            guard case .string(let text) = item else { return nil }
            let hobby = text.trimmed.lowercased()
            guard hobby.unicodeScalars.count <= maximumHobby else { return nil }
            guard !hobby.isEmpty, seen.insert(ExactText(hobby)).inserted else { continue }
            guard hobbies.count < maximumHobbies else { return nil }
            hobbies.append(hobby)
        }
        return hobbies
    }

    static func position(_ value: JSONValue) -> Position? {
        guard case .number(let x)? = value["x"], case .number(let y)? = value["y"] else { return nil }
        return Position(x: x, y: y)
    }
}

/// The body of a creation.
struct NewUser: Sendable, Equatable {
    var username: String
    var age: Double
    var hobbies: [String]

    static func validate(_ body: JSONValue) throws(ValidationFailure) -> NewUser {
        guard case .object = body else { throw ValidationFailure(problems: [UserRules.body]) }
        let username = body["username"].flatMap(UserRules.username)
        let age = body["age"].flatMap(UserRules.age)
        let hobbies = body["hobbies"].flatMap(UserRules.hobbies)
        guard let username, let age, let hobbies else {
            var problems: [FieldProblem] = []
            if username == nil { problems.append(UserRules.username) }
            if age == nil { problems.append(UserRules.age) }
            if hobbies == nil { problems.append(UserRules.hobbies) }
            throw ValidationFailure(problems: problems)
        }
        return NewUser(username: username, age: age, hobbies: hobbies)
    }

    /// The user to store, with a new id and a random position.
    func user(atMilliseconds now: Int64) -> User {
        User(
            id: UserID.random(), username: username, age: age, hobbies: hobbies, friends: [],
            createdAtMilliseconds: now, position: .random())
    }
}

/// The body of a change: the fields that it names.
struct UserChange: Sendable, Equatable {
    var username: String?
    var age: Double?
    var hobbies: [String]?
    var position: Position?

    /// True if no known field is present.
    var isEmpty: Bool { self == UserChange() }

    static func validate(_ body: JSONValue) throws(ValidationFailure) -> UserChange {
        guard case .object = body else { throw ValidationFailure(problems: [UserRules.body]) }
        var change = UserChange()
        var problems: [FieldProblem] = []
        func check<Value>(
            _ problem: FieldProblem, _ rule: (JSONValue) -> Value?, _ field: WritableKeyPath<UserChange, Value?>
        ) {
            guard let value = body[problem.field] else { return }
            change[keyPath: field] = rule(value)
            if change[keyPath: field] == nil { problems.append(problem) }
        }
        check(UserRules.username, UserRules.username, \.username)
        check(UserRules.age, UserRules.age, \.age)
        check(UserRules.hobbies, UserRules.hobbies, \.hobbies)
        check(UserRules.position, UserRules.position, \.position)
        guard problems.isEmpty else { throw ValidationFailure(problems: problems) }
        return change
    }

    /// The user after the change.
    func applied(to user: User) -> User {
        var changed = user
        if let username { changed.username = username }
        if let age { changed.age = age }
        if let hobbies { changed.hobbies = hobbies }
        if let position { changed.position = position }
        return changed
    }
}

extension String {
    /// The text without white space at both ends. A space that a combining mark follows is one `Character` with it; the
    /// mark stays.
    var trimmed: String {
        var rest = unicodeScalars[...]
        while let first = rest.first, first.properties.isWhitespace { rest.removeFirst() }
        while let last = rest.last, last.properties.isWhitespace { rest.removeLast() }
        return String(rest)
    }
}
