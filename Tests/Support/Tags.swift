import Testing

/// The needs of a suite. Each tag has a stage of `make test`, which runs the suites with that tag; suites
/// without a tag only compute.
extension Tag {
    /// Real servers and processes, as many as ``ProcessSlots`` allows.
    @Tag package static var servers: Self
    /// A processor for the process of `simulate`, for long.
    @Tag package static var simulation: Self
    /// The whole machine, which the suite floods or whose processors, memory or descriptors it makes scarce.
    @Tag package static var wholeMachine: Self
    /// Servers and processes that answer within fractions of a second.
    @Tag package static var preciseTiming: Self
    /// More processes than other suites with servers: browsers, several hosts, clients in many languages.
    @Tag package static var manyProcesses: Self
    /// The built package and, for most tests, a copy of this machine that is booted with it.
    @Tag package static var bootedMachine: Self
}
