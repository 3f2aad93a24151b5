//! Settings: what is in force, what the files say, what is required.

use super::{Change, PrepareAssessment, Requirement, RequirementStatus, ServerUse};
use crate::facts::prepare::{ServerSetup, SettingNow};
use crate::plan::Check;

/// WAL senders beyond one for each other node: a clone takes two, a backup and a login that is tried one each.
const SPARE_SENDERS: usize = 4;
/// Slots beyond one for each other node: those of clones, and of a node that comes.
const SPARE_SLOTS: usize = 2;
/// PostgreSQL's own default for both; what has to be raised at all is raised to no less.
const USUAL: usize = 10;

/// What a setting has to be.
struct Need {
    name: &'static str,
    uses: Vec<ServerUse>,
    needs: String,
    /// What it is set to where it is not.
    value: String,
    fits: Box<dyn Fn(&str) -> bool>,
}

impl PrepareAssessment<'_> {
    pub(super) fn settings(&mut self, set_up: &ServerSetup) {
        for error in &set_up.file_errors {
            self.checks.push(
                Check::fail("configuration_files", format!("a configuration file has an error: {error}"))
                    .detail("PostgreSQL loads no new setting from files with errors.")
                    .hint("Correct it, then run the command again."),
            );
        }
        let now = |name: &str| set_up.settings.get(name).cloned().unwrap_or_default();
        for need in self.needs(set_up) {
            let setting = now(need.name);
            let (status, how) = judge(&setting, &need);
            let restart = setting.context == "postmaster";
            let has = match (&setting.file, status) {
                (Some(file), RequirementStatus::Restart) => {
                    format!("{}, {} after a restart", shown(&setting.value), shown(&file.value))
                }
                _ => shown(&setting.value),
            };
            let change = (status == RequirementStatus::Missing).then(|| Change::Setting {
                name: need.name.to_string(),
                value: need.value.clone(),
                restart,
            });
            self.add(
                Requirement {
                    name: need.name.to_string(),
                    uses: need.uses,
                    has,
                    needs: need.needs,
                    status,
                    how,
                },
                change,
            );
        }
        let raises =
            |name: &str| self.items.iter().any(|item| item.requirement.name == name && item.change.is_some());
        if self.facts.has_standbys && raises("max_wal_senders") {
            self.checks.push(
                Check::warning("standbys_first", "max_wal_senders must not be lower on a standby than on its primary")
                    .detail("A standby with a lower value pauses or stops when the primary is restarted with a higher one.")
                    .hint("Run \"pgbaton node prepare --apply\" on the standbys and restart them before this server."),
            );
        }
        if self.wanted.archive_command.is_some() && !now("archive_library").value.is_empty() {
            let library = now("archive_library").value;
            self.checks.push(
                Check::fail("archive_library", format!("archive_library is set to \"{library}\""))
                    .detail("PostgreSQL does not allow both archive_library and archive_command.")
                    .hint("Leave out --archive-command, or reset archive_library first."),
            );
        }
    }

    fn needs(&self, set_up: &ServerSetup) -> Vec<Need> {
        use ServerUse::{Primary, RewindSource, RewindTarget, Standby};
        let others = self.wanted.nodes.len().saturating_sub(1);
        let need = |name, uses: &[ServerUse], needs: &str, value: &str, fits: Box<dyn Fn(&str) -> bool>| {
            Need { name, uses: uses.to_vec(), needs: needs.to_string(), value: value.to_string(), fits }
        };
        let on = || Box::new(|value: &str| is_on(value));
        let at_least = |least: usize| -> Box<dyn Fn(&str) -> bool> {
            Box::new(move |value| value.trim().parse::<usize>().is_ok_and(|value| value >= least))
        };
        let senders = others + SPARE_SENDERS;
        let mut out = vec![
            need(
                "wal_level",
                &ServerUse::ALL,
                "replica or logical",
                "replica",
                Box::new(|value| {
                    // The last two are names of earlier versions for "replica".
                    ["replica", "logical", "archive", "hot_standby"]
                        .contains(&value.to_ascii_lowercase().as_str())
                }),
            ),
            need(
                "max_wal_senders",
                &[Primary, Standby],
                &format!("{senders} or more"),
                &senders.max(USUAL).to_string(),
                at_least(senders),
            ),
        ];
        if self.wanted.slots {
            let slots = others + SPARE_SLOTS + set_up.other_slots as usize;
            out.push(need(
                "max_replication_slots",
                &[Primary, Standby],
                &format!("{slots} or more"),
                &slots.max(USUAL).to_string(),
                at_least(slots),
            ));
        }
        out.push(need("hot_standby", &[Standby], "on", "on", on()));
        let checksums = set_up.settings.get("data_checksums").is_some_and(|setting| is_on(&setting.value));
        out.push(need(
            "wal_log_hints",
            &[RewindTarget],
            if checksums { "any, as data checksums are on" } else { "on, or data checksums" },
            "on",
            Box::new(move |value| checksums || is_on(value)),
        ));
        out.push(need("full_page_writes", &[RewindTarget, RewindSource], "on", "on", on()));
        out.extend(self.listen_addresses(set_up));
        if let Some(command) = self.wanted.archive_command.clone() {
            let uses = [Primary, RewindTarget];
            let archives = |value: &str| is_on(value) || value.eq_ignore_ascii_case("always");
            out.push(need("archive_mode", &uses, "on", "on", Box::new(archives)));
            let text = command.clone();
            out.push(need(
                "archive_command",
                &uses,
                "as given",
                &text,
                Box::new(move |value| value == command),
            ));
        }
        if let Some(command) = self.wanted.restore_command.clone() {
            let text = command.clone();
            out.push(need(
                "restore_command",
                &[Standby, RewindTarget],
                "as configured",
                &text,
                Box::new(move |value| value == command),
            ));
        }
        out
    }

    /// Other nodes must reach the address in the conninfo; where that is a socket's directory, nothing has to listen.
    fn listen_addresses(&self, set_up: &ServerSetup) -> Option<Need> {
        let hosts = self.wanted.own_hosts.clone();
        if hosts.is_empty() {
            return None;
        }
        let is_local = |host: &String| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        };
        let now = set_up.settings.get("listen_addresses").map(|setting| {
            setting.file.as_ref().map_or(&setting.value, |file| &file.value).trim().to_string()
        });
        // "localhost" is looked at by its addresses as well.
        let value = match now.as_deref() {
            _ if hosts.iter().all(is_local) => "localhost".to_string(),
            None | Some("" | "localhost") => "*".to_string(),
            // The listen addresses were chosen, and no others are opened. A name may mean another address on this host than
            // on others.
            Some(chosen) => {
                let is_address = |host: &&String| host.parse::<std::net::IpAddr>().is_ok() && !is_local(host);
                let own = hosts.iter().find(is_address).or_else(|| hosts.iter().find(|host| !is_local(host)));
                format!("{chosen},{}", own.map_or("", String::as_str))
            }
        };
        let first = hosts.first().cloned().unwrap_or_default();
        let of_v6 = hosts.iter().any(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
        let of_v4 = hosts.iter().any(|host| host.parse::<std::net::Ipv4Addr>().is_ok());
        let local = hosts.iter().any(is_local);
        let fits = move |value: &str| {
            value.split(',').map(str::trim).any(|listens| {
                listens == "*"
                    || (listens == "0.0.0.0" && (of_v4 || !of_v6))
                    || (listens == "::" && of_v6)
                    || (listens == "localhost" && local)
                    || hosts.iter().any(|host| host == listens)
            })
        };
        Some(Need {
            name: "listen_addresses",
            uses: ServerUse::ALL.to_vec(),
            needs: format!("* or {first}"),
            value,
            fits: Box::new(fits),
        })
    }
}

