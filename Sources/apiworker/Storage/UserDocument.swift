/// Users as they are stored in the collection `users`. The schema is shared with other programs: fields that are not
/// named here stay unchanged.
extension User {
    /// Reads a stored user. A field that is missing or of another type gets a neutral value: other programs store
    /// users, too, and one such document must not make a list unreadable.
    ///
    /// - Returns: `nil` if there is no id.
    init?(_ document: BSONDocument) {
        guard let id = document["_id"]?.string else { return nil }
        var createdAt: Int64 = 0
        if case .date(let milliseconds)? = document["createdAt"] { createdAt = milliseconds }
        let position = document["position"]?.document
        self.init(
            id: id,
            username: document["username"]?.string ?? "",
            age: document["age"]?.number ?? 0,
            hobbies: document["hobbies"]?.array?.compactMap(\.string) ?? [],
            friends: document["friends"]?.array?.compactMap(\.string) ?? [],
            createdAtMilliseconds: createdAt,
            position: Position(x: position?["x"]?.number ?? 0, y: position?["y"]?.number ?? 0))
    }

    /// A new user as it is stored.
    var document: BSONDocument {
        [
            "_id": .string(id),
            "username": .string(username),
            "age": .number(age),
            "hobbies": .strings(hobbies),
            "friends": .strings(friends),
            "createdAt": .date(createdAtMilliseconds),
            "position": .document(position.document),
        ]
    }
}

extension Position {
    fileprivate var document: BSONDocument { ["x": .number(x), "y": .number(y)] }
}

extension UserChange {
    /// The fields to set.
    var fields: BSONDocument {
        var fields = BSONDocument()
        if let username { fields.append("username", .string(username)) }
        if let age { fields.append("age", .number(age)) }
        if let hobbies { fields.append("hobbies", .strings(hobbies)) }
        if let position { fields.append("position", .document(position.document)) }
        return fields
    }
}
