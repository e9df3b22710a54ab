import Glibc

/// Standard input, output and error.
public enum StandardDescriptors {
    /// Opens /dev/null in place of each closed one. Otherwise the next socket or file would get its number, and log
    /// lines would be written there. Standard output stays unwritable, as if it were closed: the loss of output must be
    /// noticed. Must be called before anything else is opened.
    public static func fill() {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
            // The lowest free number is the missing one.
            _ = open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR)
        }
    }
}
