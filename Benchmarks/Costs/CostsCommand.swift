import Glibc

/// Repeats one piece of work: `scripts/check-costs` counts its instructions and allocations.
///
/// Counts do not depend on other work of the machine, so they can be compared with a limit at every change.
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
