//! What makes a server a standby of another node: one part, which all planners use. Pure.
//!
//! `standby.signal`, where it streams from, no recovery target, and the modes that files in that directory have. No file
//! overrides options on the server's command line, so they are refused before anything stops.

use std::path::Path;

use crate::error::Exit;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::facts::role::RoleFacts;
use crate::facts::server::ServerFacts;
use crate::facts::settings::{
    self, NextStart, PlacedSetting, SettingPlace, Settings, TARGET_TIMELINE, TARGETS,
};
use crate::pg::lsn::Lsn;
use crate::plan::parts::following::can_follow;
use crate::plan::{Check, FileOp, Op, Override, Setting, Step};
use crate::registry::NodeRow;

/// The file for settings that the server writes itself, which override those of the others.
pub const AUTO_CONF: &str = "postgresql.auto.conf";

/// Seconds for a file.
const SHORT_S: u32 = 60;

/// A standby that has more than this to replay is not waited for until it has replayed it.
const FAR_BEHIND: u64 = 64 << 20;

/// Says what a failed command leaves of a step that writes `standby.signal`.
pub fn signal_stays(node: &str) -> String {
    format!("Node \"{node}\" will start as a standby only: standby.signal was written and stays.")
}

/// Says what a failed command leaves of a step that points a stopped server at its upstream.
pub fn settings_stay(upstream: &str) -> String {
    format!("Its replication settings remain those of a standby of \"{upstream}\".")
}

/// Returns the assignments that keep a standby in recovery forever: those of the settings that end a recovery, with the value that does
/// not. Where not everything could be read, it is all that every version knows.
pub fn cleared(found: &Settings) -> Vec<(String, String)> {
    let mut names = found.clearable();
    if found.unread.is_some() {
        let all = TARGETS.iter().chain([&TARGET_TIMELINE]);
        let missing: Vec<String> =
            all.map(ToString::to_string).filter(|name| !names.contains(name)).collect();
        names.extend(missing);
    }
    names.into_iter().map(|name| (name.clone(), settings::neutral(&name).to_string())).collect()
}

/// Clears what would end the recovery of a server that starts as a standby; None where nothing would.
pub fn clear_recovery_end(data_directory: &Path, next: &NextStart) -> Option<FileOp> {
    let set = cleared(&next.settings);
    (!set.is_empty()).then(|| write_settings(data_directory, next, Vec::new(), &set))
}

/// Undoes [`clear_recovery_end`], and removes other settings; None where there is nothing to do.
pub fn restore_recovery_end(data_directory: &Path, next: &NextStart, also: &[&str]) -> Option<FileOp> {
    let mut remove: Vec<String> = also.iter().map(ToString::to_string).collect();
    remove.extend(cleared(&next.settings).into_iter().map(|(name, _)| name));
    (!remove.is_empty()).then(|| write_settings(data_directory, next, remove, &next.own))
}

fn write_settings(
    data_directory: &Path,
    next: &NextStart,
    remove: Vec<String>,
    set: &[(String, String)],
) -> FileOp {
    FileOp::WriteSettings {
        path: data_directory.join(AUTO_CONF),
        remove,
        set: set.iter().map(|(name, value)| Setting::new(name, value)).collect(),
        mode: next.file_mode,
    }
}

/// The step that clears it, if there is something to clear.
pub fn clear_step(name: &str, data_directory: &Path, next: &NextStart, exit: Exit) -> Option<Step> {
    let op = Op::File(clear_recovery_end(data_directory, next)?);
    let title = format!("clear the recovery target of node \"{name}\"");
    Some(Step::new("no_recovery_target", title, op, SHORT_S, exit).left_in_place(format!(
        "The recovery target of node \"{name}\" stays cleared, in postgresql.auto.conf."
    )))
}

