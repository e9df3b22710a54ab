import Foundation
import TestSupport

/// Faults of a journal directory under a syncd and workers that use it.
extension FaultStage {
    /// Its caller sees to it that nobody is killed meanwhile who could have put right what was lost.
    func harmJournal(_ fault: Fault, _ host: Host) async throws {
        let manager = FileManager.default
        let path = host.syncd.directory.file("journal")
        // A crash has left none behind, and nobody has made one yet.
        guard let attributes = try? manager.attributesOfItem(atPath: path) else { return }
        switch fault {
        case .replaceJournal:
            // An operator's `mv`: files that lie there are not lost.
            try manager.moveItem(
                atPath: path, toPath: host.syncd.directory.file("journal.\(UInt32.random(in: 0...UInt32.max))"))
            if chance.bool() {
                await chance.pause(0...300)
                // syncd may have been quicker.
                try? manager.createDirectory(
                    atPath: path, withIntermediateDirectories: false,
                    attributes: attributes.filter { $0.key == .posixPermissions })
            }
        case .loseJournal, .emptyJournal:
            // Pending invalidations there would be lost: nothing can be promised for that.
            let deadline = ContinuousClock.now + .seconds(2)
            while hasPending(path), .now < deadline { await chance.pause(20...20) }
            guard !hasPending(path) else { return }
            for name in host.syncd.directory.names(in: "journal") { try? manager.removeItem(atPath: "\(path)/\(name)") }
            if fault == .loseJournal { try? manager.removeItem(atPath: path) }
        default: throw TestFailure("\(fault) is not of the journal")
        }
        // Until syncd has seen it, and until the writes of that time have ended.
        await chance.pause(3000...3000)
    }

    /// Whether a file lies there that is more than a write on its way.
    private func hasPending(_ path: String) -> Bool {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return names.contains { name in
            guard name.hasSuffix(".intent") else { return name.hasSuffix(".pending") || name.hasSuffix(".orphan") }
            let made = try? FileManager.default.attributesOfItem(atPath: "\(path)/\(name)")[.modificationDate] as? Date
            return made.map { $0.timeIntervalSinceNow < -2 } ?? false
        }
    }
}
