//! The checks of a connection, a role and of replication.

use super::{Case, Example, Name, Status};
use crate::assess::checks::Clock;
use crate::assess::cluster::examples::{promote, server, silence};
use crate::facts::cluster::Silence;
use crate::facts::lineage::Lineage;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::NodeType;

/// The cases of these checks.
pub(super) const CASES: &[Case] = &[
    (
        Name::DbConnection,
        2,
        Status::Warning,
        "connected as \"repmgr\", with the password in clear text",
        |e| {
            e.asked.get_mut(&2).unwrap().exposed_password = true;
        },
    ),
    (Name::ServerRole, 2, Status::Critical, "node is registered as standby but running as primary", |e| {
        promote(&mut e.facts, 1, 2);
    }),
    (Name::ServerRole, 1, Status::Critical, "node is primary, and 2 nodes accept writes", |e| {
        promote(&mut e.facts, 1, 2);
    }),
    (Name::ServerRole, 1, Status::Critical, "node is registered as primary but running as standby", |e| {
        server(&mut e.facts, 0).in_recovery = true;
    }),
    (Name::ServerRole, 1, Status::Critical, "node is primary, not standby", |e| {
        e.expected = Some(NodeType::Standby);
    }),
    (Name::ServerRole, 2, Status::Critical, "node is standby, not primary", |e| {
        e.expected = Some(NodeType::Primary);
    }),
    (Name::ServerRole, 1, Status::Ok, "node is primary", |e| e.expected = Some(NodeType::Primary)),
    // Another node has seen a newer one, which is gone now.
    (Name::ServerRole, 1, Status::Critical, "node \"n1\" accepts writes on an old timeline", |e| {
        e.expected = Some(NodeType::Primary);
        server(&mut e.facts, 1).timeline = TimelineId(2);
    }),
    // If none has, and no other node responds, it is the primary as far as is known.
    (Name::ServerRole, 1, Status::Ok, "node is primary", |e| {
        e.expected = Some(NodeType::Primary);
        (1..=2).for_each(|at| e.facts.nodes[at].server = Err(silence(Answered::Nothing)));
    }),
    (Name::ServerRole, 1, Status::Critical, "node does not respond; its role should be primary", |e| {
        e.expected = Some(NodeType::Primary);
        e.facts.nodes[0].server = Err(silence(Answered::Silent));
    }),
    (Name::ServerRole, 2, Status::Warning, "node \"n2\" is registered as inactive but running", |e| {
        e.facts.nodes[1].row.active = false;
    }),
    (Name::ReplicationLag, 1, Status::Ok, "N/A - node is primary", |_| ()),
    (Name::ReplicationLag, 2, Status::Warning, "400 seconds, warning threshold: 300", |e| lagging(e, 400.0)),
    // By a clock that is behind.
    (Name::ReplicationLag, 2, Status::Ok, "0 seconds", |e| lagging(e, -0.3)),
    (Name::ReplicationLag, 2, Status::Ok, "0 seconds", |e| lagging(e, -7.0)),
    (Name::ReplicationLag, 2, Status::Ok, "300 seconds", |e| lagging(e, 300.0)),
    // It is to be an hour late.
    (Name::ReplicationLag, 2, Status::Ok, "3700 seconds, 3600 of them meant", |e| delayed(e, 3700.0)),
    (Name::ReplicationLag, 2, Status::Ok, "500 seconds, 500 of them meant", |e| delayed(e, 500.0)),
    (
        Name::ReplicationLag,
        2,
        Status::Warning,
        "4000 seconds, 3600 of them meant, warning threshold: 300",
        |e| delayed(e, 4000.0),
    ),
    (Name::ReplicationLag, 2, Status::Critical, "600 seconds, critical threshold: 600", |e| {
        lagging(e, 600.0);
    }),
    (Name::ReplicationLag, 2, Status::Unknown, "unable to query replication lag", |e| {
        e.facts.nodes[0].server = Err(silence(Answered::Nothing));
    }),
    (
        Name::Upstream,
        2,
        Status::Critical,
        "node \"n2\" (ID: 2) is not attached to expected upstream node \"n1\" (ID: 1)",
        |e| {
            server(&mut e.facts, 0).senders.remove(0);
            server(&mut e.facts, 1).receiver = None;
        },
    ),
    (
        Name::Upstream,
        2,
        Status::Unknown,
        "the role lacks the privilege to see the state of replication",
        |e| {
            server(&mut e.facts, 0).sees_senders = false;
        },
    ),
    (
        Name::Upstream,
        2,
        Status::Unknown,
        "node \"n2\" (ID: 2) has a WAL receiver, but expected upstream node \"n1\" (ID: 1) does not respond",
        |e| {
            e.facts.nodes[0].server = Err(silence(Answered::Nothing));
        },
    ),
    (
        Name::Upstream,
        2,
        Status::Critical,
        "node \"n2\" (ID: 2) is a standby but no upstream record found",
        |e| {
            e.facts.nodes[1].row.upstream_node_id = Some(9);
        },
    ),
    (
        Name::Upstream,
        2,
        Status::Critical,
        "node \"n2\" (ID: 2) is not attached to expected upstream node \"n1\" (ID: 1)",
        |e| {
            let moved = server(&mut e.facts, 0).senders.remove(0);
            server(&mut e.facts, 2).senders.push(moved);
        },
    ),
    (
        Name::Downstream,
        1,
        Status::Critical,
        "1 of 2 downstream nodes not attached; missing: n2 (ID: 2)",
        |e| {
            server(&mut e.facts, 0).senders.remove(0);
            server(&mut e.facts, 1).receiver = None;
        },
    ),
    (
        Name::Downstream,
        1,
        Status::Critical,
        "1 of 2 downstream nodes not attached; missing: n2 (ID: 2)",
        |e| {
            server(&mut e.facts, 0).senders[0].state = Some("startup".into());
        },
    ),
    (
        Name::Downstream,
        1,
        Status::Critical,
        "1 of 2 downstream nodes not attached; missing: n2 (ID: 2)",
        |e| {
            server(&mut e.facts, 0).senders[0].reply_age_s = Some(45.0);
        },
    ),
    (Name::Downstream, 1, Status::Ok, "2 of 2 downstream nodes attached", |e| {
        server(&mut e.facts, 0).senders[0].state = Some("catchup".into());
    }),
    (
        Name::Downstream,
        1,
        Status::Warning,
        "1 of 2 downstream nodes attached under another application_name: n2 (ID: 2)",
        |e| {
            server(&mut e.facts, 0).senders[0].application_name = "walreceiver".into();
        },
    ),
    (
        Name::Downstream,
        1,
        Status::Unknown,
        "the role lacks the privilege to see the state of replication",
        |e| {
            server(&mut e.facts, 0).sees_senders = false;
        },
    ),
    (Name::Downstream, 3, Status::Ok, "this node has no downstream nodes", |_| ()),
    (Name::DbConnection, 2, Status::Critical, "connection refused", |e| {
        e.facts.nodes[1].server = Err(silence(Answered::Nothing));
    }),
    (Name::DbConnection, 2, Status::Critical, "connection refused", |e| {
        e.facts.nodes[1].server = Err(silence(Answered::Spoke));
    }),
    (Name::DbConnection, 2, Status::Critical, "invalid connection string in the node's record", |e| {
        e.facts.nodes[1].row.conninfo = "host='".into();
        e.facts.nodes[1].server = Err(Silence::invalid("x"));
    }),
    (Name::DbConnection, 2, Status::Critical, "connection refused", |e| {
        e.facts.nodes[1].row.active = false;
        e.facts.nodes[1].server = Err(silence(Answered::Nothing));
    }),
    (
        Name::Identity,
        3,
        Status::Critical,
        "nodes \"n2\" and \"n3\" are registered with the same server",
        |e| {
            e.facts.nodes[2].server = e.facts.nodes[1].server.clone();
        },
    ),
    (Name::Identity, 3, Status::Critical, "node \"n3\" belongs to another cluster", |e| {
        server(&mut e.facts, 2).system_identifier = "8".into();
    }),
    (
        Name::ServerVersion,
        2,
        Status::Critical,
        "node \"n2\" runs PostgreSQL 14.1, the primary runs 15.20",
        |e| {
            server(&mut e.facts, 1).version = "14.1".into();
            server(&mut e.facts, 1).version_num = 140_001;
        },
    ),
    (Name::Timeline, 2, Status::Critical, "it has diverged from \"n1\"", |e| {
        server(&mut e.facts, 1).timeline = TimelineId(2);
    }),
    (Name::Timeline, 1, Status::Critical, "node \"n1\" accepts writes on an old timeline", |e| {
        server(&mut e.facts, 1).timeline = TimelineId(2);
    }),
    (Name::Timeline, 2, Status::Unknown, "its history could not be compared with the primary's", |e| {
        for at in [0, 1] {
            server(&mut e.facts, at).timeline = TimelineId(2);
        }
        server(&mut e.facts, 1).reads_files = false;
    }),
    // In an old cluster no node has the first segment any more.
    (Name::Timeline, 2, Status::Ok, "on timeline 2, streams from its upstream", |e| {
        for at in [0, 1] {
            let server = server(&mut e.facts, at);
            server.timeline = TimelineId(2);
            server.lineage = Some(Lineage {
                history: Some("1\t0/A000\tno recovery target specified\n".into()),
                ..Lineage::default()
            });
        }
    }),
    (Name::Timeline, 2, Status::Unknown, "on timeline 1; there is no primary to compare with", |e| {
        e.facts.nodes[0].server = Err(silence(Answered::Nothing));
    }),
    (Name::Replay, 2, Status::Warning, "WAL replay is paused on node \"n2\"", |e| {
        server(&mut e.facts, 1).replay_paused = Some(true);
    }),
    (Name::Clock, 2, Status::Warning, "its clock is 1.5 seconds ahead of that of \"n1\"", |e| {
        skewed(e, 1.7, 0.1);
    }),
    (Name::Clock, 2, Status::Critical, "its clock is 12.0 seconds behind that of \"n1\"", |e| {
        skewed(e, -11.8, 0.1);
    }),
    (Name::Clock, 2, Status::Ok, "its clock agrees with that of \"n1\"", |e| skewed(e, 3.2, 2.1)),
    (Name::Clock, 2, Status::Unknown, "its clock could not be read", |e| {
        e.asked.get_mut(&2).unwrap().clock = None;
    }),
    // Without a primary they are compared among themselves.
    (Name::Clock, 3, Status::Critical, "its clock is 12.0 seconds ahead of that of \"n2\"", |e| {
        skewed(e, -11.8, 0.1);
        e.facts.nodes[0].server = Err(silence(Answered::Nothing));
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
