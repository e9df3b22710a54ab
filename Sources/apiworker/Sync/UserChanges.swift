import IPC
import NIOCore

/// The change stream of the database, for the change feed (docs/change-feed.md).
struct UserChanges: ChangeSource {
    let streams: ChangeStreams

    /// The name of the feed: that of database and collection, with `.` and two hexadecimal digits for each byte that a
    /// name cannot have: at most 195 characters. A name of a database has no `.` itself.
    var name: String {
        streams.name.utf8.map { byte -> String in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: String(UnicodeScalar(byte))
            default: "." + String(0x100 + Int(byte), radix: 16).suffix(2)
            }
        }.joined()
    }

    /// Changes that follow at once are read together: each reading costs a round trip.
    private static let pauseNanoseconds: UInt64 = 5_000_000

    func open(after token: ByteBuffer?) async throws(ChangeSourceFailure) -> (ChangeCursor, token: ByteBuffer) {
        let stream: ChangeStream
        do throws(StorageFailure) {
            stream = try await streams.open(after: token.map { Array(buffer: $0) })
        } catch {
            throw ChangeSourceFailure(error)
        }
        let cursor = ChangeCursor(
            next: { [streams] () async throws(ChangeSourceFailure) in
                try? await Task.sleep(nanoseconds: Self.pauseNanoseconds)
                do throws(StorageFailure) {
                    return ChangeBatch(try await streams.next(of: stream))
                } catch {
                    throw ChangeSourceFailure(error)
                }
            },
            close: { [streams] in await streams.close(stream) })
        return (cursor, ByteBuffer(bytes: stream.token))
    }
}

extension ChangeBatch {
    fileprivate init(_ stored: StoredChanges) {
        self.init(
            changes: stored.changes.map {
                DocumentChange(collection: MongoClient.collection, key: $0.id, time: OperationTime($0.time))
            },
            token: ByteBuffer(bytes: stored.token),
            lag: .milliseconds(stored.newest.map { max(0, WallClock.milliseconds - $0) } ?? 0), isEnd: stored.isEnd)
    }
}

extension OperationTime {
    init(_ time: MongoTime) { self.init(seconds: time.seconds, increment: time.increment) }
}

extension ChangeSourceFailure {
    fileprivate init(_ failure: StorageFailure) {
        if failure.isHistoryLost {
            self = .historyLost(failure.detail)
        } else if failure.isWithoutChangeStreams {
            self = .unavailable(failure.changeStreamDetail)
        } else {
            self = .interrupted(failure.detail)
        }
    }
}
