//! What the host of the node says: space, logins, the data directory, and what was left unfinished.

use super::{CheckStatus, Figures, Finding, HostFacts, NodeChecks, count};
use crate::facts::check_name::CheckName;
use crate::facts::host::UnreadablePath;
use crate::registry::NodeType;
use crate::units::size;

/// A host that was not queried.
const NOT_LOOKED_AT: &str = "its host was not queried";
/// A file system that has lost its server.
const SILENT: &str = "the file system does not respond";
const NO_TIME: &str = "The query timed out.";

impl NodeChecks<'_> {
    /// Returns what the host of the node says, or why it says nothing.
    pub(crate) fn host(&self) -> Result<&HostFacts, &str> {
        match self.evidence.hosts.get(&self.node.row.node_id) {
            Some(Ok(host)) => Ok(host),
            Some(Err(why)) => Err(why),
            None => Err("The query was not requested."),
        }
    }

    /// The host does not respond: reported once for all such nodes, it does not raise the verdict.
    fn not_looked_at(&self, name: CheckName, why: &str) -> Finding {
        Finding::unknown(name, NOT_LOOKED_AT).detail(why).quiet()
    }

    /// Whether the configuration names the data directory of the running server.
    pub(crate) fn data_directory(&self) -> Finding {
        const NAME: CheckName = CheckName::DataDirectory;
        let host = match self.host() {
            Ok(host) => host,
            Err(why) => return self.not_looked_at(NAME, why),
        };
        let configured = host.data_directory.display().to_string();
        let words = format!("configured \"data_directory\" is \"{configured}\"");
        let reported = self.more.and_then(|more| more.data_directory.as_ref());
        let figures = |actual| Figures::Directory { configured: configured.clone(), actual };
        if host.silent {
            return Finding::unknown(NAME, SILENT).detail(NO_TIME).figures(figures(None));
        }
        match (host.is_servers, reported) {
            // A path of the same name on another host, or a copy behind another server's port.
            (Some(true), _) if host.runs_on_it == Some(false) => Finding::new(
                NAME,
                CheckStatus::Critical,
                format!("{words}; the server that responds does not run on it"),
            )
            .detail("It reports a data directory with that path, but was not started on the one on this host.")
            .hint("Check which server conninfo leads to, and which server was started on the data directory on this host.")
            .figures(figures(None)),
            (Some(true), _) => Finding::ok(NAME, words).figures(figures(None)),
            (Some(false), reported) => {
            let actual = reported.map_or_else(|| "another".to_string(), |path| path.display().to_string());
                Finding::new(
                    NAME,
                    CheckStatus::Critical,
                    format!("{words}; actual data directory is \"{actual}\""),
                )
                .hint("Correct data_directory in the configuration file of the node.")
                .figures(figures(Some(actual)))
            }
            _ if host.runs_on_it == Some(true) => Finding::ok(NAME, words).figures(figures(None)),
            _ if !host.is_data_directory => Finding::new(
                NAME,
                CheckStatus::Critical,
                format!("configured \"data_directory\" \"{configured}\" is not a PostgreSQL data directory"),
            )
            .hint("Correct data_directory in the configuration file of the node.")
            .figures(figures(None)),
            _ => self
                .no_right(NAME, "unable to determine current \"data_directory\"", "pg_read_all_settings")
                .figures(figures(None)),
        }
    }

    /// Whether it would start in its current role: its files decide, and a running server ignores them.
    pub(crate) fn standby_signal(&self) -> Option<Finding> {
        const NAME: CheckName = CheckName::StandbySignal;
        let row = &self.node.row;
        if row.node_type == NodeType::Witness {
            return None;
        }
        let server = self.node.facts();
        let host = self.host();
        let here = host.as_ref().ok().and_then(|host| host.standby_signal);
        let Some(signal) = here.or_else(|| server.and_then(|server| server.standby_signal)) else {
            return Some(match host {
                Err(why) => self.not_looked_at(NAME, why),
                Ok(_) => Finding::unknown(NAME, "the data directory could not be read"),
            });
        };
        // One that is down is what it is registered as: a former primary with the file starts as a standby, which is correct.
        let (is_standby, down) = match server {
            Some(server) => (server.in_recovery, ""),
            None => (row.node_type == NodeType::Standby, ", as soon as its server is started"),
        };
        Some(match (is_standby, signal) {
            (true, false) => {
                Finding::new(NAME, CheckStatus::Critical, format!("a standby that would start as a primary{down}"))
                    .detail("standby.signal is missing in its data directory: the next start would make a second primary.")
                    .hint(match server {
                        Some(_) => {
                            "Create the empty file \"standby.signal\" in its data directory before anything starts the server."
                        }
                        // It may have been promoted without a record, and be the primary that is missing.
                        None => {
                            "Run \"pgbaton cluster show\" first: it says which node was the primary last. If it was another one, create \
                             the empty file \"standby.signal\" in this data directory before anything starts the server."
                        }
                    })
            }
            (false, true) if server.is_some() => {
                Finding::new(NAME, CheckStatus::Critical, "a primary that would start as a standby")
                    .detail("It has standby.signal, which a running server ignores: after the next start there would be no primary.")
                    .hint("If no pgbaton command is running, remove the file \"standby.signal\" from its data directory.")
            }
            (true, true) => Finding::ok(NAME, "it would start as a standby"),
            (false, true) => Finding::ok(NAME, "it is down, and would start as a standby"),
            (false, false) => Finding::ok(NAME, "it would start as a primary"),
        })
    }

    /// Whether its WAL receiver could log in everywhere.
    pub(crate) fn replication_login(&self) -> Finding {
        const NAME: CheckName = CheckName::ReplicationLogin;
        let host = match self.host() {
            Ok(host) => host,
            Err(why) => return self.not_looked_at(NAME, why),
        };
        if let Some(owner) = &host.other_owner {
            return as_owner(
                Finding::unknown(NAME, "pgbaton does not run as the user that runs the server"),
                owner,
            );
        }
        let tried = host.logins_tried;
        let failed: Vec<(String, &str)> = host
            .logins_failed
            .iter()
            .map(|(id, why)| {
                let node = self.evidence.facts.node(*id);
                (node.map_or_else(|| id.to_string(), |node| node.row.node_name.clone()), why.as_str())
            })
            .collect();
        let late = |id: &i32| {
            let node = self.evidence.facts.node(*id);
            node.map_or_else(|| id.to_string(), |node| format!("\"{}\"", node.row.node_name))
        };
        let late: Vec<String> = host.logins_late.iter().map(late).collect();
        let found = match failed.as_slice() {
            // A server that is slow today has not rejected the login.
            [] if !late.is_empty() => {
                Finding::unknown(NAME, format!("the login to {} timed out", late.join(", ")))
                    .detail("The server did not respond to the login in time.")
            }
            [] if tried == 0 => Finding::ok(NAME, "no other node to log in to responds"),
            [] => Finding::ok(NAME, format!("login works to {tried} of {tried} other nodes that respond")),
            failed => {
                let names: Vec<String> = failed.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                let said: Vec<String> = failed
                    .iter()
                    .map(|(name, why)| format!("\"{name}\": {}", crate::error::sentence(why)))
                    .collect();
                Finding::new(NAME, CheckStatus::Warning, format!("login fails to {}", names.join(", ")))
                    .detail(format!("After a promotion or switchover the node could not follow the new primary. {}", said.join(" ")))
                    .hint(
                        "Check pg_hba.conf there (database \"replication\"), and the password file of the user that runs the \
                        server on this node.",
                    )
            }
        };
        found.value(count(failed.len()), "nodes")
    }

    /// Whether there is enough free space.
    pub(crate) fn free_space(&self) -> Finding {
        const NAME: CheckName = CheckName::FreeSpace;
        let limits = self.evidence.thresholds.free_percent;
        let host = match self.host() {
            Ok(host) => host,
            Err(why) => return self.not_looked_at(NAME, why).limits(limits),
        };
        let Some(places) = &host.places else {
            return Finding::unknown(NAME, SILENT).detail(NO_TIME).limits(limits);
        };
        let least = places.iter().min_by(|a, b| a.free_percent().total_cmp(&b.free_percent()));
        let Some(place) = least else {
            let found = Finding::unknown(NAME, "the data directory cannot be examined").limits(limits);
            return match &host.other_owner {
                Some(owner) => as_owner(found, owner),
                None => found,
            };
        };
        let percent = place.free_percent();
        let (broken, unseen): (Vec<_>, Vec<_>) = host.unseen.iter().partition(|unseen| unseen.broken);
        let status = match percent {
            percent if percent < limits.1 || !broken.is_empty() => CheckStatus::Critical,
            percent if percent < limits.0 => CheckStatus::Warning,
            // What cannot be seen may be full.
            _ if !unseen.is_empty() => CheckStatus::Unknown,
            _ => CheckStatus::Ok,
        };
        let all: Vec<String> = places
            .iter()
            .map(|place| {
                format!(
                    "{} ({}): {} of {}",
                    place.what,
                    place.path.display(),
                    size(place.free_bytes),
                    size(place.all_bytes)
                )
            })
            .collect();
        let named = |places: &[&UnreadablePath]| -> String {
            let each = places.iter().map(|unseen| format!("{} ({})", unseen.what, unseen.path.display()));
            each.collect::<Vec<_>>().join(", ")
        };
        let mut detail = format!("Free for {}.", all.join("; "));
        for unseen in &host.unseen {
            let (what, path, why) = (&unseen.what, unseen.path.display(), &unseen.why);
            detail.push_str(&format!(
                " The {what} ({path}) cannot be examined: {}",
                crate::error::sentence(why)
            ));
        }
        let words = match status {
            CheckStatus::Critical if !broken.is_empty() && percent >= limits.1 => {
                format!("{} is a dangling symbolic link", named(&broken))
            }
            CheckStatus::Unknown => format!("{} cannot be examined", named(&unseen)),
            _ => format!("{percent:.0} % free for {}, {}", place.what, size(place.free_bytes)),
        };
        let found = Finding::new(NAME, status, words).detail(detail).value(percent, "percent").limits(limits);
        match status {
            CheckStatus::Ok => found,
            CheckStatus::Unknown => match &host.other_owner {
                Some(owner) => as_owner(found, owner),
                None => found,
            },
            _ if percent >= limits.0 => found.hint("Mount the missing file system, and check the server log."),
            _ => found.hint(
                "Never remove files in pg_wal. Check for a slot that retains WAL and for failing archiving: the checks \
                wal_retained and archiver.",
            ),
        }
    }

    /// Whether an interrupted operation is left there.
    pub(crate) fn unfinished_operation(&self) -> Finding {
        const NAME: CheckName = CheckName::UnfinishedOperation;
        let host = match self.host() {
            Ok(host) => host,
            Err(why) => return self.not_looked_at(NAME, why),
        };
        match &host.unfinished {
            Some((_, command)) if host.working.is_some() => Finding::ok(
                NAME,
                format!("operation \"{command}\" is running (process {})", host.working.unwrap_or_default()),
            ),
            Some((id, command)) => Finding::new(
                NAME,
                CheckStatus::Warning,
                format!("operation \"{command}\" is unfinished"),
            )
            .detail(format!("Its id is {id}."))
            .hint(format!(
                "On \"{}\" run \"pgbaton operation show {id}\", then \"pgbaton operation resume {id}\" or \
                         \"pgbaton operation abandon {id}\".",
                self.name()
            ))
            .next(&format!("pgbaton operation show {id}"), self.node),
            None if host.journal_unread.is_some() => {
                let why = crate::error::sentence(host.journal_unread.as_deref().unwrap_or_default());
                let found = Finding::unknown(NAME, "the journal cannot be read").detail(why);
                match &host.other_owner {
                    Some(owner) => as_owner(found, owner),
                    None => {
                        found.hint("Check state_directory in the configuration of the node, and its owner.")
                    }
                }
            }
            None if host.half_rewound => {
                Finding::new(NAME, CheckStatus::Critical, "a rewind was begun and not finished")
                    .detail("No server starts on this data directory.")
                    .hint(format!("Run \"pgbaton node rejoin\" on \"{}\".", self.name()))
                    .next("pgbaton node rejoin", self.node)
            }
            None => match &host.other_owner {
                // Without state_directory another user has another one.
                Some(owner) => as_owner(
                    Finding::unknown(NAME, "pgbaton does not run as the user that runs the server"),
                    owner,
                ),
                None if host.silent => Finding::unknown(NAME, SILENT).detail(NO_TIME),
                None => Finding::ok(NAME, "no operation is unfinished"),
            },
        }
    }
}

/// Says as whom the command has to be run for this check.
fn as_owner(found: Finding, owner: &str) -> Finding {
    found.hint(format!("Run it as the user that owns the data directory: sudo -u {owner} pgbaton ..."))
}
