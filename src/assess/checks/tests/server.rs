//! The checks of what else a server is asked.

use super::{Case, CheckName, CheckStatus, Example};
use crate::assess::checks::Repmgrd;
use crate::assess::cluster::examples::unavailable;
use crate::pg::failure::Answered;

/// The cases of these checks.
pub(super) const CASES: &[Case] = &[
    (CheckName::ArchiveReady, 1, CheckStatus::Ok, "16 pending archive ready files", |e| {
        e.more(1).archive_ready = Some(16);
    }),
    (
        CheckName::ArchiveReady,
        1,
        CheckStatus::Warning,
        "17 pending archive ready files (threshold: 16)",
        |e| {
            e.more(1).archive_ready = Some(17);
        },
    ),
    (
        CheckName::ArchiveReady,
        1,
        CheckStatus::Critical,
        "129 pending archive ready files, critical threshold: 128",
        |e| {
            e.more(1).archive_ready = Some(129);
        },
    ),
    (
        CheckName::ArchiveReady,
        1,
        CheckStatus::Unknown,
        "the files waiting to be archived could not be counted",
        |e| {
            e.more(1).archive_ready = None;
            e.more(1).ready_uncounted = Some("canceled".into());
        },
    ),
    (CheckName::ArchiveReady, 1, CheckStatus::Unknown, "unable to check archive_status directory", |e| {
        e.more(1).archive_ready = None;
    }),
    (CheckName::Repmgrd, 1, CheckStatus::Critical, "repmgrd not running", |e| repmgrd(e, Some(false), None)),
    (CheckName::Repmgrd, 1, CheckStatus::Warning, "repmgrd running but paused", |e| {
        repmgrd(e, Some(true), Some(true));
    }),
    (CheckName::Repmgrd, 1, CheckStatus::Ok, "repmgrd running", |e| repmgrd(e, Some(true), Some(false))),
    (CheckName::Repmgrd, 1, CheckStatus::Unknown, "repmgrd status unknown", |e| repmgrd(e, None, None)),
    (CheckName::Repmgrd, 1, CheckStatus::Unknown, "repmgrd status unknown", |_| ()),
    (
        CheckName::Archiver,
        1,
        CheckStatus::Critical,
        "archiving fails, last for 0000000100000000000000A1",
        failing,
    ),
    (CheckName::Archiver, 1, CheckStatus::Ok, "no file is waiting to be archived", |e| {
        failing(e);
        e.more(1).archive_ready = Some(0);
    }),
    (CheckName::Archiver, 1, CheckStatus::Ok, "no WAL has been archived yet", |_| ()),
    (CheckName::Archiver, 1, CheckStatus::Ok, "the last archiving attempt succeeded", |e| {
        e.more(1).archiver.archived_at = Some("2026-11-21 10:00:00+00".into());
    }),
    (
        CheckName::Archiver,
        1,
        CheckStatus::Warning,
        "3 files wait to be archived, but archive_command is empty",
        |e| {
            e.more(1).archive_ready = Some(3);
        },
    ),
    (
        CheckName::Archiver,
        1,
        CheckStatus::Warning,
        "1 file waits to be archived, but the archiver makes no progress",
        |e| {
            stuck(e, 700.0, 650.0);
        },
    ),
    // A file that has just come is not overdue yet, and an archiver that has just been at work goes on.
    (CheckName::Archiver, 1, CheckStatus::Ok, "no WAL has been archived yet", |e| stuck(e, 700.0, 5.0)),
    (CheckName::Archiver, 1, CheckStatus::Ok, "no WAL has been archived yet", |e| stuck(e, 5.0, 700.0)),
    (
        CheckName::Archiver,
        1,
        CheckStatus::Critical,
        "archiving fails, last for 0000000100000000000000A1",
        |e| {
            failing(e);
            e.more(1).archive_ready = None;
        },
    ),
    (CheckName::Archiver, 1, CheckStatus::Ok, "archiving is off", |e| {
        failing(e);
        e.more(1).archive_mode = "off".into();
    }),
    (
        CheckName::PendingRestart,
        1,
        CheckStatus::Warning,
        "settings that require a restart: a, b, c, d, e and 1 more",
        |e| {
            e.more(1).pending_restart = ["a", "b", "c", "d", "e", "f"].map(str::to_string).into();
        },
    ),
    (
        CheckName::PendingRestart,
        1,
        CheckStatus::Unknown,
        "the role lacks the privilege to see all settings",
        |e| {
            e.more(1).sees_settings = false;
        },
    ),
    (
        CheckName::StandbySettings,
        2,
        CheckStatus::Critical,
        "max_connections is 100 here and 200 on \"n1\"",
        |e| {
            e.more(1).settings[0].1 = 200;
        },
    ),
    (CheckName::StandbySettings, 2, CheckStatus::Ok, "not lower than on \"n1\"", |e| {
        e.more(2).settings[0].1 = 200;
    }),
    (
        CheckName::StandbySettings,
        2,
        CheckStatus::Unknown,
        "the settings of the primary could not be read",
        |e| {
            e.asked.get_mut(&1).unwrap().more = Err("no".into());
        },
    ),
    (CheckName::StandbySettings, 2, CheckStatus::Unknown, "there is no primary to compare with", |e| {
        e.facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    }),
    (CheckName::Rewind, 1, CheckStatus::Warning, "neither data checksums nor wal_log_hints are on", |e| {
        e.more(1).wal_log_hints = false;
    }),
    (CheckName::Rewind, 1, CheckStatus::Ok, "possible: settings, privileges and files are fine", |e| {
        e.more(1).wal_log_hints = false;
        e.more(1).data_checksums = true;
    }),
    (CheckName::Rewind, 1, CheckStatus::Warning, "full_page_writes is off", |e| {
        e.more(1).full_page_writes = false;
    }),
    (
        CheckName::Rewind,
        1,
        CheckStatus::Warning,
        "role \"repmgr\" lacks the privilege to read files of the server, as pg_rewind does",
        |e| {
            e.more(1).forbidden = vec!["pg_ls_dir(text, boolean, boolean)".into()];
        },
    ),
    (
        CheckName::Rewind,
        1,
        CheckStatus::Warning,
        "pg_rewind could not read or write all files of the data directory",
        |e| {
            e.host(1).untouchable = Some(vec!["base/1/2".into()]);
        },
    ),
    (CheckName::Rewind, 1, CheckStatus::Unknown, "the check of its files timed out", |e| {
        e.host(1).untouchable = None;
    }),
    (
        CheckName::Rewind,
        1,
        CheckStatus::Ok,
        "possible by settings and privileges; files were not checked",
        |e| {
            e.hosts.insert(1, Err("no ssh".into()));
        },
    ),
    (
        CheckName::Rewind,
        1,
        CheckStatus::Ok,
        "possible by settings and privileges; files were not checked",
        |e| {
            e.host(1).other_owner = Some("postgres".into());
            e.host(1).untouchable = Some(vec!["base/1/2".into()]);
        },
    ),
];

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

fn repmgrd(e: &mut Example, running: Option<bool>, paused: Option<bool>) {
    e.more(1).repmgrd = Some(Repmgrd { running, paused });
}
