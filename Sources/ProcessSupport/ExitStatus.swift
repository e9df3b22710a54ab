/// The exit status of a process, for systemd and scripts (sysexits.h where it has a number).
public enum ExitStatus: Int32, Sendable {
    /// A failure that is not a setting.
    case failure = 1
    /// EX_CONFIG: starting again without a change is useless.
    case configuration = 78
    /// EX_TEMPFAIL: starting again later may help.
    case temporaryFailure = 75
}
