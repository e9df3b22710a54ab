/// One rule for clients, and the play that shows whether it is kept.
package struct ClientRule: Sendable {
    /// What a client must have to be concerned.
    package enum Need: String, Sendable, Hashable {
        case waiting = "it does not ask with WAIT"
        case keptValues = "it keeps no values"
        case pushes = "it does not keep values by pushes alone"
    }

    /// Lower case with dashes.
    package var name: String
    /// The rule, in one sentence.
    package var rule: String
    var need: Need?
    /// It measures times: it is broken only if it is broken again and again.
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
        case .pushes: traits.isToldByPushes
        }
    }

    package static let all = loading + waiting + keeping + absence + writing
}
