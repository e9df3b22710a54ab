import Notation

/// A user's document, read in place. The bytes belong to the driver, which takes them back when the read goes on.
///
/// Other programs store users, too, and one odd document must not make a list unreadable: a field that is missing or of
/// another type reads as empty or 0. Of several fields of one name the first counts.
struct StoredUser {
    /// Bytes of a text, which may be no UTF-8.
    typealias Text = UnsafeRawBufferPointer

    private(set) var id = Text(start: nil, count: 0)
    private(set) var username = Text(start: nil, count: 0)
    private(set) var age = 0.0
    private(set) var hobbies = Texts(array: nil)
    private(set) var friends = Texts(array: nil)
    private(set) var createdAtMilliseconds: Int64 = 0
    private(set) var position = Position(x: 0, y: 0)

    private enum Field: UInt8 {
        case id, username, age, hobbies, friends, createdAt, position

        init?(_ element: BSONElement) {
            switch element.name.count {
            case 3 where element.isNamed("_id"): self = .id
            case 3 where element.isNamed("age"): self = .age
            case 7 where element.isNamed("hobbies"): self = .hobbies
            case 7 where element.isNamed("friends"): self = .friends
            case 8 where element.isNamed("username"): self = .username
            case 8 where element.isNamed("position"): self = .position
            case 9 where element.isNamed("createdAt"): self = .createdAt
            default: return nil
            }
        }
    }

    /// - Returns: `nil` if the document is malformed, or its id is no text.
    init?(_ document: UnsafeRawBufferPointer) {
        var seen: UInt8 = 0
        let isWellFormed = BSONElements.checkEach(document) { element in
            guard let field = Field(element), seen & 1 << field.rawValue == 0 else { return }
            seen |= 1 << field.rawValue
            switch field {
            case .id: id = element.text ?? id
            case .username: username = element.text ?? username
            case .age: age = element.number ?? 0
            case .hobbies: hobbies = Texts(array: element.array)
            case .friends: friends = Texts(array: element.array)
            case .createdAt: createdAtMilliseconds = element.date ?? 0
            case .position: position = Position(element.document)
            }
        }
        // An empty text has an address, too.
        if !isWellFormed || id.baseAddress == nil { return nil }
    }

    /// Writes the user with exactly the fields of the schema.
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("_id", id)
            writer.field("username", username)
            writer.field("age", age)
            writer.field("hobbies", hobbies)
            writer.field("friends", friends)
            writer.field("createdAt", UTCDate(millisecondsSince1970: createdAtMilliseconds))
            writer.name("position")
            position.write(to: &writer)
        }
    }

    /// The texts of an array; values of other types are passed over.
    struct Texts: Sequence, IteratorProtocol {
        private var elements: BSONElements.Iterator?

        fileprivate init(array: BSONElements?) { elements = array?.makeIterator() }

        mutating func next() -> Text? {
            while let element = elements?.next() {
                if let text = element.text { return text }
            }
            return nil
        }

        var count: Int { reduce(0) { count, _ in count + 1 } }
    }
}

extension Position {
    fileprivate init(_ document: BSONElements?) {
        var (x, y): (BSONElement?, BSONElement?)
        if let document {
            for element in document where element.name.count == 1 {
                if x == nil, element.isNamed("x") { x = element }
                if y == nil, element.isNamed("y") { y = element }
            }
        }
        self.init(x: x?.number ?? 0, y: y?.number ?? 0)
    }
}

extension User {
    /// A copy.
    init(_ stored: StoredUser) {
        func text(_ text: StoredUser.Text) -> String { String(decoding: text, as: UTF8.self) }
        self.init(
            id: text(stored.id), username: text(stored.username), age: stored.age, hobbies: stored.hobbies.map(text),
            friends: stored.friends.map(text), createdAtMilliseconds: stored.createdAtMilliseconds,
            position: stored.position)
    }
}
