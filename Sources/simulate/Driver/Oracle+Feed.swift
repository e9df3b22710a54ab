import IPCWire
import NIOCore
import SyncCore

// Checks of change feeds: no token is ahead of the log.
extension Oracle {
    /// A change has landed in the database.
    func changed(_ number: UInt64, _ keys: [Int]) {
        for key in keys {
            // Embedded, the table is the log: the position by then.
            let positions = tables().map { [names] table in
                Self.newest(key, names, in: table)
            }
            openChanges.append(OpenChange(number: number, key: key, positions: positions))
        }
    }

    /// These changes never happened.
    func undo(_ numbers: Set<UInt64>) { openChanges.removeAll { numbers.contains($0.number) } }

    /// A host has a new table. Without Redis, its positions begin anew, and nothing is left of caches and tokens.
    func madeTable() {
        lastToken = 0
        for index in openChanges.indices { openChanges[index].positions = [] }
    }

    /// The greatest position of any tag that affects a document.
    private static func newest(_ key: Int, _ names: Names, in table: TagTable) -> LogPosition {
        (names.reaching[key] + names.entries(of: key))
            .map { table.slot(table.slotIndex(TagHash.tag($0.bytes))) }.max() ?? 0
    }

    /// Tags are in the log from now on: the changes that they affect need nothing else.
    func closeChanges(_ tags: [ByteBuffer]) {
        openChanges.removeAll { names.isReached($0.key, by: tags) }
    }

    /// A token was stored: everything before it has to be in the log.
    func stored(_ token: ByteBuffer, embeddedIn table: TagTable? = nil) {
        let number = SimulatedChanges.number(token)
        figures.add("tokens of a feed stored")
        if let table {
            openChanges.removeAll { change in
                Self.newest(change.key, names, in: table) > (change.positions.max() ?? 0)
            }
            check(number >= lastToken, "a token of a feed goes back from \(lastToken) to \(number)")
            lastToken = number
        }
        guard let open = openChanges.first(where: { $0.number <= number }) else { return }
        fail("a token of a feed is ahead of the log: change \(open.number) was not invalidated", key: open.key)
    }
}

/// A change that no entry of the log covers.
struct OpenChange {
    var number: UInt64
    var key: Int
    /// Of each host: the greatest position of its tags when it landed.
    var positions: [LogPosition]
}