/// Checks what may end the recovery of a server that starts as a standby, other than what stands on its command line: see
/// [`promotes_itself`].
pub fn ends_recovery(name: &str, data_directory: &Path, next: &NextStart) -> Vec<Check> {
    let mut checks = Vec::new();
    let settings = &next.settings;
    let stops: Vec<&PlacedSetting> =
        settings.stops().into_iter().filter(|set| set.place != SettingPlace::CommandLine).collect();
    if !stops.is_empty() {
        checks.push(
            Check::warning(
                "recovery_target",
                format!("node \"{name}\" has settings of a past recovery, which are cleared"),
            )
            .detail(format!("{} {}", listed(&stops), effect(settings, &stops)))
            .hint("They are overridden in postgresql.auto.conf; remove them from the file that sets them."),
        );
    }
    if let Some(why) = &settings.unread {
        checks.push(
            Check::warning(
                "configuration_files",
                format!("the configuration files of node \"{name}\" could not be read completely"),
            )
            .detail(format!(
                "{} All recovery targets are overridden in postgresql.auto.conf.",
                crate::error::sentence(why)
            )),
        );
    }
    if next.recovery_signal {
        checks.push(
            Check::warning("recovery_signal", format!("node \"{name}\" has a recovery.signal"))
                .detail("standby.signal takes precedence over it. A promotion would not remove it, and the next start after that would \
                    begin a recovery.")
                .hint(format!(
                    "Remove it: rm {}",
                    shell_words::quote(&data_directory.join("recovery.signal").display().to_string())
                )),
        );
    }
    checks
}

/// Refuses what no file overrides and would end the recovery, where it does not matter whom it follows.
pub fn promotes_itself(name: &str, next: &NextStart) -> Option<Check> {
    let stops: Vec<&PlacedSetting> =
        next.settings.fixed().into_iter().filter(|set| set.stops_recovery()).collect();
    on_command_line(name, &stops)
}

/// A server that is to start as a standby.
#[derive(Clone, Copy, Debug)]
pub struct FutureStandby<'a> {
    /// The node.
    pub row: &'a NodeRow,
    /// Its data directory.
    pub data_directory: &'a Path,
    /// What its next start will find.
    pub next: &'a NextStart,
}

impl FutureStandby<'_> {
    /// Writes `standby.signal`.
    pub fn signal(&self) -> Op {
        Op::File(FileOp::WriteFile {
            path: self.data_directory.join(STANDBY_SIGNAL),
            contents: String::new(),
            mode: self.next.file_mode,
        })
    }

    /// Clears what would end the recovery; None where nothing would. It comes before `standby.signal`: with the signal and a target a
    /// start would make a second primary.
    pub fn clear(&self, exit: Exit) -> Option<Step> {
        clear_step(&self.row.node_name, self.data_directory, self.next, exit)
    }

    /// Checks what it needs as a standby. `running` is what the server reports, if it runs; `primary` is the name of the future
    /// primary and what is in force there.
    pub fn checks(
        &self,
        running: Option<&Settings>,
        primary: Option<(&str, &Settings)>,
        force: bool,
    ) -> Vec<Check> {
        let (next, name) = (&self.next.settings, &self.row.node_name);
        let mut checks = Vec::new();
        let mut fixed = next.fixed();
        // A running server knows its options, also where the file that holds them is gone.
        for set in running.into_iter().flat_map(Settings::fixed) {
            if !fixed.iter().any(|other| other.name == set.name) {
                fixed.push(set);
            }
        }
        checks.extend(on_command_line(name, &fixed));
        checks.extend(ends_recovery(name, self.data_directory, self.next));
        if next.is_off("hot_standby") {
            checks.push(
                Check::fail(
                    "hot_standby",
                    format!(
                        "hot_standby is off on node \"{name}\": as a standby it would accept no connections"
                    ),
                )
                .detail(next.get("hot_standby").map(|set| format!("{set}.")).unwrap_or_default())
                .hint(format!(
                    "Turn it on in the configuration of \"{name}\", or repeat the command with --force."
                ))
                .overridable_by(Override::Force, force),
            );
        }
        checks
            .extend(primary.and_then(|(primary_name, there)| next_is_lower(name, next, primary_name, there)));
        if let Some(set) = next.get("archive_cleanup_command").filter(|set| set.value.as_deref() != Some(""))
        {
            checks.push(cleanup(name, set));
        }
        checks.into_iter().map(|check| check.node(self.row.node_id)).collect()
    }
}

/// Reports a command that becomes active on a standby.
pub fn cleanup(name: &str, set: &PlacedSetting) -> Check {
    Check::warning("archive_cleanup_command", format!("as a standby, node \"{name}\" runs archive_cleanup_command"))
        .detail(format!(
            "{set}. It removes from the archive what this node no longer needs; other nodes and backups may still need it."
        ))
        .hint("If the archive is shared, remove the setting.")
}

