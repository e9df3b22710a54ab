import Synchronization
import TestSupport
import Testing

extension FaultStage {
    /// Something of which the rounds of a ``FaultHistory`` are written and read.
    enum Register: Sendable {
        /// A user's place; `x` is the round.
        case position(id: String)
        /// The same of a user whom a program changes that says nothing to syncd.
        case direct(id: String)
        /// Two users who are friends in odd rounds.
        case friendship(String, String)
        /// A name that a user has in odd rounds: created, and deleted again.
        case name(String, Owners)

        /// Whether its first round happens before the history begins.
        var isWritten: Bool {
            switch self {
            case .position, .direct: true
            case .friendship, .name: false
            }
        }

        /// Makes the users that stay.
        static func make(_ pace: Pace, _ http: HTTPConnection) async throws -> [Register] {
            var registers: [Register] = []
            for number in 0..<pace.keys {
                let id = try await TestHost.createUser(http, "user \(number)")
                let reply = try await http.request("PUT", "/api/users/\(id)", body: #"{"position":{"x":1,"y":0}}"#)
                #expect(reply.status == 200)
                registers.append(.position(id: id))
            }
            for number in 0..<(pace.database == .standalone ? 0 : pace.directs) {
                let id = try await TestHost.createUser(http, "user \(number) of others")
                let reply = try await http.request("PUT", "/api/users/\(id)", body: #"{"position":{"x":1,"y":0}}"#)
                #expect(reply.status == 200)
                registers.append(.direct(id: id))
            }
            for number in 0..<pace.friendships {
                let first = try await TestHost.createUser(http, "friend \(number)")
                let second = try await TestHost.createUser(http, "friend \(number) of a friend")
                registers.append(.friendship(first, second))
            }
            for number in 0..<pace.names { registers.append(.name("name \(number)", Owners())) }
            return registers
        }
    }

    /// The owner of a name in each round: ids are made by the server, and never again.
    final class Owners: Sendable {
        private let ids = Mutex<[Int: String]>([:])

        subscript(_ round: Int) -> String? {
            get { ids.withLock { $0[round] } }
            set {
                ids.withLock { ids in
                    ids[round] = newValue
                    ids[round - 4] = nil
                }
            }
        }

        /// The last one that is known, up to a round.
        func last(upTo round: Int) -> (round: Int, id: String)? {
            ids.withLock { ids in ids.filter { $0.key <= round }.max { $0.key < $1.key } }
                .map { ($0.key, $0.value) }
        }
    }
}

extension FaultStage.Register {
    // MARK: States in answers

    /// Where one user is read who shows this register; `nil`: nobody is known yet.
    func path(round: Int) -> String? {
        switch self {
        case .position(let id), .direct(let id): "/api/users/\(id)"
        case .friendship(let first, let second): "/api/users/\(Bool.random() ? first : second)"
        case .name(_, let owners): owners.last(upTo: round).map { "/api/users/\($0.id)" }
        }
    }

    /// The state that the answer to a ``path(round:)`` shows; `nil`: none.
    func shown(by reply: HTTPReply, path: String) -> FaultHistory.Shown? {
        switch self {
        case .position, .direct, .friendship:
            // These users are never deleted: 404 is from before the history.
            if reply.status == 404 { return .round(-1) }
            return reply.status == 200 ? shown(in: [reply.json]) : nil
        case .name(_, let owners):
            guard let (round, _) = (owners.last { path.hasSuffix($0) }) else { return nil }
            return switch reply.status {
            case 200: .owner(round)
            case 404: .otherThan(round)
            default: nil
            }
        }
    }

    /// The state that a list of users shows; `nil`: none.
    func shown(in users: [JSON]) -> FaultHistory.Shown? {
        switch self {
        case .position(let id), .direct(let id):
            return .round(Int(users.first { $0["_id"].string == id }?["position"]["x"].number ?? 0))
        case .friendship(let first, let second):
            guard let user = users.first(where: { $0["_id"].string == first || $0["_id"].string == second }),
                let friends = user["friends"].strings
            else { return .round(-1) }
            return .odd(friends.contains(user["_id"].string == first ? second : first))
        case .name(let name, _): return .odd(users.contains { $0["username"].string == name })
        }
    }
}

extension FaultStage.Owners {
    func last(where condition: (String) -> Bool) -> (round: Int, id: String)? {
        last(upTo: .max).flatMap { condition($0.id) ? $0 : nil }
            ?? all.first { condition($0.value) }.map { ($0.key, $0.value) }
    }

    private var all: [Int: String] { ids.withLock { $0 } }
}

/// The content of the database at one time.
struct Snapshot {
    private var users: [String: BSONDocument] = [:]
    private var names: [String: String] = [:]

    init(_ documents: [BSONDocument]) {
        for document in documents {
            guard let id = document["_id"]?.string else { continue }
            users[id] = document
            if let name = document["username"]?.string { names[name] = id }
        }
    }

    func id(of name: String) -> String? { names[name] }

    /// The round of a register, given that it is the newest or the one before; `nil`: neither.
    func round(of register: FaultStage.Register, newest: Int) -> Int? {
        let isOdd: Bool
        switch register {
        case .position(let id), .direct(let id): return users[id]?["position"]?.document?["x"]?.number.map { Int($0) }
        case .friendship(let first, let second):
            let (one, other) = (hasFriend(first, second), hasFriend(second, first))
            // A server without transactions makes one half after the other.
            guard one == other else { return nil }
            isOdd = one
        case .name(let name, _): isOdd = names[name] != nil
        }
        return (newest % 2 == 1) == isOdd ? newest : newest - 1
    }

    private func hasFriend(_ user: String, _ friend: String) -> Bool {
        users[user]?["friends"]?.array?.contains { $0.string == friend } ?? false
    }
}
