//! The checks of a connection, a role and of replication.

use super::{Case, CheckName, CheckStatus, Example};
use crate::assess::checks::Clock;
use crate::assess::cluster::examples::{promote, server, unavailable};
use crate::facts::cluster::Unavailable;
use crate::facts::lineage::Lineage;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::NodeType;

/// The cases of these checks.
pub(super) const CASES: &[Case] = &[
    (
        CheckName::DbConnection,
        2,
        CheckStatus::Warning,
        "connected as \"repmgr\", with the password in clear text",
        |e| {
            e.asked.get_mut(&2).unwrap().exposed_password = true;
        },
    ),
    (
        CheckName::ServerRole,
        2,
        CheckStatus::Critical,
        "node is registered as standby but running as primary",
        |e| {
            promote(&mut e.facts, 1, 2);
        },
    ),
    (CheckName::ServerRole, 1, CheckStatus::Critical, "node is primary, and 2 nodes accept writes", |e| {
        promote(&mut e.facts, 1, 2);
    }),
    (
        CheckName::ServerRole,
        1,
        CheckStatus::Critical,
        "node is registered as primary but running as standby",
        |e| {
            server(&mut e.facts, 0).in_recovery = true;
        },
    ),
    (CheckName::ServerRole, 1, CheckStatus::Critical, "node is primary, not standby", |e| {
        e.expected = Some(NodeType::Standby);
    }),
    (CheckName::ServerRole, 2, CheckStatus::Critical, "node is standby, not primary", |e| {
        e.expected = Some(NodeType::Primary);
    }),
    (CheckName::ServerRole, 1, CheckStatus::Ok, "node is primary", |e| e.expected = Some(NodeType::Primary)),
    // Another node has seen a newer one, which is gone now.
    (CheckName::ServerRole, 1, CheckStatus::Critical, "node \"n1\" accepts writes on an old timeline", |e| {
        e.expected = Some(NodeType::Primary);
        server(&mut e.facts, 1).timeline = TimelineId(2);
    }),
    // If none has, and no other node responds, it is the primary as far as is known.
    (CheckName::ServerRole, 1, CheckStatus::Ok, "node is primary", |e| {
        e.expected = Some(NodeType::Primary);
        (1..=2).for_each(|at| e.facts.nodes[at].server = Err(unavailable(Answered::Nothing)));
    }),
    (
        CheckName::ServerRole,
        1,
        CheckStatus::Critical,
        "node does not respond; its role should be primary",
        |e| {
            e.expected = Some(NodeType::Primary);
            e.facts.nodes[0].server = Err(unavailable(Answered::Silent));
        },
    ),
    (
        CheckName::ServerRole,
        2,
        CheckStatus::Warning,
        "node \"n2\" is registered as inactive but running",
        |e| {
            e.facts.nodes[1].row.active = false;
        },
    ),
    (CheckName::ReplicationLag, 1, CheckStatus::Ok, "N/A - node is primary", |_| ()),
    (CheckName::ReplicationLag, 2, CheckStatus::Warning, "400 seconds, warning threshold: 300", |e| {
        lagging(e, 400.0);
    }),
    // By a clock that is behind.
    (CheckName::ReplicationLag, 2, CheckStatus::Ok, "0 seconds", |e| lagging(e, -0.3)),
    (CheckName::ReplicationLag, 2, CheckStatus::Ok, "0 seconds", |e| lagging(e, -7.0)),
    (CheckName::ReplicationLag, 2, CheckStatus::Ok, "300 seconds", |e| lagging(e, 300.0)),
    // It is to be an hour late.
    (CheckName::ReplicationLag, 2, CheckStatus::Ok, "3700 seconds, 3600 of them meant", |e| {
        delayed(e, 3700.0);
    }),
    (CheckName::ReplicationLag, 2, CheckStatus::Ok, "500 seconds, 500 of them meant", |e| delayed(e, 500.0)),
    (
        CheckName::ReplicationLag,
        2,
        CheckStatus::Warning,
        "4000 seconds, 3600 of them meant, warning threshold: 300",
        |e| delayed(e, 4000.0),
    ),
    (CheckName::ReplicationLag, 2, CheckStatus::Critical, "600 seconds, critical threshold: 600", |e| {
        lagging(e, 600.0);
    }),
    (CheckName::ReplicationLag, 2, CheckStatus::Unknown, "unable to query replication lag", |e| {
        e.facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    }),
    (
        CheckName::Upstream,
        2,
        CheckStatus::Critical,
        "node \"n2\" (ID: 2) is not attached to expected upstream node \"n1\" (ID: 1)",
        |e| {
            server(&mut e.facts, 0).senders.remove(0);
            server(&mut e.facts, 1).receiver = None;
        },
    ),
    (
        CheckName::Upstream,
        2,
        CheckStatus::Unknown,
        "the role lacks the privilege to see the state of replication",
        |e| {
            server(&mut e.facts, 0).sees_senders = false;
        },
    ),
    (
        CheckName::Upstream,
        2,
        CheckStatus::Unknown,
        "node \"n2\" (ID: 2) has a WAL receiver, but expected upstream node \"n1\" (ID: 1) does not respond",
        |e| {
            e.facts.nodes[0].server = Err(unavailable(Answered::Nothing));
        },
    ),
    (
        CheckName::Upstream,
        2,
        CheckStatus::Critical,
        "node \"n2\" (ID: 2) is a standby but no upstream record found",
        |e| {
            e.facts.nodes[1].row.upstream_node_id = Some(9);
        },
    ),
    (
        CheckName::Upstream,
        2,
        CheckStatus::Critical,
        "node \"n2\" (ID: 2) is not attached to expected upstream node \"n1\" (ID: 1)",
        |e| {
            let moved = server(&mut e.facts, 0).senders.remove(0);
            server(&mut e.facts, 2).senders.push(moved);
        },
    ),
    (
        CheckName::Downstream,
        1,
        CheckStatus::Critical,
        "1 of 2 downstream nodes not attached; missing: n2 (ID: 2)",
        |e| {
            server(&mut e.facts, 0).senders.remove(0);
            server(&mut e.facts, 1).receiver = None;
        },
    ),
    (
        CheckName::Downstream,
        1,
        CheckStatus::Critical,
        "1 of 2 downstream nodes not attached; missing: n2 (ID: 2)",
        |e| {
            server(&mut e.facts, 0).senders[0].state = Some("startup".into());
        },
    ),
    (
        CheckName::Downstream,
        1,
        CheckStatus::Critical,
        "1 of 2 downstream nodes not attached; missing: n2 (ID: 2)",
        |e| {
            server(&mut e.facts, 0).senders[0].reply_age_s = Some(45.0);
        },
    ),
    (CheckName::Downstream, 1, CheckStatus::Ok, "2 of 2 downstream nodes attached", |e| {
        server(&mut e.facts, 0).senders[0].state = Some("catchup".into());
    }),
    (
        CheckName::Downstream,
        1,
        CheckStatus::Warning,
        "1 of 2 downstream nodes attached under another application_name: n2 (ID: 2)",
        |e| {
            server(&mut e.facts, 0).senders[0].application_name = "walreceiver".into();
        },
    ),
    (
        CheckName::Downstream,
        1,
        CheckStatus::Unknown,
        "the role lacks the privilege to see the state of replication",
        |e| {
            server(&mut e.facts, 0).sees_senders = false;
        },
    ),
    (CheckName::Downstream, 3, CheckStatus::Ok, "this node has no downstream nodes", |_| ()),
    (CheckName::DbConnection, 2, CheckStatus::Critical, "connection refused", |e| {
        e.facts.nodes[1].server = Err(unavailable(Answered::Nothing));
    }),
    (CheckName::DbConnection, 2, CheckStatus::Critical, "connection refused", |e| {
        e.facts.nodes[1].server = Err(unavailable(Answered::Spoke));
    }),
    (
        CheckName::DbConnection,
        2,
        CheckStatus::Critical,
        "invalid connection string in the node's record",
        |e| {
            e.facts.nodes[1].row.conninfo = "host='".into();
            e.facts.nodes[1].server = Err(Unavailable::invalid("x"));
        },
    ),
    (CheckName::DbConnection, 2, CheckStatus::Critical, "connection refused", |e| {
        e.facts.nodes[1].row.active = false;
        e.facts.nodes[1].server = Err(unavailable(Answered::Nothing));
    }),
    (
        CheckName::Identity,
        3,
        CheckStatus::Critical,
        "nodes \"n2\" and \"n3\" are registered with the same server",
        |e| {
            e.facts.nodes[2].server = e.facts.nodes[1].server.clone();
        },
    ),
    (CheckName::Identity, 3, CheckStatus::Critical, "node \"n3\" belongs to another cluster", |e| {
        server(&mut e.facts, 2).system_identifier = "8".into();
    }),
    (
        CheckName::ServerVersion,
        2,
        CheckStatus::Critical,
        "node \"n2\" runs PostgreSQL 14.1, the primary runs 15.20",
        |e| {
            server(&mut e.facts, 1).version = "14.1".into();
            server(&mut e.facts, 1).version_num = 140_001;
        },
    ),
    (CheckName::Timeline, 2, CheckStatus::Critical, "it has diverged from \"n1\"", |e| {
        server(&mut e.facts, 1).timeline = TimelineId(2);
    }),
    (CheckName::Timeline, 1, CheckStatus::Critical, "node \"n1\" accepts writes on an old timeline", |e| {
        server(&mut e.facts, 1).timeline = TimelineId(2);
    }),
    (
        CheckName::Timeline,
        2,
        CheckStatus::Unknown,
        "its history could not be compared with the primary's",
        |e| {
            for at in [0, 1] {
                server(&mut e.facts, at).timeline = TimelineId(2);
            }
            server(&mut e.facts, 1).reads_files = false;
        },
    ),
    // In an old cluster no node has the first segment any more.
    (CheckName::Timeline, 2, CheckStatus::Ok, "on timeline 2, streams from its upstream", |e| {
        for at in [0, 1] {
            let server = server(&mut e.facts, at);
            server.timeline = TimelineId(2);
            server.lineage = Some(Lineage {
                history: Some("1\t0/A000\tno recovery target specified\n".into()),
                ..Lineage::default()
            });
        }
    }),
    (
        CheckName::Timeline,
        2,
        CheckStatus::Unknown,
        "on timeline 1; there is no primary to compare with",
        |e| {
            e.facts.nodes[0].server = Err(unavailable(Answered::Nothing));
        },
    ),
    (CheckName::Replay, 2, CheckStatus::Warning, "WAL replay is paused on node \"n2\"", |e| {
        server(&mut e.facts, 1).replay_paused = Some(true);
    }),
    (CheckName::Clock, 2, CheckStatus::Warning, "its clock is 1.5 seconds ahead of that of \"n1\"", |e| {
        skewed(e, 1.7, 0.1);
    }),
    (CheckName::Clock, 2, CheckStatus::Critical, "its clock is 12.0 seconds behind that of \"n1\"", |e| {
        skewed(e, -11.8, 0.1);
    }),
    (CheckName::Clock, 2, CheckStatus::Ok, "its clock agrees with that of \"n1\"", |e| skewed(e, 3.2, 2.1)),
    (CheckName::Clock, 2, CheckStatus::Unknown, "its clock could not be read", |e| {
        e.asked.get_mut(&2).unwrap().clock = None;
    }),
    // Without a primary they are compared among themselves.
    (CheckName::Clock, 3, CheckStatus::Critical, "its clock is 12.0 seconds ahead of that of \"n2\"", |e| {
        skewed(e, -11.8, 0.1);
        e.facts.nodes[0].server = Err(unavailable(Answered::Nothing));
        e.asked.remove(&1);
    }),
];

fn delayed(e: &mut Example, seconds: f64) {
    lagging(e, seconds);
    server(&mut e.facts, 1).apply_delay_s = 3600.0;
}

fn lagging(e: &mut Example, seconds: f64) {
    server(&mut e.facts, 1).replay_lsn = Some(Lsn(40_000));
    server(&mut e.facts, 1).last_replay_age_s = Some(seconds);
}

fn skewed(e: &mut Example, offset_s: f64, uncertainty_s: f64) {
    e.asked.get_mut(&2).unwrap().clock = Some(Clock { offset_s, uncertainty_s });
}
