import DequeModule
import IPCWire
import NIOCore

extension ConnectionStateMachine {
    /// The unanswered requests of an open connection.
    struct Exchange {
        /// The receiver of the next reply.
        enum Asker {
            case greeting
            case tracking
            case subscriptions(left: Int)
            case caller(ReplyKind, Waiter)
        }

        private struct Question {
            var asker: Asker
            var bytes: Int
            var deadline: BootTime
        }

        private struct Ticket {
            var waiter: Waiter
            var deadline: BootTime
        }

        private let settings: ConnectionSettings
        private var questions: Deque<Question> = []
        private var pendingBytes = 0
        private var tickets: [UInt64: Ticket] = [:]
        /// Outcomes whose tickets have not arrived: a ticket is a reply and waits for the replies before it, a push
        /// waits for nothing.
        private var early: [UInt64: FetchOutcome] = [:]
        /// Time of the last sign of life from syncd: the connection, or a heartbeat.
        private var lastSign: BootTime
        /// Whether heartbeats are pushed.
        private var isTracking: Bool

        init(settings: ConnectionSettings, now: BootTime) {
            self.settings = settings
            self.lastSign = now
            isTracking = settings.isTracking
            append(.greeting, bytes: 0, now: now)
            if settings.isTracking { append(.tracking, bytes: 0, now: now) }
            if !settings.channels.isEmpty {
                append(.subscriptions(left: settings.channels.count), bytes: 0, now: now)
            }
        }

        /// All waiters: first those of unanswered requests, in order; then those with a ticket, in the order of their
        /// tickets.
        var waiters: [Waiter] {
            let asking = questions.compactMap { question -> Waiter? in
                guard case .caller(_, let waiter) = question.asker else { return nil }
                return waiter
            }
            return asking + tickets.sorted { $0.key < $1.key }.map(\.value.waiter)
        }

        private var unansweredFetches: Int {
            questions.count { if case .caller(.fetch, _) = $0.asker { true } else { false } }
        }

        func hasRoom(for kind: ReplyKind, cost: RequestCost) -> Bool {
            let limit = cost.isUrgent ? settings.maximumPending : settings.maximumPendingReads
            guard questions.count < limit else { return false }
            if case .fetch = kind, tickets.count >= settings.maximumTickets { return false }
            return cost.isUrgent || questions.isEmpty || pendingBytes + cost.bytes <= settings.maximumPendingBytes
        }

        mutating func append(_ asker: Asker, bytes: Int, now: BootTime) {
            questions.append(Question(asker: asker, bytes: bytes, deadline: now + settings.replyNanoseconds))
            pendingBytes += bytes
        }

        mutating func received(_ value: RESPValue, now: BootTime) -> ReceiveAction {
            if case .push = value { return pushed(value, now: now) }
            guard let question = questions.popFirst() else { return .close(.unexpectedReply) }
            pendingBytes -= question.bytes
            switch question.asker {
            case .greeting:
                if case .error = value { return .close(.refused) }
                guard let greeting = try? Greeting(value) else { return .close(.malformed) }
                lastSign = now
                return .becomeReady(greeting)
            case .tracking:
                return value.isOK ? .nothing : .close(.refused)
            case .subscriptions:
                // Confirmations are pushes; the only reply is an error.
                return .close(.refused)
            case .caller(.confirmations, let waiter), .caller(.reply, let waiter):
                return .resume(waiter, value)
            case .caller(.fetch(let wait), let waiter):
                return fetched(value, waiter: waiter, wait: wait, now: now)
            }
        }

        private mutating func fetched(
            _ value: RESPValue, waiter: Waiter, wait: UInt64, now: BootTime
        ) -> ReceiveAction {
            guard let reply = try? FetchReply(value) else {
                giveBack(waiter)
                return .close(.malformed)
            }
            switch reply {
            case .outcome(let outcome): return .resumeFetch(waiter, outcome)
            // Any error is a miss: the database has the value.
            case .error: return .resumeFetch(waiter, .miss)
            case .wait(let ticket):
                if let outcome = early.removeValue(forKey: ticket) { return .resumeFetch(waiter, outcome) }
                guard tickets[ticket] == nil else {
                    giveBack(waiter)
                    return .close(.malformed)
                }
                tickets[ticket] = Ticket(waiter: waiter, deadline: now + wait + settings.replyNanoseconds)
                return .nothing
            }
        }

        /// Puts a waiter back whose reply can't be read, so that the closing of the connection reaches it, too.
        private mutating func giveBack(_ waiter: Waiter) {
            questions.prepend(Question(asker: .caller(.reply, waiter), bytes: 0, deadline: .max))
        }

        private mutating func pushed(_ value: RESPValue, now: BootTime) -> ReceiveAction {
            if Push.isOfUnknownKind(value) { return .nothing }
            let push: Push
            do {
                guard let decoded = try Push.decode(value) else { return confirmed() }
                push = decoded
            } catch {
                return .close(.malformed)
            }
            switch push {
            case .heartbeat: lastSign = now
            case .fetched(let ticket, let outcome):
                if let known = tickets.removeValue(forKey: ticket) { return .resumeFetch(known.waiter, outcome) }
                guard early[ticket] == nil, early.count < unansweredFetches else { return .close(.unexpectedReply) }
                early[ticket] = outcome
                return .nothing
            case .invalidate, .epoch, .message, .patternMessage: break
            }
            return .deliver(push)
        }

        private mutating func confirmed() -> ReceiveAction {
            guard var question = questions.popFirst() else { return .close(.unexpectedReply) }
            switch question.asker {
            case .subscriptions(let left):
                guard left > 1 else { return .nothing }
                question.asker = .subscriptions(left: left - 1)
            case .caller(.confirmations(let left), let waiter):
                guard left > 1 else {
                    pendingBytes -= question.bytes
                    return .resumeConfirmed(waiter)
                }
                question.asker = .caller(.confirmations(left - 1), waiter)
            case .greeting, .tracking, .caller:
                questions.prepend(question)
                return .close(.unexpectedReply)
            }
            questions.prepend(question)
            return .nothing
        }

        mutating func setTracking(_ isOn: Bool, now: BootTime) {
            isTracking = isOn
            lastSign = max(lastSign, now)
        }

        /// Whether anything is overdue, and if not, when that could be.
        ///
        /// Without pushed heartbeats, those in the table count for requests that wait for a ticket. Nothing else waits
        /// longer than a reply may take. An idle connection needs no sign of life: the table shows by itself whether it may
        /// be trusted.
        func check(now: BootTime, tableHeartbeat: BootTime?) -> DeadlineAction {
            var next = BootTime.max
            if let first = questions.first { next = first.deadline }
            for ticket in tickets.values { next = min(next, ticket.deadline) }
            if next <= now { return .close(.overdue) }
            if settings.isTracking {
                // A heartbeat from the future is of another clock and shows nothing.
                let sign = max(lastSign, tableHeartbeat.flatMap { $0 <= now ? $0 : nil } ?? 0)
                let silence = sign + TrustTiming.silenceNanoseconds
                if silence > now {
                    // Also if nobody waits yet: a ticket may come at any time.
                    next = min(next, silence)
                } else if isTracking || !tickets.isEmpty {
                    return .close(.silent)
                }
            }
            return .wait(until: min(next, now + settings.replyNanoseconds))
        }
    }
}

extension RESPValue {
    /// Whether this is the reply `OK`.
    var isOK: Bool {
        guard case .simpleString(let text) = self else { return false }
        return text.readableBytesView.elementsEqual("OK".utf8)
    }
}
