//! The rules: what each says, which function keeps it, and in which small world it is needed.

use super::steps::Config;

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    SignalBeforeStop,
    ReportedIsPassive,
    NoWayBack,
    RequestOverLockSession,
    AnswerUnderLock,
    LocksOnAllNodes,
    RowOnEveryNode,
    RequestIsRemembered,
    JudgedAnewAfterMark,
    FailedRollbackStaysOpen,
    AbandonSecuresTheHost,
    HostFirstAtPromote,
    HostFirstAtResume,
    HostFirstWithoutReport,
    FarEndsAreEnded,
    SignalThenLook,
    LockOfTheHost,
    NodeStartIsJudged,
    NodeStartHoldsLocks,
}

/// Which rules hold.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    without: Option<Rule>,
}

impl Rules {
    pub const ALL: Self = Self { without: None };

    /// All but this one.
    pub fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }

    pub fn keep(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

/// A rule with what is to be known of it.
pub struct Entry {
    pub rule: Rule,
    pub says: &'static str,
    /// Where it is kept, below `src`.
    pub kept_by: &'static str,
    /// There it makes the difference.
    pub needed_in: Config,
}

const SWITCHOVER: Config = Config { commands: Some(1), switchover_on_b: true, ..Config::QUIET };
const RESUMED: Config = Config { commands: Some(2), commands_are_killed: true, ..SWITCHOVER };
const THEN_PROMOTE: Config = Config { commands: Some(2), promote_on_c: true, ..SWITCHOVER };
const WITHOUT_SSH: Config = Config { no_ssh_from_c: true, ..THEN_PROMOTE };
const OVERRIDDEN: Config = Config { commands_are_killed: true, rows_are_overridden: true, ..THEN_PROMOTE };
const TWO_PROMOTE: Config =
    Config { commands: Some(2), promote_on_b: true, promote_on_c: true, crashes: 1, ..Config::QUIET };
const START_AND_PROMOTE: Config = Config {
    commands: Some(2),
    promote_on_c: true,
    node_start: true,
    no_ssh_from_c: true,
    crashes: 1,
    ..Config::QUIET
};

/// All rules.
pub const RULES: [Entry; 19] = [
    Entry {
        rule: Rule::SignalBeforeStop,
        says: "standby.signal is on the disk of the old primary before that is asked to stop: a start results in a standby",
        kept_by: "plan/switchover/steps.rs: SwitchoverSteps::standby_on_disk, SwitchoverSteps::change",
        needed_in: Config { supervisor: true, ..SWITCHOVER },
    },
    Entry {
        rule: Rule::ReportedIsPassive,
        says: "a far end that has said that its server is shut down starts nothing by itself",
        kept_by: "commands/far_end.rs: Served::would_go_back",
        needed_in: SWITCHOVER,
    },
    Entry {
        rule: Rule::NoWayBack,
        says: "after the mark of the point of no return nothing leads back",
        kept_by: "operation/run.rs: Run::halted",
        // Where others see the request they would refuse to go back.
        needed_in: Config { requests_are_hidden: true, ..SWITCHOVER },
    },
    Entry {
        rule: Rule::RequestOverLockSession,
        says: "the promotion is requested over the session that holds the lock of that server, or not at all",
        kept_by: "operation/live/final_check.rs: Live::holder; operation/live/roles.rs: Live::promote",
        needed_in: Config { sessions_end: true, ..TWO_PROMOTE },
    },
    Entry {
        rule: Rule::AnswerUnderLock,
        says: "what a node says counts only under its lock: one that was lost, or never had, is taken before it is asked",
        kept_by: "operation/live/final_check.rs: Live::query_node, Live::relock; observe/under_locks.rs: relock_node",
        needed_in: Config { sql_fails: true, ..TWO_PROMOTE },
    },
    Entry {
        rule: Rule::LocksOnAllNodes,
        says: "a command that changes roles holds the lock of every node that it reaches, or changes nothing",
        kept_by: "observe/under_locks.rs: lock_cluster_over; registry/lock.rs: acquire",
        needed_in: TWO_PROMOTE,
    },
    Entry {
        rule: Rule::RowOnEveryNode,
        says: "an operation is announced before its first effect, and one that is open elsewhere refuses another one",
        kept_by: "plan/parts/announce.rs: record, received, checks; observe/open_operations.rs: other_operations",
        needed_in: WITHOUT_SSH,
    },
    Entry {
        rule: Rule::RequestIsRemembered,
        says: "a requested promotion counts as one that has happened, until it has or its server is down",
        kept_by: "plan/promote/other_primary.rs: requested_elsewhere; assess/start/mod.rs: of_a_node; \
                  operation/abandon.rs: refuse_while_requested",
        needed_in: OVERRIDDEN,
    },
    Entry {
        rule: Rule::JudgedAnewAfterMark,
        says: "what is resumed after the mark is judged as a promotion of today, and closed if another one has come since",
        kept_by: "operation/course.rs: course; operation/promotion.rs: judge_anew",
        needed_in: Config { commands: Some(3), ..OVERRIDDEN },
    },
    Entry {
        rule: Rule::FailedRollbackStaysOpen,
        says: "an operation stays open as long as the result of its request to start the old primary is unknown",
        kept_by: "operation/run.rs: Run::operation (BackFailed is not the end of a journal)",
        needed_in: WITHOUT_SSH,
    },
    Entry {
        rule: Rule::AbandonSecuresTheHost,
        says: "abandon ends the far ends of the old primary, and lets it come back as a standby only, before it closes anything",
        kept_by: "operation/abandon.rs: abandoned_ends",
        needed_in: Config {
            commands: Some(3),
            commands_are_killed: true,
            far_ends_are_killed: true,
            ..WITHOUT_SSH
        },
    },
    Entry {
        rule: Rule::HostFirstAtPromote,
        says: "before standby promote the host of the old primary is secured, where ssh leads to it",
        kept_by: "operation/old_primary_host.rs: Hosts::inspect, Hosts::hold; plan/promote/steps.rs: keep_down",
        needed_in: OVERRIDDEN,
    },
    Entry {
        rule: Rule::HostFirstAtResume,
        says: "so it is before an operation that is resumed goes on towards a promotion",
        kept_by: "operation/resume.rs: secure_former; operation/promotion.rs: judge_anew",
        needed_in: Config { commands: Some(2), promote_on_c: true, ..RESUMED },
    },
    Entry {
        rule: Rule::HostFirstWithoutReport,
        says: "so it is in a switchover whose far end has not reported that the server is shut down",
        kept_by: "far_end/remote.rs: Remote::confirm, Remote::take_over",
        needed_in: SWITCHOVER,
    },
    Entry {
        rule: Rule::FarEndsAreEnded,
        says: "to secure the host, every other far end there is ended with SIGKILL",
        kept_by: "far_end/secure.rs: end_other_far_ends",
        needed_in: SWITCHOVER,
    },
    Entry {
        rule: Rule::SignalThenLook,
        says: "then standby.signal is written, and only then it is looked whether the server runs",
        kept_by: "commands/far_end/secure.rs: Served::secure; operation/live/keep_down.rs: keep_down",
        needed_in: Config { sql_fails: true, ..RESUMED },
    },
    Entry {
        rule: Rule::LockOfTheHost,
        says: "a command that starts or secures the server of a host holds the lock of its node there",
        kept_by: "site/state_directory.rs: lock; commands/far_end.rs: Served::take_lock",
        needed_in: RESUMED,
    },
    Entry {
        rule: Rule::NodeStartIsJudged,
        says: "node start asks whether another node is the primary, or is to become one",
        kept_by: "operation/start_permission.rs: to_start; assess/start/decide.rs: decide",
        needed_in: START_AND_PROMOTE,
    },
    Entry {
        rule: Rule::NodeStartHoldsLocks,
        says: "node start holds the locks of all nodes that answer, from its look until it has looked once more",
        kept_by: "operation/start_permission.rs: to_start; operation/carry_out.rs: carry_out",
        needed_in: START_AND_PROMOTE,
    },
];
