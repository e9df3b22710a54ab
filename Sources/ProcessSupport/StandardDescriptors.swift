import Glibc

/// Standard input, output and error.
public enum StandardDescriptors {
    /// Opens /dev/null in place of each that is closed: else the next socket or file gets its number, and what is meant
    /// for the log is written there. To standard output nothing can be written then either, as if it were closed: that
    /// it is lost must be noticed. To be called before anything else is opened.
    public static func fill() {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
            // The lowest free number is the one that is missing.
            _ = open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR)
        }
    }
}
