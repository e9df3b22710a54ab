import Glibc

/// Does one thing so often, and nothing else: `scripts/check-costs` counts the instructions and allocations of it.
///
/// Counts do not depend on what else the machine does, so that they can be held to a limit at every change.
@main
enum CostsCommand {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let work = Work(rawValue: arguments[1]), let count = Int(arguments[2]) else {
            let names = Work.allCases.map(\.rawValue).joined(separator: "|")
            let usage = "usage: costs \(names) COUNT\n"
            write(STDERR_FILENO, usage, usage.utf8.count)
            exit(64)
        }
        work.run(count)
    }
}
