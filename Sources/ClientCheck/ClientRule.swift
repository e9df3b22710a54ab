/// A rule for clients, and the script that shows whether the client follows it.
package struct ClientRule: Sendable {
    /// A trait that a client must have for the check to apply.
    package enum Need: String, Sendable, Hashable {
        case waiting = "it does not ask with WAIT"
        case keptValues = "it keeps no values"
        case sharedMemory = "it does not read the value arena"
        case pushes = "it does not keep values by pushes alone"
    }

    /// Lower case with dashes.
    package var name: String
    /// The rule, in one sentence.
    package var rule: String
    var need: Need?
    /// The check measures times: the rule is broken only if repeated attempts break it.
    var isTimed = false
    var play: @Sendable (CheckStage) async throws -> Void

    init(
        _ name: String, _ rule: String, need: Need? = nil, isTimed: Bool = false,
        play: @escaping @Sendable (CheckStage) async throws -> Void
    ) {
        self.name = name
        self.rule = rule
        self.need = need
        self.isTimed = isTimed
        self.play = play
    }

    func concerns(_ traits: ClientTraits) -> Bool {
        switch need {
        case nil: true
        case .waiting: traits.waits
        case .keptValues: traits.keepsValues
        case .sharedMemory: traits.readsArena
        case .pushes: traits.isToldByPushes
        }
    }

    package static let all = loading + waiting + keeping + sharing + absence + writing
}
