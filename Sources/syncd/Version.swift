/// The version of both programs; shown by `--version`, HELLO and STATUS.
enum Version {
    static let current = "0.1.0"
}
