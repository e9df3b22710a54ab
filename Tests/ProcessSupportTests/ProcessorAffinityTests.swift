import ProcessSupport
import Testing

@testable import ProcessSupport

@Suite struct ProcessorAffinityTests {
    @Test func `one core is named`() {
        #expect(
            ProcessorAffinity.onlyCore(status: "Name:\tx\nCpus_allowed:\t8\nCpus_allowed_list:\t3\nMems:\t0\n") == 3)
    }

    @Test(arguments: ["0-1", "0,2", "", "x"])
    func `several are not`(_ list: String) {
        #expect(ProcessorAffinity.onlyCore(status: "Cpus_allowed_list:\t\(list)\n") == nil)
    }

    @Test func `a status without them names none`() {
        #expect(ProcessorAffinity.onlyCore(status: "Name:\tx\n") == nil)
    }
}
