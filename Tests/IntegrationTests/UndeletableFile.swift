import Foundation
import TestSupport

/// Keeps a file from being deleted, by root too, until it is released: by the attribute `i` of chattr(1), or, where the
/// file system has no attributes (tmpfs), by a mount of the file onto itself.
final class UndeletableFile {
    private enum Way { case attribute, mount }

    /// `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS` and `FS_IMMUTABLE_FL` of `linux/fs.h`, which Swift cannot import.
    private static let getFlags: UInt = 0x8008_6601
    private static let setFlags: UInt = 0x4008_6602
    private static let immutable: CLong = 0x10

    /// The reason why no file can be made undeletable here; `nil`: one can.
    static let obstacle: String? = {
        do {
            let directory = try TemporaryDirectory()
            try UndeletableFile(directory.write("", to: "file")).release()
            return nil
        } catch {
            return "\(error)"
        }
    }()

    private let path: String
    private let way: Way
    private var isHeld = true

    init(_ path: String) throws {
        self.path = path
        if Self.setImmutable(true, path) {
            way = .attribute
        } else {
            let why = String(cString: strerror(errno))
            guard mount(path, path, nil, UInt(MS_BIND), nil) == 0 else {
                throw TestFailure(
                    "no file can be made undeletable here: chattr: \(why), mount: \(String(cString: strerror(errno)))")
            }
            way = .mount
        }
    }

    deinit { release() }

    func release() {
        guard isHeld else { return }
        isHeld = false
        switch way {
        case .attribute: _ = Self.setImmutable(false, path)
        case .mount: umount(path)
        }
    }

    private static func setImmutable(_ isImmutable: Bool, _ path: String) -> Bool {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var flags: CLong = 0
        guard ioctl(descriptor, getFlags, &flags) == 0 else { return false }
        flags = isImmutable ? flags | immutable : flags & ~immutable
        return ioctl(descriptor, setFlags, &flags) == 0
    }
}