/// Refuses what no file overrides.
fn on_command_line(name: &str, fixed: &[&PlacedSetting]) -> Option<Check> {
    (!fixed.is_empty()).then(|| {
        Check::fail(
            "start_options",
            format!("node \"{name}\" is started with options that no configuration file overrides"),
        )
        .detail(format!(
            "{} pgbaton can neither clear them nor point the node at another upstream.",
            listed(fixed)
        ))
        .hint(format!(
            "Remove them from the command that starts the server of \"{name}\" (pg_ctl -o, the arguments of a container, a unit), restart \
            it, and run the command again. primary_conninfo belongs in postgresql.auto.conf."
        ))
    })
}

/// Says that settings are lower than on the primary.
fn lower_settings(name: &str, here: &Settings, primary_name: &str, there: &Settings) -> Option<Check> {
    let lower = here.lower_than(there);
    let texts: Vec<String> = lower
        .iter()
        .map(|(setting, ours, theirs)| {
            let place = here.get(setting).map(|set| format!(" ({})", set.place)).unwrap_or_default();
            format!("{setting} is {ours}{place}, but {theirs} on \"{primary_name}\"")
        })
        .collect();
    (!lower.is_empty()).then(|| {
        Check::fail(
            "standby_settings",
            format!("settings of node \"{name}\" are lower than those of \"{primary_name}\""),
        )
        .detail(format!(
            "{}. A standby with lower values than its primary pauses replay; before PostgreSQL 14 it shuts down.",
            texts.join("; ")
        ))
    })
}

/// Says that settings with which a server will start as a standby are lower than on the primary.
pub fn next_is_lower(name: &str, next: &Settings, primary_name: &str, there: &Settings) -> Option<Check> {
    let check = lower_settings(name, next, primary_name, there)?;
    Some(check.hint(format!(
        "{} No restart is needed now: the server reads it when it starts as a standby.",
        raise_settings_hint(name, next, there)
    )))
}

/// Says what to type to raise them.
fn raise_settings_hint(name: &str, here: &Settings, there: &Settings) -> String {
    let lower = here.lower_than(there);
    let fixed = |setting: &str| here.get(setting).is_some_and(|set| set.place == SettingPlace::CommandLine);
    let lines = |on_command_line: bool| -> Vec<String> {
        let some = lower.iter().filter(|(setting, ..)| fixed(setting) == on_command_line);
        some.map(|(setting, _, value)| {
            if on_command_line {
                format!("{setting}={value}")
            } else {
                format!("ALTER SYSTEM SET {setting} = {value};")
            }
        })
        .collect()
    };
    let mut out = Vec::new();
    let (by_sql, by_option) = (lines(false), lines(true));
    if !by_sql.is_empty() {
        out.push(format!(
            "On \"{name}\" run: {} (or write it into its postgresql.auto.conf, if it is down).",
            by_sql.join(" ")
        ));
    }
    if !by_option.is_empty() {
        out.push(format!("Change the options with which \"{name}\" is started: {}.", by_option.join(" ")));
    }
    out.join(" ")
}

/// Lists settings, as whole sentences.
fn listed(sets: &[&PlacedSetting]) -> String {
    let texts: Vec<String> = sets.iter().map(ToString::to_string).collect();
    format!("{}.", texts.join(", "))
}

/// Says what a standby with these settings does.
fn effect(all: &Settings, stops: &[&PlacedSetting]) -> String {
    let action = all.get("recovery_target_action").and_then(|set| set.value.as_deref()).unwrap_or("pause");
    let mut out = Vec::new();
    if stops.iter().any(|set| TARGETS.contains(&&*set.name)) {
        out.push(match action {
            "promote" => "A standby promotes itself when it reaches the target.",
            "shutdown" => "A standby shuts down when it reaches the target.",
            _ => "A standby pauses replay when it reaches the target, and a resume promotes it.",
        });
    }
    if stops.iter().any(|set| set.name == TARGET_TIMELINE) {
        out.push("A standby does not follow its upstream to a newer timeline.");
    }
    if stops.iter().any(|set| set.name == settings::TRIGGER_FILE) {
        out.push("A standby promotes itself when the trigger file exists.");
    }
    out.join(" ")
}