/// Says how a setting stands.
fn judge(setting: &SettingNow, need: &Need) -> (RequirementStatus, Option<String>) {
    // An archive command that is not in force is not shown either.
    let hidden = setting.value == "(disabled)";
    let now = match &setting.file {
        Some(file) if hidden => (need.fits)(&file.value),
        _ => (need.fits)(&setting.value),
    };
    let by_hand = setting.source == "command line" || setting.source == "environment variable";
    if by_hand && !now {
        let how = format!(
            "It is set by the server's {}, which overrides every file; remove it there.",
            setting.source
        );
        return (RequirementStatus::Cannot, Some(how));
    }
    let file = setting.file.as_ref().map(|file| (need.fits)(&file.value));
    match (now, file) {
        (true, None | Some(true)) => (RequirementStatus::Ok, None),
        (true, Some(false)) if by_hand => (RequirementStatus::Ok, None),
        (false, Some(true)) if setting.context == "postmaster" => {
            (RequirementStatus::Restart, Some("Run \"pgbaton node restart\".".into()))
        }
        _ => (RequirementStatus::Missing, Some(alter_system(need.name, &need.value))),
    }
}

/// Returns the statement that changes a setting.
pub(super) fn alter_system(name: &str, value: &str) -> String {
    format!("ALTER SYSTEM SET {name} = {};", crate::pg::quote::quote_literal(value).trim_start())
}

fn is_on(value: &str) -> bool {
    ["on", "true", "yes", "1", "t", "y"].contains(&value.trim().to_ascii_lowercase().as_str())
}

/// Shows a value that may be empty or long.
fn shown(value: &str) -> String {
    match value.chars().count() {
        0 => "(empty)".into(),
        1..=40 => value.to_string(),
        _ => value.chars().take(39).chain(['…']).collect(),
    }
}
