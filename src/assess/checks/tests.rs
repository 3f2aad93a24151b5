//! Each check is made to fail, from facts.

use super::examples::{Example, statuses};
use super::{Clock, Figures, Finding, Repmgrd, Status, of_issue};
use crate::assess::cluster::examples::{promote, server, silence};
use crate::error::ISSUE_CODES;
use crate::facts::check_name::Name;
use crate::facts::cluster::Silence;
use crate::facts::host::{Place, Unseen};
use crate::facts::lineage::Lineage;
use crate::facts::server::Slot;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::NodeType;

fn logical(name: &str) -> Slot {
    Slot {
        slot_type: "logical".into(),
        plugin: Some("pgoutput".into()),
        failover: true,
        ..slot(name, false, "reserved", 1)
    }
}

fn slot(name: &str, active: bool, status: &str, retained: i64) -> Slot {
    Slot {
        slot_name: name.into(),
        slot_type: "physical".into(),
        active,
        restart_lsn: Some(Lsn(1)),
        wal_status: Some(status.into()),
        retained_bytes: Some(retained),
        invalidation_reason: None,
        ..Slot::default()
    }
}

/// A change, and what is said of the check after it.
type Case = (Name, i32, Status, &'static str, fn(&mut Example));

const CASES: &[Case] = &[
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
    (Name::ArchiveReady, 1, Status::Ok, "16 pending archive ready files", |e| {
        e.more(1).archive_ready = Some(16);
    }),
    (Name::ArchiveReady, 1, Status::Warning, "17 pending archive ready files (threshold: 16)", |e| {
        e.more(1).archive_ready = Some(17);
    }),
    (
        Name::ArchiveReady,
        1,
        Status::Critical,
        "129 pending archive ready files, critical threshold: 128",
        |e| {
            e.more(1).archive_ready = Some(129);
        },
    ),
    (Name::ArchiveReady, 1, Status::Unknown, "the files waiting to be archived could not be counted", |e| {
        e.more(1).archive_ready = None;
        e.more(1).ready_uncounted = Some("canceled".into());
    }),
    (Name::ArchiveReady, 1, Status::Unknown, "unable to check archive_status directory", |e| {
        e.more(1).archive_ready = None;
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
    (Name::Slots, 1, Status::Critical, "1 of 2 physical replication slots are inactive", |e| {
        server(&mut e.facts, 0).slots = vec![slot("a", true, "reserved", 1), slot("b", false, "reserved", 1)];
    }),
    (Name::Slots, 1, Status::Warning, "1 of 2 physical replication slots are inactive", |e| {
        // That of a former primary is no stale one.
        e.facts.nodes[1].row.node_type = NodeType::Primary;
        e.facts.nodes[1].row.active = false;
        server(&mut e.facts, 0).slots =
            vec![slot("a", true, "reserved", 1), slot("repmgr_slot_2", false, "reserved", 1)];
    }),
    (Name::LogicalSlots, 1, Status::Critical, "1 logical replication slots are invalid", |e| {
        server(&mut e.facts, 0).slots =
            vec![Slot { invalidation_reason: Some("rows_removed".into()), ..logical("l") }];
    }),
    (
        Name::LogicalSlots,
        1,
        Status::Critical,
        "subscribers of failover slots receive nothing from this node",
        |e| {
            server(&mut e.facts, 0).slots = vec![logical("l"), slot("a", true, "reserved", 1)];
            server(&mut e.facts, 0).synchronized_standby_slots = vec!["a".into(), "b".into()];
        },
    ),
    (Name::LogicalSlots, 1, Status::Ok, "1 of 1 logical replication slots are usable", |e| {
        server(&mut e.facts, 0).slots = vec![logical("l"), slot("a", true, "reserved", 1)];
        server(&mut e.facts, 0).synchronized_standby_slots = vec!["a".into()];
    }),
    (Name::LogicalSlots, 2, Status::Critical, "replication slots are not synchronized to this node", |e| {
        server(&mut e.facts, 0).slots = vec![logical("l")];
        server(&mut e.facts, 1).slots = vec![logical("l")];
    }),
    (
        Name::LogicalSlots,
        2,
        Status::Warning,
        "1 of 2 failover slots would be lost by a promotion of this node",
        |e| {
            server(&mut e.facts, 0).slots = vec![logical("l"), logical("m")];
            server(&mut e.facts, 1).sync_replication_slots = true;
            let copy = |name| Slot { synced: true, ..logical(name) };
            server(&mut e.facts, 1).slots = vec![copy("l"), Slot { temporary: true, ..copy("m") }];
        },
    ),
    (Name::LogicalSlots, 2, Status::Ok, "1 of 1 failover slots are synchronized", |e| {
        server(&mut e.facts, 0).slots = vec![logical("l")];
        server(&mut e.facts, 1).sync_replication_slots = true;
        server(&mut e.facts, 1).slots = vec![Slot { synced: true, ..logical("l") }];
    }),
    (Name::MissingSlots, 1, Status::Critical, "1 physical replication slots are missing: s'2", |e| {
        e.facts.nodes[1].row.slot_name = Some("s'2".into());
    }),
    (
        Name::DataDirectory,
        1,
        Status::Critical,
        "configured \"data_directory\" is \"/other\"; actual data directory is \"/data\"",
        |e| {
            e.host(1).data_directory = "/other".into();
            e.host(1).is_servers = Some(false);
        },
    ),
    (
        Name::DataDirectory,
        1,
        Status::Critical,
        "configured \"data_directory\" \"/data\" is not a PostgreSQL data directory",
        |e| {
            let host = e.host(1);
            (host.is_servers, host.runs_on_it, host.is_data_directory) = (None, None, false);
        },
    ),
    (
        Name::DataDirectory,
        1,
        Status::Critical,
        "configured \"data_directory\" is \"/data\"; the server that responds does not run on it",
        |e| e.host(1).runs_on_it = Some(false),
    ),
    (Name::DataDirectory, 1, Status::Unknown, "the file system does not respond", |e| {
        let host = e.host(1);
        (host.silent, host.is_servers, host.is_data_directory) = (true, None, false);
    }),
    // The role may not know it, but what runs there was started when the server says.
    (Name::DataDirectory, 1, Status::Ok, "configured \"data_directory\" is \"/data\"", |e| {
        e.host(1).is_servers = None;
    }),
    (Name::DataDirectory, 1, Status::Unknown, "unable to determine current \"data_directory\"", |e| {
        let host = e.host(1);
        (host.is_servers, host.runs_on_it) = (None, Some(false));
    }),
    (Name::Repmgrd, 1, Status::Critical, "repmgrd not running", |e| repmgrd(e, Some(false), None)),
    (Name::Repmgrd, 1, Status::Warning, "repmgrd running but paused", |e| repmgrd(e, Some(true), Some(true))),
    (Name::Repmgrd, 1, Status::Ok, "repmgrd running", |e| repmgrd(e, Some(true), Some(false))),
    (Name::Repmgrd, 1, Status::Unknown, "repmgrd status unknown", |e| repmgrd(e, None, None)),
    (Name::Repmgrd, 1, Status::Unknown, "repmgrd status unknown", |_| ()),
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
    (Name::WalRetained, 1, Status::Warning, "slot \"s\" keeps 1.9 GB of WAL", |e| {
        retained(e, "extended", 2_000_000_000);
    }),
    (Name::WalRetained, 1, Status::Critical, "slot \"s\" keeps 3.7 GB of WAL", |e| {
        retained(e, "extended", 4_000_000_000);
    }),
    (Name::WalRetained, 1, Status::Ok, "slot \"s\" keeps 954 MB of WAL", |e| {
        retained(e, "extended", 999_999_999);
    }),
    (Name::WalRetained, 1, Status::Critical, "WAL that slot \"s\" had to retain is lost", |e| {
        retained(e, "lost", 1);
    }),
    (Name::WalRetained, 1, Status::Critical, "WAL that slots \"s\", \"t\" had to retain is lost", |e| {
        retained(e, "lost", 1);
        server(&mut e.facts, 0).slots[1].wal_status = Some("lost".into());
    }),
    (Name::WalRetained, 1, Status::Critical, "slot \"s\" is invalid", |e| {
        retained(e, "lost", 1);
        server(&mut e.facts, 0).slots[0].invalidation_reason = Some("idle_timeout".into());
    }),
    (Name::WalRetained, 1, Status::Critical, "WAL that slot \"s\" keeps is about to be removed", |e| {
        retained(e, "unreserved", 1);
    }),
    (Name::Archiver, 1, Status::Critical, "archiving fails, last for 0000000100000000000000A1", failing),
    (Name::Archiver, 1, Status::Ok, "no file is waiting to be archived", |e| {
        failing(e);
        e.more(1).archive_ready = Some(0);
    }),
    (Name::Archiver, 1, Status::Ok, "no WAL has been archived yet", |_| ()),
    (Name::Archiver, 1, Status::Ok, "the last archiving attempt succeeded", |e| {
        e.more(1).archiver.archived_at = Some("2026-11-21 10:00:00+00".into());
    }),
    (Name::Archiver, 1, Status::Warning, "3 files wait to be archived, but archive_command is empty", |e| {
        e.more(1).archive_ready = Some(3);
    }),
    (
        Name::Archiver,
        1,
        Status::Warning,
        "1 file waits to be archived, but the archiver makes no progress",
        |e| {
            stuck(e, 700.0, 650.0);
        },
    ),
    // A file that has just come is not overdue yet, and an archiver that has just been at work goes on.
    (Name::Archiver, 1, Status::Ok, "no WAL has been archived yet", |e| stuck(e, 700.0, 5.0)),
    (Name::Archiver, 1, Status::Ok, "no WAL has been archived yet", |e| stuck(e, 5.0, 700.0)),
    (Name::Archiver, 1, Status::Critical, "archiving fails, last for 0000000100000000000000A1", |e| {
        failing(e);
        e.more(1).archive_ready = None;
    }),
    (Name::Archiver, 1, Status::Ok, "archiving is off", |e| {
        failing(e);
        e.more(1).archive_mode = "off".into();
    }),
    (
        Name::PendingRestart,
        1,
        Status::Warning,
        "settings that require a restart: a, b, c, d, e and 1 more",
        |e| {
            e.more(1).pending_restart = ["a", "b", "c", "d", "e", "f"].map(str::to_string).into();
        },
    ),
    (Name::PendingRestart, 1, Status::Unknown, "the role lacks the privilege to see all settings", |e| {
        e.more(1).sees_settings = false;
    }),
    (Name::StandbySettings, 2, Status::Critical, "max_connections is 100 here and 200 on \"n1\"", |e| {
        e.more(1).settings[0].1 = 200;
    }),
    (Name::StandbySettings, 2, Status::Ok, "not lower than on \"n1\"", |e| e.more(2).settings[0].1 = 200),
    (Name::StandbySettings, 2, Status::Unknown, "the settings of the primary could not be read", |e| {
        e.asked.get_mut(&1).unwrap().more = Err("no".into());
    }),
    (Name::StandbySettings, 2, Status::Unknown, "there is no primary to compare with", |e| {
        e.facts.nodes[0].server = Err(silence(Answered::Nothing));
    }),
    (Name::Rewind, 1, Status::Warning, "neither data checksums nor wal_log_hints are on", |e| {
        e.more(1).wal_log_hints = false;
    }),
    (Name::Rewind, 1, Status::Ok, "possible: settings, privileges and files are fine", |e| {
        e.more(1).wal_log_hints = false;
        e.more(1).data_checksums = true;
    }),
    (Name::Rewind, 1, Status::Warning, "full_page_writes is off", |e| e.more(1).full_page_writes = false),
    (
        Name::Rewind,
        1,
        Status::Warning,
        "role \"repmgr\" lacks the privilege to read files of the server, as pg_rewind does",
        |e| {
            e.more(1).forbidden = vec!["pg_ls_dir(text, boolean, boolean)".into()];
        },
    ),
    (
        Name::Rewind,
        1,
        Status::Warning,
        "pg_rewind could not read or write all files of the data directory",
        |e| {
            e.host(1).untouchable = Some(vec!["base/1/2".into()]);
        },
    ),
    (Name::Rewind, 1, Status::Unknown, "the check of its files timed out", |e| {
        e.host(1).untouchable = None;
    }),
    (Name::Rewind, 1, Status::Ok, "possible by settings and privileges; files were not checked", |e| {
        e.hosts.insert(1, Err("no ssh".into()));
    }),
    (Name::ReplicationLogin, 1, Status::Warning, "login fails to \"n2\"", |e| {
        e.host(1).logins_failed = vec![(2, "no pg_hba.conf entry".into())];
    }),
    (Name::ReplicationLogin, 1, Status::Unknown, "the login to \"n2\" timed out", |e| {
        e.host(1).logins_late = vec![2];
    }),
    (Name::ReplicationLogin, 1, Status::Ok, "no other node to log in to responds", |e| {
        e.host(1).logins_tried = 0;
    }),
    (
        Name::ReplicationLogin,
        1,
        Status::Unknown,
        "pgbaton does not run as the user that runs the server",
        |e| {
            e.host(1).other_owner = Some("postgres".into());
        },
    ),
    (Name::Rewind, 1, Status::Ok, "possible by settings and privileges; files were not checked", |e| {
        e.host(1).other_owner = Some("postgres".into());
        e.host(1).untouchable = Some(vec!["base/1/2".into()]);
    }),
    (Name::UnfinishedOperation, 1, Status::Unknown, "the journal cannot be read", |e| {
        e.host(1).journal_unread = Some("permission denied".into());
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
    (Name::FreeSpace, 1, Status::Warning, "14 % free for pg_wal, 14 GB", |e| full(e, 14)),
    (Name::FreeSpace, 1, Status::Ok, "15 % free for pg_wal, 15 GB", |e| full(e, 15)),
    (Name::FreeSpace, 1, Status::Critical, "4 % free for pg_wal, 4.0 GB", |e| full(e, 4)),
    (Name::FreeSpace, 1, Status::Unknown, "the file system does not respond", |e| e.host(1).places = None),
    (Name::FreeSpace, 1, Status::Unknown, "pg_wal (/x) cannot be examined", |e| unseen(e, "pg_wal", false)),
    (Name::FreeSpace, 1, Status::Warning, "14 % free for pg_wal, 14 GB", |e| {
        full(e, 14);
        unseen(e, "tablespaces", false);
    }),
    (Name::FreeSpace, 1, Status::Critical, "tablespace (/x) is a dangling symbolic link", |e| {
        unseen(e, "tablespace", true);
    }),
    (Name::FreeSpace, 1, Status::Unknown, "the data directory cannot be examined", |e| {
        e.host(1).places = Some(vec![]);
    }),
    (Name::UnfinishedOperation, 1, Status::Warning, "operation \"standby clone\" is unfinished", |e| {
        e.host(1).unfinished = Some(("x1".into(), "standby clone".into()));
    }),
    // The state directory of another user is another one.
    (
        Name::UnfinishedOperation,
        1,
        Status::Unknown,
        "pgbaton does not run as the user that runs the server",
        |e| e.host(1).other_owner = Some("postgres".into()),
    ),
    (Name::UnfinishedOperation, 1, Status::Warning, "operation \"standby clone\" is unfinished", |e| {
        e.host(1).other_owner = Some("postgres".into());
        e.host(1).unfinished = Some(("x1".into(), "standby clone".into()));
    }),
    (Name::StandbySignal, 2, Status::Critical, "a standby that would start as a primary", |e| {
        server(&mut e.facts, 1).standby_signal = Some(false);
        e.host(2).standby_signal = Some(false);
    }),
    (Name::StandbySignal, 1, Status::Critical, "a primary that would start as a standby", |e| {
        server(&mut e.facts, 0).standby_signal = Some(true);
        e.host(1).standby_signal = Some(true);
    }),
    // As which it would start is known also of one that is down.
    (
        Name::StandbySignal,
        2,
        Status::Critical,
        "a standby that would start as a primary, as soon as its server is started",
        |e| {
            e.facts.nodes[1].server = Err(silence(Answered::Nothing));
            e.host(2).standby_signal = Some(false);
        },
    ),
    (Name::UnfinishedOperation, 1, Status::Critical, "a rewind was begun and not finished", |e| {
        e.host(1).half_rewound = true;
    }),
];

fn unseen(e: &mut Example, what: &str, broken: bool) {
    let (path, why) = ("/x".into(), "Permission denied (os error 13)".into());
    e.host(1).unseen.push(Unseen { what: what.into(), path, why, broken });
}

fn delayed(e: &mut Example, seconds: f64) {
    lagging(e, seconds);
    server(&mut e.facts, 1).apply_delay_s = 3600.0;
}

fn lagging(e: &mut Example, seconds: f64) {
    server(&mut e.facts, 1).replay_lsn = Some(Lsn(40_000));
    server(&mut e.facts, 1).last_replay_age_s = Some(seconds);
}

fn repmgrd(e: &mut Example, running: Option<bool>, paused: Option<bool>) {
    e.more(1).repmgrd = Some(Repmgrd { running, paused });
}

fn retained(e: &mut Example, status: &str, bytes: i64) {
    server(&mut e.facts, 0).slots = vec![slot("s", true, status, bytes), slot("t", true, "reserved", 0)];
}

fn failing(e: &mut Example) {
    let more = e.more(1);
    more.archive_ready = Some(1);
    more.archiver.failing = true;
    more.archiver.failed_at = Some("2026-11-21 10:00:00+00".into());
    more.archiver.failed_wal = Some("0000000100000000000000A1".into());
}

fn stuck(e: &mut Example, idle_s: f64, ready_age_s: f64) {
    let more = e.more(1);
    (more.archive_ready, more.ready_age_s) = (Some(1), Some(ready_age_s));
    (more.archiver.has_command, more.archiver.idle_s) = (true, Some(idle_s));
}

fn skewed(e: &mut Example, offset_s: f64, uncertainty_s: f64) {
    e.asked.get_mut(&2).unwrap().clock = Some(Clock { offset_s, uncertainty_s });
}

fn full(e: &mut Example, free: u64) {
    let place = |what: &str, free| Place {
        what: what.into(),
        path: format!("/{what}").into(),
        free_bytes: free << 30,
        all_bytes: 100 << 30,
    };
    e.host(1).places = Some(vec![place("data directory", 50), place("pg_wal", free)]);
}

#[test]
fn each_check_fails_when_it_should_and_only_then() {
    for (name, id, status, message, change) in CASES {
        let found = Example::one(*name, *id, change);
        assert_eq!(
            (found.status, found.message.as_str()),
            (*status, *message),
            "{name:?} of {id}: {found:?}"
        );
        // A reported problem comes with what to do, or its cause.
        let explained = found.detail.is_some() || found.hint.is_some();
        assert!(explained || matches!(status, Status::Ok | Status::Unknown) || !is_new(*name), "{found:?}");
    }
    // No check was left out.
    for name in Name::ALL {
        let bad = CASES.iter().any(|(of, _, status, ..)| of == name && *status > Status::Unknown);
        assert!(bad, "{name:?} was never made to fail");
    }
}

/// repmgr's own say it all in one line.
fn is_new(name: Name) -> bool {
    name > Name::Repmgrd && !matches!(name, Name::StandbySettings | Name::ServerVersion)
}

#[test]
fn a_missing_right_is_told_with_its_grant() {
    type Case = (Name, i32, &'static str, fn(&mut Example));
    let cases: [Case; 5] = [
        (Name::ArchiveReady, 1, "GRANT pg_monitor TO \"repmgr\";", |e| e.more(1).archive_ready = None),
        (Name::Downstream, 1, "GRANT pg_monitor TO \"repmgr\";", |e| {
            server(&mut e.facts, 0).sees_senders = false;
        }),
        (Name::PendingRestart, 1, "GRANT pg_read_all_settings TO \"repmgr\";", |e| {
            e.more(1).sees_settings = false;
        }),
        (Name::Rewind, 1, "GRANT EXECUTE ON FUNCTION f(text) TO \"repmgr\";", |e| {
            e.more(1).forbidden = vec!["f(text)".into()];
        }),
        (Name::Timeline, 2, "boolean) TO \"repmgr\";", |e| {
            server(&mut e.facts, 0).timeline = TimelineId(2);
            server(&mut e.facts, 1).timeline = TimelineId(2);
            server(&mut e.facts, 1).reads_files = false;
        }),
    ];
    for (name, id, grant, change) in cases {
        let hint = Example::one(name, id, change).hint.unwrap_or_default();
        assert!(hint.ends_with(grant), "{name:?}: {hint}");
    }
}

#[test]
fn figures_are_those_of_repmgr() {
    let found = Example::one(Name::Downstream, 1, |e| {
        server(&mut e.facts, 0).senders.clear();
        (1..=2).for_each(|at| server(&mut e.facts, at).receiver = None);
    });
    let missing = vec!["n2 (ID: 2)".to_string(), "n3 (ID: 3)".to_string()];
    assert_eq!(found.figures, Figures::Downstream { attached: 0, missing });
    let found = Example::one(Name::Slots, 1, |e| {
        let mut logical = slot("l", false, "reserved", 1);
        logical.slot_type = "logical".into();
        server(&mut e.facts, 0).slots = vec![slot("a", false, "reserved", 1), logical];
    });
    assert_eq!(found.figures, Figures::Slots { all: 1, inactive: 1 });
}

#[test]
fn what_is_said_of_slots_can_be_typed_and_is_true_of_each() {
    let lost =
        |reason: &str| Slot { invalidation_reason: Some(reason.into()), ..slot("lo'st", false, "lost", 1) };
    let found = Example::one(Name::Slots, 1, |e| {
        server(&mut e.facts, 0).slots = vec![slot("b", false, "reserved", 1), lost("wal_removed")];
    });
    assert_eq!(
        found.detail.as_deref(),
        Some(
            "These retain WAL, but no standby streams from them: \"b\". These are lost and no longer usable: \"lo'st\"."
        )
    );
    let hint = found.hint.unwrap();
    assert!(
        hint.ends_with("SELECT pg_drop_replication_slot('b'); SELECT pg_drop_replication_slot('lo''st');"),
        "{hint}"
    );
    let found = Example::one(Name::WalRetained, 1, |e| {
        server(&mut e.facts, 0).slots = vec![lost("idle_timeout")];
    });
    assert_eq!(
        found.detail.as_deref(),
        Some("For slot \"lo'st\": it was not used for longer than idle_replication_slot_timeout.")
    );
}

#[test]
fn what_is_unfinished_is_looked_at_and_not_started() {
    let mut example = Example::healthy();
    example.host(2).unfinished = Some(("x1".into(), "node rejoin".into()));
    example.facts.nodes[1].server = Err(silence(Answered::Nothing));
    let found = example.judge();
    assert_eq!(found.next(), ["pgbaton operation show x1  # on \"n2\""]);
    // On the node itself the command is there without its name.
    let mut found = found;
    found.cluster.cluster.next = vec!["pgbaton operation show x1".into()];
    assert_eq!(found.next(), ["pgbaton operation show x1"]);
}

#[test]
fn a_message_is_not_repeated() {
    let found = Example::one(Name::DbConnection, 2, |e| {
        e.facts.nodes[1].server = Err(silence(Answered::Nothing));
    });
    assert_eq!(found.message, "connection refused");
    assert_eq!(found.detail.as_deref(), Some("It has never been seen from this host."));
}

#[test]
fn a_witness_is_asked_only_what_concerns_it() {
    let mut example = Example::healthy();
    example.facts.nodes[2].row.node_type = NodeType::Witness;
    server(&mut example.facts, 2).system_identifier = "8".into();
    server(&mut example.facts, 2).in_recovery = false;
    server(&mut example.facts, 0).senders.remove(1);
    let found = example.judge();
    assert_eq!(statuses(&found, |status| status != Status::Ok), Vec::<String>::new());
    let made: Vec<Name> = found.nodes[2].checks.iter().map(|check| check.name).collect();
    assert!(!made.contains(&Name::Timeline) && made.contains(&Name::FreeSpace), "{made:?}");
}

#[test]
fn the_verdict_knows_of_the_cluster_as_a_whole() {
    let mut example = Example::healthy();
    promote(&mut example.facts, 1, 1);
    let found = example.judge();
    assert_eq!(found.verdict(), Status::Critical);
    assert_eq!(found.of_cluster().map(|issue| issue.code).collect::<Vec<_>>(), ["split_brain"]);
    assert!(found.next()[0].starts_with("pgbaton node stop"), "{:?}", found.next());

    let mut example = Example::healthy();
    example.facts.nodes[0].server = Err(silence(Answered::Nothing));
    let found = example.judge();
    assert_eq!(found.verdict(), Status::Critical);
    assert_eq!(found.of_cluster().map(|issue| issue.code).collect::<Vec<_>>(), ["no_primary"]);

    let mut example = Example::healthy();
    for node in &mut example.facts.nodes {
        node.server = Err(silence(Answered::Nothing));
    }
    assert_eq!(example.judge().verdict(), Status::Critical);

    // A restart that waits is a warning, with what to type.
    let mut example = Example::healthy();
    example.more(2).pending_restart = vec!["max_connections".into()];
    let found = example.judge();
    assert_eq!(found.verdict(), Status::Warning);
    assert_eq!(found.next(), ["pgbaton node restart  # on \"n2\""]);
    // What is unknown counts, if no node was missing that could be queried.
    let mut example = Example::healthy();
    example.more(2).sees_settings = false;
    assert_eq!(example.judge().verdict(), Status::Unknown);
}

#[test]
fn all_is_well() {
    let example = Example::healthy();
    let found = example.judge();
    let wrong = statuses(&found, |status| status != Status::Ok);
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!((found.verdict(), found.next()), (Status::Ok, vec![]));
    // Everything that is usual is there, on every node.
    let usual = Name::ALL.iter().filter(|name| name.is_usual()).count();
    assert!(found.nodes.iter().all(|node| node.checks.len() == usual), "{found:?}");
}

#[test]
fn every_issue_of_a_node_belongs_to_a_check() {
    // Those of other commands, of the configuration and of the whole cluster fall to the role and do no harm.
    let own = ["slot_missing", "slot_lost", "slot_unused", "slot_inactive", "replication_lag"];
    for (code, _) in ISSUE_CODES {
        assert_eq!(of_issue(code).is_none(), own.contains(code), "{code}");
    }
}

#[test]
fn numbers_are_whole_where_they_can_be() {
    let finding = Finding::ok(Name::Clock, "x").value(2.0, "seconds").limits((1.5, 10.0));
    let text = serde_json::to_string(&finding).unwrap();
    assert!(text.contains(r#""value":2,"unit":"seconds","warning":1.5,"critical":10,"#), "{text}");
}

#[test]
fn what_raises_no_verdict_is_still_told() {
    let mut example = Example::healthy();
    example.hosts.insert(2, Err("no ssh".into()));
    let found = example.judge();
    assert_eq!(found.verdict(), Status::Ok);
    let unknown = statuses(&found, |status| status == Status::Unknown);
    assert_eq!(
        unknown,
        ["2 data_directory", "2 replication_login", "2 free_space", "2 unfinished_operation"]
    );
}