/// Checks a standby that runs and is to follow another upstream without a restart; without what our role may do.
///
/// `primary` is the name of the primary and what is in force there.
pub fn running(row: &NodeRow, here: &Settings, primary: Option<(&str, &Settings)>) -> Vec<Check> {
    let name = &row.node_name;
    let mut checks: Vec<Check> = on_command_line(name, &here.fixed()).into_iter().collect();
    let stops: Vec<&PlacedSetting> =
        here.stops().into_iter().filter(|set| set.place != SettingPlace::CommandLine).collect();
    // A configured trigger file is no danger before it is created, and then a promotion is intended.
    let stops: Vec<&PlacedSetting> =
        stops.into_iter().filter(|set| set.name != settings::TRIGGER_FILE).collect();
    if !stops.is_empty() {
        let sql: Vec<String> = stops
            .iter()
            .map(|set| format!("ALTER SYSTEM SET {} = '{}';", set.name, settings::neutral(&set.name)))
            .collect();
        checks.push(
            Check::fail("recovery_target", format!("node \"{name}\" has settings of a past recovery"))
                .detail(format!("{} {}", listed(&stops), effect(here, &stops)))
                .hint(format!(
                    "Clear them on \"{name}\": {} They take effect with a restart: \"pgbaton node restart\" there.",
                    sql.join(" ")
                )),
        );
    }
    checks.extend(primary.and_then(|(primary_name, there)| {
        lower_settings(name, here, primary_name, there).map(|check| {
            check.hint(format!(
                "{} Then restart it: \"pgbaton node restart\" there.",
                raise_settings_hint(name, here, there)
            ))
        })
    }));
    checks.into_iter().map(|check| check.node(row.node_id)).collect()
}

/// Returns what prevents a running standby from being repointed by SQL and from staying a standby there.
pub fn refuses_to_follow(
    row: &NodeRow,
    version_num: u32,
    role: Option<&RoleFacts>,
    primary: Option<(&str, &Settings)>,
) -> Vec<Check> {
    let mut checks = vec![can_follow(row, version_num, role)];
    checks.extend(role.into_iter().flat_map(|role| running(row, &role.settings, primary)));
    checks.retain(Check::stops);
    checks
}

/// Returns what is in force on a node, with its name.
pub fn in_force<'a>(row: &'a NodeRow, role: Option<&'a RoleFacts>) -> Option<(&'a str, &'a Settings)> {
    role.map(|role| (row.node_name.as_str(), &role.settings))
}

/// How far a standby must have replayed to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayTarget {
    /// The position: that of the switch to the present timeline; None for the last checkpoint of the upstream, which a new primary writes
    /// on its new timeline.
    pub at: Option<Lsn>,
    /// It need only have received and flushed it: it replays late on purpose, not at all, or has much to replay.
    pub flushed: bool,
}

