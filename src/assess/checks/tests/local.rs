//! The checks of a host.

use super::{Case, Example, Name, Status};
use crate::assess::cluster::examples::{server, silence};
use crate::facts::host::{Place, Unseen};
use crate::pg::failure::Answered;

/// The cases of these checks.
pub(super) const CASES: &[Case] = &[
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
    (Name::UnfinishedOperation, 1, Status::Unknown, "the journal cannot be read", |e| {
        e.host(1).journal_unread = Some("permission denied".into());
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

fn full(e: &mut Example, free: u64) {
    let place = |what: &str, free| Place {
        what: what.into(),
        path: format!("/{what}").into(),
        free_bytes: free << 30,
        all_bytes: 100 << 30,
    };
    e.host(1).places = Some(vec![place("data directory", 50), place("pg_wal", free)]);
}
