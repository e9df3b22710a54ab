/// The version of both programs; shown by `--version`, HELLO and STATUS.
public enum Version {
    /// A semantic version.
    public static let current = "0.1.0"
}
