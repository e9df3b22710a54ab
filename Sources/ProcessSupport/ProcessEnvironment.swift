// `environ` is a global variable that any code may change; no code of this program does.
#if canImport(Glibc)
    @preconcurrency import Glibc
#elseif canImport(Musl)
    @preconcurrency import Musl
#endif

/// The environment of this process.
public enum ProcessEnvironment {
    /// Names and values at this moment. Entries that are not UTF-8 or have no `=` are left out.
    public static var current: [String: String] {
        var values: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            if let text = String(validatingCString: entry), let equals = text.firstIndex(of: "=") {
                values[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            next += 1
        }
        return values
    }
}
