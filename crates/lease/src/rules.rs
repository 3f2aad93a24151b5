//! The rules that can be broken for a test, each with what goes wrong without it.

/// A rule of the protocol. The model checker breaks each and has to find two primaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// One and the same set of sessions has been held for the grace and is confirmed at its end. (A belief about one voter that is out of
    /// date and a fresh vote of another do not make a majority.)
    OneSetHasWaited,
    /// A heartbeat counts from when it was sent, not from when its answer came.
    CountsFromTheSending,
    /// A lease that has ended has ended for good, also if the server was down at that moment.
    TheEndIsFinal,
    /// A note is for one heir, and for one operation that the heir has agreed to.
    OnlyOwnNotes,
    /// Notes end before a candidate that waits for the grace could be done.
    NotesEnd,
    /// After the unlock only the heir's refusal brings the role back.
    BackOnlyByRefusal,
    /// Only the incarnation that has agreed may refuse.
    OnlyTheReadyRefuses,
    /// Who has refused a hand-over never uses its notes.
    RefusesForGood,
    /// `standby.signal` is on disk before anybody is told that the server is down for good.
    SignalFirst,
    /// The votes were taken before the fact that takes the place of the grace, and are confirmed after it.
    VotesFrameTheFact,
    /// Without proof a candidate waits for the grace.
    OnlyByProof,
    /// Proofs are obtained after the votes.
    ProofsAfterVotes,
    /// Every other data node is proven off or stands aside, not only the last leader.
    AllOthersAreOff,
    /// Who stands aside gives up what an earlier hand-over has promised to it.
    AsideGivesUp,
    /// The leader stops fencing itself only once every data node is barred.
    AllAreBarred,
    /// A node that is barred ends its candidacy first.
    HoldEndsCandidacy,
    /// Candidates are cleared only once a leader is armed, or every data node has left the pause.
    ClearedByTheArmed,
    /// What was confirmed at the beginning of a pause does not end it.
    EndedByEndings,
    /// Requests of earlier pauses are refused.
    EpochsGrow,
    /// A pause is issued by the leader that is armed, and completed by the same.
    OnlyTheIssuer,
    /// A pause is not left while a command is at work on the server.
    CommandsFirst,
    /// A pause does not begin, and is not completed, while a promotion is on its way.
    NoPauseWhilePromoting,
    /// A node that has lost its state is readmitted only by an armed leader.
    ReadmittedByTheLeader,
    /// That leader raises its epoch above all others before.
    ReadmittedAboveAll,
    /// Copies of the members are ordered by the leader's timeline first.
    VersionsHaveTimelines,
    /// A new leader writes the members under its own name before it changes them.
    OwnRowFirst,
    /// The next change waits until a majority of the set before has the last one.
    ChangesAreCommitted,
    /// A candidate goes by the newest copy of the members that its voters have.
    NewestMembersCount,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 28] = [
        Self::OneSetHasWaited,
        Self::CountsFromTheSending,
        Self::TheEndIsFinal,
        Self::OnlyOwnNotes,
        Self::NotesEnd,
        Self::BackOnlyByRefusal,
        Self::OnlyTheReadyRefuses,
        Self::RefusesForGood,
        Self::SignalFirst,
        Self::VotesFrameTheFact,
        Self::OnlyByProof,
        Self::ProofsAfterVotes,
        Self::AllOthersAreOff,
        Self::AsideGivesUp,
        Self::AllAreBarred,
        Self::HoldEndsCandidacy,
        Self::ClearedByTheArmed,
        Self::EndedByEndings,
        Self::EpochsGrow,
        Self::OnlyTheIssuer,
        Self::CommandsFirst,
        Self::NoPauseWhilePromoting,
        Self::ReadmittedByTheLeader,
        Self::ReadmittedAboveAll,
        Self::VersionsHaveTimelines,
        Self::OwnRowFirst,
        Self::ChangesAreCommitted,
        Self::NewestMembersCount,
    ];
}
