/// Users as they are stored in the collection `users`. The schema is shared with other programs: fields that are not
/// named here stay unchanged.
extension User {
    /// - Returns: `nil` if the id is no text.
    init?(_ document: BSONDocument) {
        guard let user = document.encoded().withUnsafeBytes({ StoredUser($0).map(User.init) }) else { return nil }
        self = user
    }

    func write(to writer: inout JSONWriter) {
        document.encoded().withUnsafeBytes { StoredUser($0)?.write(to: &writer) }
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
