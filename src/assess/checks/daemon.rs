//! The daemon of a node: whether it runs and acts, how firm the lease is, and what would keep the fencer or the sessions from being in time.

use pgbaton_lease::Flag;

use super::{CheckStatus, Finding, NodeChecks, count};
use crate::assess::daemons::{ClusterDaemons, RUNNING, STOPPED};
use crate::error::Text;
use crate::facts::check_name::CheckName;
use crate::registry::NodeType;

const NAME: CheckName = CheckName::Daemon;

fn warning(text: impl Into<Text>) -> Finding {
    Finding::new(NAME, CheckStatus::Warning, text)
}

impl NodeChecks<'_> {
    /// Whether the daemon runs, is not paused, and is part of a lease that holds.
    pub(crate) fn daemon(&self) -> Finding {
        let daemons = ClusterDaemons::of(self.evidence.facts, self.evidence.view.automatic);
        let id = self.node.row.node_id;
        let state = daemons.state(id);
        if !daemons.is_used() {
            let text = if state == RUNNING { "running; failover is manual" } else { "not used" };
            return Finding::ok(NAME, text);
        }
        if self.node.row.node_type == NodeType::Witness {
            let text = if state == RUNNING { "running" } else { "not needed on a witness" };
            return Finding::ok(NAME, text);
        }
        match state {
            RUNNING => {}
            STOPPED => return Finding::new(NAME, CheckStatus::Critical, "not running"),
            _ => return Finding::unknown(NAME, "what the server shows of daemons could not be read"),
        }
        let mut problems = self.of_lease(&daemons);
        problems.extend(self.of_pause(&daemons));
        problems.extend(self.of_fencer(&daemons));
        problems.extend(self.of_connections());
        let votes = count(daemons.votes());
        // Of equally bad ones the first.
        let worst = problems.iter().map(|problem| problem.status).max().unwrap_or_default();
        let Some(at) = problems.iter().position(|problem| problem.status == worst) else {
            return Finding::ok(NAME, self.fine(&daemons)).value(votes, "votes");
        };
        let mut found = problems.remove(at);
        for other in problems {
            let said = found.text.detail.take().into_iter().chain([crate::error::sentence(&other.message)]);
            found.text.detail = Some(said.collect::<Vec<_>>().join(" "));
            let advised: Vec<String> = found.text.hint.take().into_iter().chain(other.text.hint).collect();
            found.text.hint = Some(advised.join(" ")).filter(|hint| !hint.is_empty());
        }
        found.value(votes, "votes")
    }

    /// What is said where nothing is wrong.
    fn fine(&self, daemons: &ClusterDaemons<'_>) -> String {
        let id = self.node.row.node_id;
        let votes = format!("{} of {} votes", daemons.votes(), daemons.voters());
        let role = daemons.role(id).unwrap_or("no role");
        match daemons.leader() {
            Some(leader) if leader.node_id == id => {
                let left = daemons.info(id).and_then(|info| info.lease_left);
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a lease")]
                let left = left.map(|left| format!(", {:.1} s of the lease left", left as f64 / 1000.0));
                format!("running, {role}, {votes}{}", left.unwrap_or_default())
            }
            Some(leader) => format!("running, {role}; \"{}\" leads with {votes}", leader.node_name),
            None => format!("running, {role}"),
        }
    }

    fn of_lease(&self, daemons: &ClusterDaemons<'_>) -> Vec<Finding> {
        if !daemons.is_active() {
            return Vec::new();
        }
        let (votes, voters, majority) = (daemons.votes(), daemons.voters(), daemons.majority());
        let hint = "\"pgbaton service status\" shows the daemons, \"pgbaton cluster show\" the nodes.";
        let found = match daemons.leader() {
            None => Finding::new(NAME, CheckStatus::Critical, "no daemon leads")
                .detail("A failover is in progress, or no candidate gets a majority of the votes."),
            Some(leader) if votes < voters => {
                let text =
                    format!("\"{}\" is seen to lead with {votes} of {voters} votes only", leader.node_name);
                let status = if votes < majority { CheckStatus::Critical } else { CheckStatus::Warning };
                Finding::new(NAME, status, text)
                    .detail(format!("It needs {majority}: with fewer its server is stopped."))
            }
            Some(_) => return Vec::new(),
        };
        vec![found.hint(hint)]
    }

    fn of_pause(&self, daemons: &ClusterDaemons<'_>) -> Option<Finding> {
        let own = daemons.own(self.node.row.node_id)?;
        Some(match own.flag {
            Flag::Active => return None,
            Flag::Full if own.pause == (0, 0) => {
                warning("running, but automatic failover has not begun").hint(
                    "It begins once the daemon of the primary runs and holds a majority of at least three votes.",
                )
            }
            Flag::Full => {
                warning("running, but paused").hint("To end the pause: \"pgbaton service unpause\".")
            }
            Flag::Held | Flag::Ending => {
                warning("a pause has been begun or ended, but not on all nodes")
                    .hint("Run \"pgbaton service pause\" or \"pgbaton service unpause\".")
            }
            Flag::New => warning("running, but it has no state and does not stand for election")
                .detail("The leader readmits it within seconds.")
                .hint("If it stays so, see the log of the daemon."),
        })
    }

    /// What the fencer could not get. That it is not armed is an issue of its own.
    fn of_fencer(&self, daemons: &ClusterDaemons<'_>) -> Option<Finding> {
        let lacks = daemons.info(self.node.row.node_id)?.fencer.lacks();
        if lacks.is_empty() {
            return None;
        }
        Some(warning(format!("the fencer could not get {}", lacks.join(", ")))
            .detail("It may be late when it has to stop the server.")
            .hint("Run the daemon by its systemd unit, which sets LimitMEMLOCK, LimitRTPRIO and OOMScoreAdjust, as the user that runs the server."))
    }

    /// Whether the daemons can still connect when applications have taken every connection that they can get.
    fn of_connections(&self) -> Option<Finding> {
        let connections = self.more?.connections;
        let nodes = self.evidence.facts.nodes.iter();
        let daemons = nodes.filter(|node| node.row.node_type != NodeType::Witness).count();
        let (left, needed) = (connections.left(), i64::try_from(daemons).unwrap_or(i64::MAX));
        if left >= needed {
            return None;
        }
        let restart = "and restart the server in a maintenance window.";
        let hint = if connections.is_superuser {
            format!("Set superuser_reserved_connections to {needed} or more, {restart}")
        } else if let Some(reserved) = connections.reserved {
            let grant = (!connections.may_use_reserved).then(|| {
                format!("On the primary run: GRANT pg_use_reserved_connections TO {};", self.role())
            });
            let set = (reserved < needed)
                .then(|| format!("Set reserved_connections to {needed} or more, {restart}"));
            grant.into_iter().chain(set).collect::<Vec<_>>().join(" ")
        } else {
            format!(
                "Give the roles of the applications a CONNECTION LIMIT each, so that together they leave {needed} of max_connections free."
            )
        };
        Some(warning(format!("{left} connections are kept free for {needed} daemons"))
            .detail("When applications use all others, a daemon that has to connect anew is refused, and the vote of this server is lost.")
            .hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use pgbaton_fencer::protocol::Shortcomings;
    use pgbaton_lease::mailbox::Role;

    use super::super::examples::Example;
    use super::*;
    use crate::assess::daemons::tests::with_daemons;
    use crate::facts::check_facts::Connections;
    use crate::facts::daemon_info::Fencer;
    use crate::facts::daemons::Daemons;

    #[track_caller]
    fn one(id: i32, change: impl FnOnce(&mut Example)) -> Finding {
        Example::one(NAME, id, |example| {
            with_daemons(&mut example.facts, 1);
            example.automatic = true;
            change(example);
        })
    }

    fn shown(example: &mut Example, at: usize) -> &mut Daemons {
        example.facts.nodes[at].server.as_mut().unwrap().daemons.as_mut().unwrap()
    }

    fn flag(example: &mut Example, flag: Flag, pause: (u32, u32)) {
        for at in 0..3 {
            for status in &mut shown(example, at).statuses {
                (status.flag, status.pause) = (flag, pause);
            }
        }
    }

    #[test]
    fn where_there_is_no_daemon_it_depends_on_the_configuration() {
        let unused = Example::one(NAME, 1, |_| {});
        assert_eq!((unused.status, unused.message.as_str()), (CheckStatus::Ok, "not used"));
        let missing = Example::one(NAME, 1, |example| example.automatic = true);
        assert_eq!((missing.status, missing.message.as_str()), (CheckStatus::Critical, "not running"));
        assert!(missing.hint.as_ref().unwrap().contains("daemon run"), "{missing:?}");
        // One node without a daemon, by the others that have one.
        let missing = Example::one(NAME, 2, |example| {
            with_daemons(&mut example.facts, 1);
            *shown(example, 1) = Daemons::default();
        });
        assert_eq!(missing.status, CheckStatus::Critical, "{missing:?}");
        let manual = Example::one(NAME, 1, |example| {
            with_daemons(&mut example.facts, 1);
            flag(example, Flag::Full, (0, 0));
        });
        assert_eq!(
            (manual.status, manual.message.as_str()),
            (CheckStatus::Ok, "running; failover is manual")
        );
        // What could not be read is not known to be missing.
        let unread = one(2, |example| {
            (0..3).for_each(|at| example.facts.nodes[at].server.as_mut().unwrap().daemons = None);
        });
        assert_eq!(unread.status, CheckStatus::Unknown, "{unread:?}");
    }

    #[test]
    fn what_is_well_names_role_votes_and_time() {
        let leader = one(1, |_| {});
        assert_eq!(leader.status, CheckStatus::Ok, "{leader:?}");
        assert_eq!(leader.message, "running, leader, 3 of 3 votes, 1.8 s of the lease left");
        let follower = one(2, |_| {});
        assert_eq!(follower.message, "running, follower; \"n1\" leads with 3 of 3 votes");
        assert_eq!(follower.status, CheckStatus::Ok);
    }

    #[test]
    fn votes_decide_how_bad_it_is() {
        let lose = |example: &mut Example, at: usize| shown(example, at).holder = None;
        let two = one(2, |example| lose(example, 2));
        assert_eq!(two.status, CheckStatus::Warning, "{two:?}");
        assert!(two.message.contains("2 of 3 votes"), "{two:?}");
        let only = one(2, |example| {
            lose(example, 1);
            lose(example, 2);
        });
        assert_eq!(only.status, CheckStatus::Critical, "{only:?}");
        let none = one(2, |example| {
            for at in 0..3 {
                shown(example, at).statuses.retain(|status| status.role != Role::Leader);
            }
        });
        assert_eq!((none.status, none.message.as_str()), (CheckStatus::Critical, "no daemon leads"));
    }

    #[test]
    fn a_pause_is_a_warning_and_so_is_what_has_not_begun() {
        let paused = one(1, |example| flag(example, Flag::Full, (1, 2)));
        assert_eq!((paused.status, paused.message.as_str()), (CheckStatus::Warning, "running, but paused"));
        assert!(paused.hint.as_ref().unwrap().contains("service unpause"), "{paused:?}");
        let early = one(1, |example| flag(example, Flag::Full, (0, 0)));
        assert_eq!(early.status, CheckStatus::Warning);
        assert!(early.message.contains("has not begun"), "{early:?}");
        let new = one(2, |example| {
            shown(example, 1)
                .statuses
                .iter_mut()
                .filter(|one| one.node == 2)
                .for_each(|one| one.flag = Flag::New);
        });
        assert_eq!(new.status, CheckStatus::Warning, "{new:?}");
    }

    #[test]
    fn a_fencer_that_is_not_armed_is_critical_and_what_it_lacks_a_warning() {
        let with = |fencer: Fencer| one(1, |example| shown(example, 0).infos[0].fencer = fencer);
        let lacks = Shortcomings::MEMORY.and(Shortcomings::PRIORITY);
        let lacking = with(Fencer::Fine(lacks));
        assert_eq!(lacking.status, CheckStatus::Warning);
        assert_eq!(lacking.message, "the fencer could not get locked memory, a high priority");
        for fencer in [Fencer::NotArmed(lacks), Fencer::NotArmed(Shortcomings::default()), Fencer::Silent] {
            let found = with(fencer);
            assert_eq!(found.status, CheckStatus::Critical, "{found:?}");
            assert!(found.message.contains("the fencer of node \"n1\""), "{found:?}");
        }
    }

    #[test]
    fn daemons_need_connections_that_applications_cannot_take() {
        let usual = Connections { max: 100, for_superusers: 3, ..Connections::default() };
        let with = |connections: Connections| one(1, |example| example.more(1).connections = connections);
        let found = with(usual);
        assert_eq!(found.status, CheckStatus::Warning);
        assert_eq!(found.message, "0 connections are kept free for 3 daemons");
        assert!(found.hint.as_ref().unwrap().contains("CONNECTION LIMIT"), "{found:?}");
        let newer = with(Connections { reserved: Some(0), ..usual });
        let hint = newer.hint.as_ref().unwrap();
        assert!(hint.contains("GRANT pg_use_reserved_connections TO \"repmgr\";"), "{hint}");
        assert!(hint.contains("Set reserved_connections to 3 or more"), "{hint}");
        let few = with(Connections { for_superusers: 2, is_superuser: true, ..usual });
        assert!(few.hint.as_ref().unwrap().contains("superuser_reserved_connections to 3"));
        for enough in [
            Connections { is_superuser: true, ..usual },
            Connections { reserved: Some(3), may_use_reserved: true, ..usual },
            Connections { others: Some(94), ..usual },
        ] {
            assert_eq!(with(enough).status, CheckStatus::Ok, "{enough:?}");
        }
        assert_eq!(with(Connections { others: Some(95), ..usual }).status, CheckStatus::Warning);
    }

    #[test]
    fn the_worst_comes_first_and_nothing_is_lost() {
        let found = one(1, |example| {
            shown(example, 0).infos[0].fencer = Fencer::Fine(Shortcomings::MEMORY);
            shown(example, 1).holder = None;
            shown(example, 2).holder = None;
        });
        assert_eq!(found.status, CheckStatus::Critical);
        assert!(found.message.contains("1 of 3 votes"), "{found:?}");
        assert!(
            found.detail.as_ref().unwrap().contains("The fencer could not get locked memory."),
            "{found:?}"
        );
    }
}
