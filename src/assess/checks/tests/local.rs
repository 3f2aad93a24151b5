//! The checks of a host.

use super::{Case, CheckName, CheckStatus, Example};
use crate::assess::cluster::examples::{server, unavailable};
use crate::facts::host::{FileSystemSpace, UnreadablePath};
use crate::pg::failure::Answered;

/// The cases of these checks.
pub(super) const CASES: &[Case] = &[
    (
        CheckName::DataDirectory,
        1,
        CheckStatus::Critical,
        "configured \"data_directory\" is \"/other\"; actual data directory is \"/data\"",
        |e| {
            e.host(1).data_directory = "/other".into();
            e.host(1).is_servers = Some(false);
        },
    ),
    (
        CheckName::DataDirectory,
        1,
        CheckStatus::Critical,
        "configured \"data_directory\" \"/data\" is not a PostgreSQL data directory",
        |e| {
            let host = e.host(1);
            (host.is_servers, host.runs_on_it, host.is_data_directory) = (None, None, false);
        },
    ),
    (
        CheckName::DataDirectory,
        1,
        CheckStatus::Critical,
        "configured \"data_directory\" is \"/data\"; the server that responds does not run on it",
        |e| e.host(1).runs_on_it = Some(false),
    ),
    (CheckName::DataDirectory, 1, CheckStatus::Unknown, "the file system does not respond", |e| {
        let host = e.host(1);
        (host.silent, host.is_servers, host.is_data_directory) = (true, None, false);
    }),
    // The role may not know it, but what runs there was started when the server says.
    (CheckName::DataDirectory, 1, CheckStatus::Ok, "configured \"data_directory\" is \"/data\"", |e| {
        e.host(1).is_servers = None;
    }),
    (
        CheckName::DataDirectory,
        1,
        CheckStatus::Unknown,
        "unable to determine current \"data_directory\"",
        |e| {
            let host = e.host(1);
            (host.is_servers, host.runs_on_it) = (None, Some(false));
        },
    ),
    (CheckName::ReplicationLogin, 1, CheckStatus::Warning, "login fails to \"n2\"", |e| {
        e.host(1).logins_failed = vec![(2, "no pg_hba.conf entry".into())];
    }),
    (CheckName::ReplicationLogin, 1, CheckStatus::Unknown, "the login to \"n2\" timed out", |e| {
        e.host(1).logins_late = vec![2];
    }),
    (CheckName::ReplicationLogin, 1, CheckStatus::Ok, "no other node to log in to responds", |e| {
        e.host(1).logins_tried = 0;
    }),
    (
        CheckName::ReplicationLogin,
        1,
        CheckStatus::Unknown,
        "pgbaton does not run as the user that runs the server",
        |e| {
            e.host(1).other_owner = Some("postgres".into());
        },
    ),
    (CheckName::UnfinishedOperation, 1, CheckStatus::Unknown, "the journal cannot be read", |e| {
        e.host(1).journal_unread = Some("permission denied".into());
    }),
    (CheckName::FreeSpace, 1, CheckStatus::Warning, "14 % free for pg_wal, 14 GB", |e| full(e, 14)),
    (CheckName::FreeSpace, 1, CheckStatus::Ok, "15 % free for pg_wal, 15 GB", |e| full(e, 15)),
    (CheckName::FreeSpace, 1, CheckStatus::Critical, "4 % free for pg_wal, 4.0 GB", |e| full(e, 4)),
    (CheckName::FreeSpace, 1, CheckStatus::Unknown, "the file system does not respond", |e| {
        e.host(1).places = None;
    }),
    (CheckName::FreeSpace, 1, CheckStatus::Unknown, "pg_wal (/x) cannot be examined", |e| {
        unseen(e, "pg_wal", false);
    }),
    (CheckName::FreeSpace, 1, CheckStatus::Warning, "14 % free for pg_wal, 14 GB", |e| {
        full(e, 14);
        unseen(e, "tablespaces", false);
    }),
    (CheckName::FreeSpace, 1, CheckStatus::Critical, "tablespace (/x) is a dangling symbolic link", |e| {
        unseen(e, "tablespace", true);
    }),
    (CheckName::FreeSpace, 1, CheckStatus::Unknown, "the data directory cannot be examined", |e| {
        e.host(1).places = Some(vec![]);
    }),
    (
        CheckName::UnfinishedOperation,
        1,
        CheckStatus::Warning,
        "operation \"standby clone\" is unfinished",
        |e| {
            e.host(1).unfinished = Some(("x1".into(), "standby clone".into()));
        },
    ),
    // The state directory of another user is another one.
    (
        CheckName::UnfinishedOperation,
        1,
        CheckStatus::Unknown,
        "pgbaton does not run as the user that runs the server",
        |e| e.host(1).other_owner = Some("postgres".into()),
    ),
    (
        CheckName::UnfinishedOperation,
        1,
        CheckStatus::Warning,
        "operation \"standby clone\" is unfinished",
        |e| {
            e.host(1).other_owner = Some("postgres".into());
            e.host(1).unfinished = Some(("x1".into(), "standby clone".into()));
        },
    ),
    (CheckName::Daemon, 1, CheckStatus::Critical, "not running", |e| e.automatic = true),
    (CheckName::StandbySignal, 2, CheckStatus::Critical, "a standby that would start as a primary", |e| {
        server(&mut e.facts, 1).standby_signal = Some(false);
        e.host(2).standby_signal = Some(false);
    }),
    (CheckName::StandbySignal, 1, CheckStatus::Critical, "a primary that would start as a standby", |e| {
        server(&mut e.facts, 0).standby_signal = Some(true);
        e.host(1).standby_signal = Some(true);
    }),
    // As which it would start is known also of one that is down.
    (
        CheckName::StandbySignal,
        2,
        CheckStatus::Critical,
        "a standby that would start as a primary, as soon as its server is started",
        |e| {
            e.facts.nodes[1].server = Err(unavailable(Answered::Nothing));
            e.host(2).standby_signal = Some(false);
        },
    ),
    (CheckName::UnfinishedOperation, 1, CheckStatus::Critical, "a rewind was begun and not finished", |e| {
        e.host(1).half_rewound = true;
    }),
];

fn unseen(e: &mut Example, what: &str, broken: bool) {
    let (path, why) = ("/x".into(), "Permission denied (os error 13)".into());
    e.host(1).unseen.push(UnreadablePath { what: what.into(), path, why, broken });
}

fn full(e: &mut Example, free: u64) {
    let place = |what: &str, free| FileSystemSpace {
        what: what.into(),
        path: format!("/{what}").into(),
        free_bytes: free << 30,
        all_bytes: 100 << 30,
    };
    e.host(1).places = Some(vec![place("data directory", 50), place("pg_wal", free)]);
}
