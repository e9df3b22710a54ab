/// How a process ends, for systemd and scripts (sysexits.h where it has a number).
public enum ExitStatus: Int32, Sendable {
    /// Something that is nobody's setting.
    case failure = 1
    /// EX_CONFIG: starting again without a change is no use.
    case configuration = 78
    /// EX_TEMPFAIL: starting again later may help.
    case temporaryFailure = 75
}
