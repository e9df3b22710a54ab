import Glibc
import Logging
import NIOCore
import SyncCore

/// The file in which the figures of `syncd report` outlive a syncd: beside the tag table, and lost with it at boot. An
/// actor, so that the event loop waits for no disk, and no two writes overlap.
actor ReportFile {
    private let path: String
    private let logger: Logger
    private var hasFailed = false

    /// How often the figures are written. Those of a syncd that is killed are lost since the last time.
    static let interval: UInt64 = 60_000_000_000

    init(path: String, logger: Logger) {
        self.path = path
        self.logger = logger
    }

    /// The figures of an earlier syncd; `nil`: there are none, or the file is damaged.
    static func read(_ path: String) -> ReportRecord? {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var content = ByteBuffer()
        while content.readableBytes <= ReportRecord.maximumBytes {
            let count = content.writeWithUnsafeMutableBytes(minimumWritableBytes: 65_536) { memory in
                max(0, Glibc.read(file, memory.baseAddress, memory.count))
            }
            if count == 0 { break }
        }
        return ReportRecord(encoded: content)
    }

    /// Writes the figures. A failure is logged once.
    func write(_ record: ReportRecord) {
        guard let error = replace(record.encoded()) else {
            hasFailed = false
            return
        }
        if !hasFailed {
            logger.warning(
                "the figures of syncd report cannot be kept: the next syncd begins with the figures of the last file that could be written, if there is one",
                metadata: ["path": "\(path)", "error": "\(String(cString: strerror(error)))"])
        }
        hasFailed = true
    }

    /// A reader, or the next syncd, finds the old content or the new one. Returns `errno` of a call that failed.
    private func replace(_ content: ByteBuffer) -> CInt? {
        let temporary = path + ".new"
        let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o640)
        guard file >= 0 else { return errno }
        var rest = content
        while rest.readableBytes > 0 {
            let count = rest.withUnsafeReadableBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let error = errno
                close(file)
                unlink(temporary)
                return error
            }
            rest.moveReaderIndex(forwardBy: count)
        }
        close(file)
        return rename(temporary, path) == 0 ? nil : errno
    }
}
