import Testing

/// Waits for a condition that other threads or processes cause; records an issue if it doesn't come true.
///
/// - Parameters:
///   - what: the fact that is waited for.
///   - limit: how long; by default so long that only what never comes is missed, on a busy machine, too.
///   - details: what helps to understand a failure, for example the log of a process.
@discardableResult
package func eventually(
    _ what: Comment, within limit: Duration = .seconds(30), details: () -> String = { "" },
    sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async rethrows -> Bool {
    let deadline = PatientClock.now + limit
    var polls = 0
    while try await !condition() {
        guard PatientClock.now < deadline else {
            Issue.record("not within \(limit): \(what)\n\(details())", sourceLocation: sourceLocation)
            return false
        }
        polls += 1
        if polls < 100 {
            await Task.yield()
        } else {
            try? await Task.sleep(for: .milliseconds(2))
        }
    }
    return true
}