/// Says whether a standby does not replay what it receives at once.
pub fn replays_late(server: &ServerFacts) -> bool {
    let behind = match (server.wal_end(), server.replay_lsn) {
        (Some(end), Some(replayed)) => end.0.saturating_sub(replayed.0) > FAR_BEHIND,
        _ => false,
    };
    server.apply_delay_s > 0.0 || server.replay_paused == Some(true) || behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::settings::in_file;
    use crate::plan::CheckResult;
    use crate::registry::NodeType;

    fn next(pairs: &[(&str, &str)]) -> NextStart {
        NextStart { settings: in_file(pairs), file_mode: 0o640, ..NextStart::default() }
    }

    fn row() -> NodeRow {
        NodeRow::example(1, NodeType::Primary)
    }

    fn checks(next: &NextStart, running: Option<&Settings>, primary: &Settings) -> Vec<Check> {
        let future = FutureStandby { row: &row(), data_directory: Path::new("/data"), next };
        future.checks(running, Some(("node2", primary)), false)
    }

    fn command_line(pairs: &[(&str, &str)]) -> Settings {
        let set =
            pairs.iter().map(|(name, value)| PlacedSetting::new(name, value, SettingPlace::CommandLine));
        Settings { set: set.collect(), unread: None }
    }

    #[test]
    fn a_server_as_it_should_be_raises_no_check() {
        assert_eq!(checks(&next(&[]), Some(&Settings::default()), &Settings::default()), []);
        assert_eq!(running(&row(), &Settings::default(), Some(("node2", &Settings::default()))), []);
    }

    #[test]
    fn every_target_is_cleared_and_told() {
        let names = TARGETS.into_iter().chain([TARGET_TIMELINE, settings::TRIGGER_FILE]);
        for name in names {
            let next = next(&[(name, "x"), ("recovery_target_action", "promote")]);
            assert_eq!(cleared(&next.settings), [(name.to_string(), settings::neutral(name).to_string())]);
            let [check] = checks(&next, None, &Settings::default()).try_into().unwrap();
            assert_eq!(
                (check.name.as_str(), check.verdict),
                ("recovery_target", CheckResult::Warning),
                "{name}"
            );
            assert!(check.text.detail.unwrap().contains("/data/postgresql.conf:7"));
        }
        assert!(cleared(&in_file(&[("recovery_min_apply_delay", "5min")])).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_cleared_whole() {
        let settings = Settings { unread: Some("no".into()), ..in_file(&[("recovery_target_xid", "7")]) };
        let names: Vec<String> = cleared(&settings).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 6, "{names:?}");
        // No version of today refuses one of these.
        assert!(!names.contains(&settings::TRIGGER_FILE.to_string()));
    }

    #[test]
    fn what_was_cleared_can_be_put_back() {
        let own = vec![("recovery_target".to_string(), "immediate".to_string())];
        let next = NextStart { own, ..next(&[("recovery_target", "immediate")]) };
        let data = Path::new("/data");
        let Some(FileOp::WriteSettings { remove, set, mode, .. }) =
            restore_recovery_end(data, &next, &["primary_conninfo"])
        else {
            panic!()
        };
        assert_eq!(remove, ["primary_conninfo", "recovery_target"]);
        assert_eq!((set.len(), mode), (1, 0o640));
        let quiet = NextStart::default();
        assert!(
            restore_recovery_end(data, &quiet, &[]).is_none() && clear_recovery_end(data, &quiet).is_none()
        );
    }

    #[test]
    fn what_stands_on_the_command_line_is_refused_whoever_tells_of_it() {
        let fixed = command_line(&[("primary_conninfo", "host=a"), ("recovery_target_time", "now")]);
        let next_has = NextStart { settings: fixed.clone(), ..NextStart::default() };
        for (next, running) in [(next_has, None), (next(&[]), Some(&fixed))] {
            let [check] = checks(&next, running, &Settings::default()).try_into().unwrap();
            assert!(check.stops() && check.name == "start_options");
            let detail = check.text.detail.unwrap();
            assert!(
                detail.contains("primary_conninfo") && detail.contains("recovery_target_time"),
                "{detail}"
            );
        }
        let [check] = running(&row(), &fixed, None).try_into().unwrap();
        assert!(check.stops() && check.name == "start_options");
    }

    #[test]
    fn a_running_standby_with_a_target_is_refused_with_what_to_type() {
        for (name, what) in [("recovery_target_lsn", "= '';"), (TARGET_TIMELINE, "= 'latest';")] {
            let [check] = running(&row(), &in_file(&[(name, "5")]), None).try_into().unwrap();
            let hint = check.hint.clone().unwrap();
            assert!(check.stops() && hint.contains(&format!("ALTER SYSTEM SET {name} {what}")), "{hint}");
            assert!(hint.contains("node restart"));
        }
        assert!(running(&row(), &in_file(&[(settings::TRIGGER_FILE, "/x")]), None).is_empty());
    }

    #[test]
    fn lower_settings_are_refused_with_the_lines_to_change() {
        let primary = in_file(&[("max_connections", "80"), ("max_wal_senders", "20")]);
        let mut here = in_file(&[("max_connections", "50")]);
        here.add(PlacedSetting::new("max_wal_senders", "5", SettingPlace::CommandLine));
        let [check] = running(&row(), &here, Some(("node2", &primary))).try_into().unwrap();
        assert!(check.stops() && check.name == "standby_settings");
        let hint = check.text.hint.unwrap();
        assert!(hint.contains("ALTER SYSTEM SET max_connections = 80;"), "{hint}");
        assert!(hint.contains("is started: max_wal_senders=20"), "{hint}");
        let next = NextStart { settings: here, ..NextStart::default() };
        assert!(checks(&next, None, &primary).iter().any(|check| check.name == "standby_settings"));
        assert!(
            checks(&next, None, &Settings::default()).iter().any(|check| check.name == "standby_settings")
        );
    }

    #[test]
    fn a_standby_that_replays_late_need_only_have_received() {
        let server = ServerFacts::example(true, 1, 0x500);
        assert!(!replays_late(&server));
        for late in [
            ServerFacts { apply_delay_s: 1.0, ..server.clone() },
            ServerFacts { replay_paused: Some(true), ..server.clone() },
            ServerFacts { receive_lsn: Some(Lsn(1 << 40)), ..server.clone() },
        ] {
            assert!(replays_late(&late));
        }
    }
}
