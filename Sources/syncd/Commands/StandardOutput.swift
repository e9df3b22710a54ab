import ArgumentParser
import Glibc
import ProcessSupport

/// The output of the commands.
enum StandardOutput {
    /// Writes the complete text. If that fails the command ends with ``ExitCode/outputFailed``: a partial output in a
    /// file must not be taken for the whole.
    static func write(_ text: String) throws(ExitCode) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest.removeFirst(count)
            } else if errno == EAGAIN {
                var descriptor = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
                poll(&descriptor, 1, -1)
            } else if errno != EINTR {
                // A reader that has closed the pipe needs no message.
                if errno != EPIPE {
                    StandardError.write("syncd: the output cannot be written: \(String(cString: strerror(errno)))\n")
                }
                throw .outputFailed
            }
        }
    }
}
