import EngineHosting
import IPCWire
import NIOCore
import Synchronization

@testable import IPC

/// The journal directory, in which every worker of the host may write. The input is its files, each as length and bytes
/// of the name, and two bytes of length and the bytes of the content; the highest bit of the first length says that
/// somebody holds a lock on the file.
enum JournalTarget {
    static func check(_ input: inout FuzzInput) throws {
        let files = FuzzedFiles()
        while !input.rest.isEmpty {
            let length = input.byte()
            let name = String(decoding: input.take(Int(length & 0x7f)), as: UTF8.self)
            let content = ByteBuffer(bytes: input.take(Int(input.number(bytes: 2))))
            try checkName(name)
            try checkContent(content)
            files.state.withLock { state in
                state.contents[name] = content
                if length & 0x80 != 0 { state.locked.insert(name) }
            }
        }
        try checkDirectory(files)
    }

    private static func checkName(_ text: String) throws {
        guard let name = JournalFileName(text) else { return }
        try require(JournalFileName(name.text) == name, "\(text) is written as \(name.text)")
        try require(JournalFileName.isOwner(name.owner), "\(text) has the owner \(name.owner)")
        try require(text.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x2f }, "\(text) is no name")
    }

    private static func checkContent(_ content: ByteBuffer) throws {
        guard let tags = JournalFileFormat.decode(content) else { return }
        try require(!tags.isEmpty, "no tags")
        let encoded = JournalFileFormat.encode([tags])
        try require(JournalFileFormat.decode(encoded) == tags, "\(tags) are not read as they were written")
        let cut = encoded.getSlice(at: encoded.readerIndex, length: encoded.readableBytes - 1) ?? ByteBuffer()
        try require(JournalFileFormat.decode(cut) == nil, "half of \(tags) is read")
    }

    private static func checkDirectory(_ files: FuzzedFiles) throws {
        let directory = JournalDirectory(files, path: "/journal", owner: "0000000000000000-1")
        let names = try files.names()
        for file in try directory.scan() {
            try require(names.contains(file.name), "\(file.name) is not there")
            try require(!file.name.hasPrefix(JournalFileName.temporaryPrefix), "\(file.name) is not complete")
            let name = JournalFileName(file.name)
            let isForeign = name == nil && file.name != JournalFileName.marker
            try require((file.kind == .foreign) == isForeign, "\(file.name) is of the kind \(file.kind)")
            try require(file.owner == name?.owner ?? "", "\(file.name) has the owner \(file.owner)")
            let isLocked = files.isLocked(file.owner + JournalFileName.lockSuffix)
            try require(file.isOwnerAlive == (file.kind == .intent && isLocked), "\(file.name): does its owner live?")
            try require(file.tags == nil || !file.isOwnerAlive, "\(file.name) was read")
            try require((file.demand == nil) == isForeign, "\(file.name): is it to be done?")
        }
        try require(
            try directory.items().map(\.name) == directory.scan().filter { $0.demand != nil }.map(\.name),
            "what asks for something is not what syncd does")

        try directory.removeLeftovers()
        let removed = names.filter { !files.has($0) }
        let owners = Set(names.compactMap { JournalFileName($0)?.owner })
        for name in removed {
            if name.hasPrefix(JournalFileName.temporaryPrefix) {
                let owner = JournalFileName(String(name.dropFirst(JournalFileName.temporaryPrefix.count)))?.owner
                let isNeeded = owner.map { files.isLocked($0 + JournalFileName.lockSuffix) } ?? true
                try require(!isNeeded, "\(name) was removed")
                continue
            }
            let owner = String(name.dropLast(JournalFileName.lockSuffix.count))
            try require(
                name.hasSuffix(JournalFileName.lockSuffix) && JournalFileName.isOwner(owner) && !files.isLocked(name)
                    && !owners.contains(owner), "\(name) was removed")
        }
        let tags = [ByteBuffer(string: "a")]
        let pending = try directory.writePending(tags)
        let found = try directory.scan().first { $0.name == pending }
        try require(found?.tags == tags && found?.kind == .pending, "what is pending is not found")
    }
}

/// A directory in memory, with names and contents as nobody of ours would write them.
private final class FuzzedFiles: JournalStorage {
    struct State {
        var contents: [String: ByteBuffer] = [:]
        var locked: Set<String> = []
    }

    private final class Lock: JournalLock {}

    let state = Mutex(State())

    func names() throws(SystemError) -> [String] { state.withLock { $0.contents.keys.sorted() } }

    func has(_ name: String) -> Bool { state.withLock { $0.contents[name] != nil } }

    func write(_ name: String, _ content: ByteBuffer) throws(SystemError) {
        let isNew = state.withLock { state in
            guard state.contents[name] == nil else { return false }
            state.contents[name] = content
            return true
        }
        guard isNew else { throw .exists }
    }

    func read(_ name: String) throws(SystemError) -> JournalReadResult {
        state.withLock { $0.contents[name] }.map { .bytes($0) } ?? .gone
    }

    func rename(_ name: String, to newName: String) throws(SystemError) {
        state.withLock { $0.contents[newName] = $0.contents.removeValue(forKey: name) }
    }

    func remove(_ name: String) throws(SystemError) {
        let content = state.withLock { $0.contents.removeValue(forKey: name) }
        if content == nil { throw .missing }
    }

    func lock(_ name: String) throws(SystemError) -> any JournalLock {
        state.withLock { state in
            state.contents[name] = ByteBuffer()
            state.locked.insert(name)
        }
        return Lock()
    }

    func isLocked(_ name: String) -> Bool { state.withLock { $0.locked.contains(name) } }

    func isDirectory(at path: String) -> Bool { true }

    let identity = FileIdentity(device: 1, inode: 1)

    func version(_ name: String) -> UInt64 { has(name) ? 1 : 0 }
}
