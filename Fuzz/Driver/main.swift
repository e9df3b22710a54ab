import CLibFuzzer
import Glibc

/// The target, by `FUZZ_TARGET`: all arguments belong to libFuzzer, also those of processes that it starts.
enum Chosen {
    static let target: FuzzTarget = {
        if let name = getenv("FUZZ_TARGET"), let target = FuzzTarget(rawValue: String(cString: name)) { return target }
        print("FUZZ_TARGET is one of \(FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))")
        exit(64)
    }()
}

/// Called by libFuzzer with each input. A broken condition ends the process, and libFuzzer keeps the input.
func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    do {
        try Chosen.target.check(Array(UnsafeBufferPointer(start: start, count: count)))
        return 0
    } catch {
        print("\(Chosen.target): \(error)")
        fflush(nil)
        abort()
    }
}

_ = Chosen.target
var count = CommandLine.argc
var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
exit(LLVMFuzzerRunDriver(&count, &arguments, fuzzOne))
