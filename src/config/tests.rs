//! Whole files: what is made of them, and what is said about them.

use std::time::Duration;

use proptest::prelude::*;
use snapbox::str;

use super::show::Shown;
use super::*;

const REQUIRED: &str =
    "node_id = 1\nnode_name = 'node1'\nconninfo = 'host=node1'\ndata_directory = '/data/'\n";

/// Stands for the parser of connection strings.
fn check_conninfo(text: &str) -> Result<(), String> {
    if text.contains('=') { Ok(()) } else { Err(format!("missing \"=\" after \"{text}\"")) }
}

fn outcome(text: &str, format: ConfigSyntax) -> ConfigCheck {
    let path = match format {
        ConfigSyntax::Toml => "/etc/pgbaton.toml",
        ConfigSyntax::RepmgrConf => "/etc/repmgr.conf",
    };
    understand(text, Path::new(path), format, &[], check_conninfo)
}

fn understand(
    text: &str,
    path: &Path,
    format: ConfigSyntax,
    options: &[(&str, String)],
    check_conninfo: fn(&str) -> Result<(), String>,
) -> ConfigCheck {
    let contents = match format {
        ConfigSyntax::Toml => toml_file::parse(text, path),
        ConfigSyntax::RepmgrConf => repmgr_conf::parse(text.as_bytes(), path, &[0, own_uid()]),
    };
    super::understand(contents, path, format, None, options, check_conninfo)
}

/// Returns a valid configuration with some more lines of TOML.
pub(super) fn config(more: &str) -> Config {
    outcome(&format!("{REQUIRED}{more}"), ConfigSyntax::Toml).accept().unwrap().0
}

fn fixture(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let (config, warnings) = read(&path, NamedBy::User, &[], check_conninfo).unwrap().accept().unwrap();
    assert_eq!(warnings, []);
    config
}

fn put(path: &Path, text: impl AsRef<[u8]>) {
    crate::system::files::write(path, text.as_ref(), 0o644).unwrap();
}

/// Renders problems as `config check` might.
fn report(outcome: &ConfigCheck) -> String {
    let mut text = String::new();
    for problem in &outcome.problems {
        let issue = problem.issue();
        text += &format!("{:?} {}: {}\n", issue.severity, issue.code, issue.message);
        for more in issue.detail.iter().chain(&issue.hint) {
            text += &format!("    {more}\n");
        }
    }
    text
}

fn values(config: &Config) -> Vec<(&'static str, toml::Value)> {
    config.values().map(|(parameter, value)| (parameter.name, value)).collect()
}

#[test]
fn both_formats_take_every_parameter() {
    let (toml, repmgr) =
        (fixture("tests/fixtures/config/pgbaton.toml"), fixture("tests/fixtures/config/repmgr.conf"));
    assert_eq!(values(&toml), values(&repmgr));
    for parameter in PARAMETERS {
        assert!(matches!(toml.origin(parameter.name), Origin::File { .. }), "{}", parameter.name);
        assert!(matches!(repmgr.origin(parameter.name), Origin::File { .. }), "{}", parameter.name);
    }
    assert_eq!(repmgr.conninfo, r"host=node2 user=repmgr dbname=repmgr application_name='it\'s'");
    assert_eq!(repmgr.data_directory, Path::new("/var/lib/postgresql/17/main"));
    assert_eq!(repmgr.tablespace_mapping.len(), 2);
    assert_eq!(repmgr.tablespace_mapping[1].old, Path::new("/srv/b=c"));
    assert_eq!(repmgr.event_notifications, ["standby_promote", "standby_switchover"]);
}

#[test]
fn the_sample_loads_and_what_it_comments_out_does_too() {
    let sample = fixture("examples/pgbaton.toml");
    let text = include_str!("../../examples/pgbaton.toml");
    let set: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(line) if line.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{line}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let (all, warnings) = outcome(&set, ConfigSyntax::Toml).accept().unwrap();
    assert_eq!(warnings, []);
    assert!(matches!(all.origin("guard_wait"), Origin::File { .. }));
    // What the sample calls a default is one.
    for (parameter, value) in all.values().filter(|(parameter, _)| !parameter.default.is_empty()) {
        let same = sample.values().find(|(other, _)| other.name == parameter.name).unwrap().1;
        assert_eq!(value, same, "{}", parameter.name);
    }
}

#[test]
fn defaults_are_repmgrs_except_in_pgbaton_toml() {
    let toml = config("");
    let repmgr = outcome(REQUIRED, ConfigSyntax::RepmgrConf).accept().unwrap().0;
    assert!(toml.use_replication_slots);
    assert!(!repmgr.use_replication_slots);
    assert_eq!(toml.guard_wait, Duration::from_secs(60));
    assert_eq!(toml.degraded_monitoring_timeout, None);
    assert_eq!(toml.ssh_options.as_deref(), Some("-q -o ConnectTimeout=10"));
    let differing: Vec<_> = values(&toml).into_iter().zip(values(&repmgr)).filter(|(a, b)| a != b).collect();
    assert_eq!(differing.len(), 1);
}

#[test]
fn everything_wrong_in_a_toml_file_is_reported_at_once() {
    let text = "node-id = 1\n\
                node_name = 5\n\
                conninfo = 'nonsense'\n\
                priority = -1\n\
                use_replication_slots = 'maybe'\n\
                degraded_monitoring_timeout = 1.5\n\
                loglevel = 'INFO'\n\
                log_level = 'LOUD'\n\
                archive_ready_critical = 10\n\
                standby_reconnect_timeout = 5\n\
                barman_host = 'backup'\n\
                state_directory = '/data/state'\n\
                data_directory = '/data'\n\
                tablespace_mapping = ['/a']\n\
                [guard]\n\
                wait = 1\n";
    snapbox::assert_data_eq!(
        report(&outcome(text, ConfigSyntax::Toml)),
        str![[r#"
Error config_unrecognized_parameter: unrecognized configuration parameter "node-id"
    It is in line 1 of "/etc/pgbaton.toml".
    Perhaps you meant "node_id".
Error config_invalid_value: invalid value for parameter "node_name": "5"
    The allowed value is a string of 1 to 63 bytes. It is in line 2 of "/etc/pgbaton.toml".
    Write it in quotes.
Error config_invalid_value: invalid value for parameter "conninfo": missing "=" after "nonsense"
    It is in line 3 of "/etc/pgbaton.toml".
Error config_invalid_value: invalid value for parameter "priority": "-1"
    The allowed value is an integer, at least 0. It is in line 4 of "/etc/pgbaton.toml".
Error config_invalid_value: invalid value for parameter "use_replication_slots": "maybe"
    The allowed value is true or false. It is in line 5 of "/etc/pgbaton.toml".
Error config_invalid_value: invalid value for parameter "degraded_monitoring_timeout": "1.5"
    The allowed value is a number of seconds, at least 0, or -1 to disable it. It is in line 6 of "/etc/pgbaton.toml".
Error config_unrecognized_parameter: parameter "loglevel" no longer exists
    It is in line 7 of "/etc/pgbaton.toml".
    The parameter is now called "log_level".
Error config_invalid_value: invalid value for parameter "log_level": "LOUD"
    The allowed value is one of "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "ALERT", "CRIT", "EMERG". It is in line 8 of "/etc/pgbaton.toml".
Error config_conflict: "archive_ready_critical" must be greater than "archive_ready_warning"
    It is in line 9 of "/etc/pgbaton.toml".
Error config_conflict: "standby_reconnect_timeout" must not be less than "node_rejoin_timeout"
    It is in line 10 of "/etc/pgbaton.toml".
Error config_conflict: "barman_host" and "barman_server" must be set together
    It is in line 11 of "/etc/pgbaton.toml".
Error config_conflict: "state_directory" must not be inside "data_directory"
    It is in line 12 of "/etc/pgbaton.toml".
Error config_invalid_value: invalid value for parameter "tablespace_mapping": "/a"
    The allowed value is OLD=NEW with two absolute paths, or a table of such paths. It is in line 14 of "/etc/pgbaton.toml".
Error config_unrecognized_parameter: unrecognized configuration parameter "guard"
    It is in line 15 of "/etc/pgbaton.toml".
    If "[guard]" is a section, remove it: all parameters belong to the top level.
Error config_missing_parameter: parameter "node_id" is missing
    Number of the node; unique in the cluster and never changed. The file is "/etc/pgbaton.toml".
    Add a line such as: node_id = 1

"#]]
    );
}

#[test]
fn everything_wrong_in_a_repmgr_conf_is_reported_at_once() {
    let text = "node_id = x\n\
                node=1\n\
                node_name='nöde'\n\
                failover=automatic\n\
                promote_command='p'\n\
                priorty=50\n\
                something_else=50\n\
                replication_lag_warning=600\n\
                reconnect_attempts='-1'\n\
                data_directory='data'\n\
                data_directory='/data'\n";
    snapbox::assert_data_eq!(
        report(&outcome(text, ConfigSyntax::RepmgrConf)),
        str![[r#"
Error config_invalid_value: invalid value for parameter "node_id": "x"
    The allowed value is an integer, at least 1. It is in line 1 of "/etc/repmgr.conf".
Warning config_unrecognized_parameter: parameter "node" no longer exists
    It is ignored, as repmgr ignores it. It is in line 2 of "/etc/repmgr.conf".
    The parameter is now called "node_id".
Warning config_node_name: "node_name" has characters that PostgreSQL replaces in application_name
    pg_stat_replication shows another name, and synchronous_standby_names has to use that one. It is in line 3 of "/etc/repmgr.conf".
Warning config_conflict: automatic failover by repmgrd needs "follow_command"
    Without it repmgrd does not start. It is in line 4 of "/etc/repmgr.conf".
Warning config_unrecognized_parameter: unrecognized configuration parameter "priorty"
    It is ignored, as repmgr ignores it. It is in line 6 of "/etc/repmgr.conf".
    Perhaps you meant "priority".
Warning config_unrecognized_parameter: unrecognized configuration parameter "something_else"
    It is ignored, as repmgr ignores it. It is in line 7 of "/etc/repmgr.conf".
Error config_conflict: "replication_lag_critical" must be greater than "replication_lag_warning"
    It is in line 8 of "/etc/repmgr.conf".
Error config_invalid_value: invalid value for parameter "reconnect_attempts": "-1"
    The allowed value is an integer, at least 0. It is in line 9 of "/etc/repmgr.conf".
Error config_invalid_value: invalid value for parameter "data_directory": "data"
    The allowed value is an absolute path. It is in line 10 of "/etc/repmgr.conf".
Error config_missing_parameter: parameter "conninfo" is missing
    Connection string by which every other node reaches this one. The file is "/etc/repmgr.conf".
    Add a line such as: conninfo = 'host=node1 user=repmgr dbname=repmgr connect_timeout=2'

"#]]
    );
}

#[test]
fn an_empty_file_misses_four_parameters() {
    snapbox::assert_data_eq!(
        report(&outcome("", ConfigSyntax::RepmgrConf)),
        str![[r#"
Error config_missing_parameter: parameter "node_id" is missing
    Number of the node; unique in the cluster and never changed. The file is "/etc/repmgr.conf".
    Add a line such as: node_id = 1
Error config_missing_parameter: parameter "node_name" is missing
    Name of the node; also the application_name of its replication connection. The file is "/etc/repmgr.conf".
    Add a line such as: node_name = 'node1'
Error config_missing_parameter: parameter "conninfo" is missing
    Connection string by which every other node reaches this one. The file is "/etc/repmgr.conf".
    Add a line such as: conninfo = 'host=node1 user=repmgr dbname=repmgr connect_timeout=2'
Error config_missing_parameter: parameter "data_directory" is missing
    Data directory of this node. The file is "/etc/repmgr.conf".
    Add a line such as: data_directory = '/var/lib/postgresql/17/main'

"#]]
    );
}

#[test]
fn after_a_syntax_error_nothing_is_called_missing() {
    let outcome = outcome("node_id = = 1\nnode_name = 'node1'\nlog_level = 'x'", ConfigSyntax::Toml);
    let codes: Vec<_> = outcome.problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["config_syntax", "config_invalid_value"], "{outcome:?}");
    assert!(outcome.config.is_none());
}

#[test]
fn options_win_over_the_file() {
    let options = [("data_directory", "/other/".to_string()), ("log_level", "debug".to_string())];
    let outcome = understand(REQUIRED, Path::new("/c.toml"), ConfigSyntax::Toml, &options, check_conninfo);
    let config = outcome.config.unwrap();
    assert_eq!(config.data_directory, Path::new("/other"));
    assert_eq!(config.origin("data_directory"), Origin::CommandLine);
    assert_eq!(config.origin("node_id"), Origin::File { path: "/c.toml".into(), line: 1 });
    assert_eq!(config.origin("priority"), Origin::Default);
}

#[test]
fn the_last_assignment_wins_and_wrong_ones_before_it_are_still_wrong() {
    let text = format!("{REQUIRED}priority=1\npriority=2\n");
    let repmgr = outcome(&text, ConfigSyntax::RepmgrConf).config.unwrap();
    assert_eq!(
        (repmgr.priority, repmgr.origin("priority")),
        (2, Origin::File { path: "/etc/repmgr.conf".into(), line: 6 })
    );
    assert!(
        outcome(&format!("{REQUIRED}priority=x\npriority=2\n"), ConfigSyntax::RepmgrConf).config.is_none()
    );
}

#[test]
fn the_syntax_of_other_names_is_told_by_the_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node1");
    let format = |text: &str| {
        put(&path, text);
        read(&path, NamedBy::User, &[], check_conninfo).unwrap().format
    };
    assert_eq!(format(REQUIRED), ConfigSyntax::Toml);
    assert_eq!(format(&REQUIRED.replace('=', " ")), ConfigSyntax::RepmgrConf);
    assert_eq!(
        format("node_id=1\nnode_name=node1\nconninfo='host=a'\nprioriti='5'\n"),
        ConfigSyntax::RepmgrConf
    );
    assert_eq!(
        format("node_id = 1\nnode_name = \"node1\"\nconninfo = \"host=a\"\nx = \"5\"\n"),
        ConfigSyntax::Toml
    );
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("repmgr.toml");
    put(&path, b"node_id=1\nnode_name='K\xf6ln'\n");
    let error = read(&path, NamedBy::User, &[], check_conninfo).unwrap_err();
    assert!(error.problems[0].message.ends_with(": line 2 is not UTF-8"), "{error:?}");
}

#[test]
fn a_repmgr_conf_is_read_with_a_comment_in_any_encoding_and_with_a_byte_order_mark() {
    let directory = tempfile::tempdir().unwrap();
    // Other names are judged by the content, which then cannot be TOML.
    for name in ["repmgr.conf", "node1"] {
        let path = directory.path().join(name);
        let text = [b"\xef\xbb\xbf# Prim\xe4r\n", REQUIRED.replace('\n', "\r\n").as_bytes()].concat();
        put(&path, text);
        let outcome = read(&path, NamedBy::User, &[], check_conninfo).unwrap();
        assert_eq!((report(&outcome), outcome.format), (String::new(), ConfigSyntax::RepmgrConf));
    }
    let path = directory.path().join("pgbaton.toml");
    put(&path, format!("\u{feff}{REQUIRED}"));
    assert!(read(&path, NamedBy::User, &[], check_conninfo).unwrap().config.is_some());
}

#[test]
fn by_who_named_it_a_file_may_be_in_other_hands_or_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pgbaton.toml");
    put(&path, REQUIRED);
    let chmod =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let accepted = |named| read(&path, named, &[], check_conninfo).map(|outcome| outcome.config.is_some());
    for (file, around, by_user, otherwise) in [
        (0o644, 0o755, true, true),
        (0o664, 0o755, true, false),
        (0o666, 0o755, false, false),
        (0o644, 0o777, true, false),
    ] {
        chmod(&path, file);
        chmod(directory.path(), around);
        assert_eq!(accepted(NamedBy::User).is_ok(), by_user, "{file:o} {around:o}");
        for named in [NamedBy::Found, NamedBy::Row { owner: None }] {
            let result = accepted(named);
            assert_eq!(result.is_ok(), otherwise, "{file:o} {around:o} {named:?}");
            assert!(result.err().is_none_or(|error| error.problems[0].code == "config_unsafe"));
        }
    }
}

#[test]
fn of_a_file_in_other_hands_no_command_is_run() {
    let mut foreign = config("service_stop_command = 'x'\nrestore_command = ''\n");
    assert_eq!(
        foreign.command("service_stop_command", &foreign.service_stop_command),
        Ok(Some(&"x".to_string()))
    );
    foreign.origins.foreign = Some("It belongs to user \"mallory\".".into());
    let refused = foreign.command("service_stop_command", &foreign.service_stop_command).unwrap_err();
    assert!(refused.problems[0].detail.as_deref().unwrap().contains("mallory"));
    assert_eq!(refused.problems[0].line, Some(5));
    assert_eq!(foreign.command("restore_command", &foreign.restore_command), Ok(None));
    assert_eq!(warnings(&foreign)[0].code, "config_unsafe");
}

#[test]
fn shown_configurations_load_again() {
    for name in
        ["tests/fixtures/config/pgbaton.toml", "tests/fixtures/config/repmgr.conf", "examples/pgbaton.toml"]
    {
        let config = fixture(name);
        let text = Shown::new(&config, str::to_string).to_toml();
        let (again, warnings) = outcome(&text, ConfigSyntax::Toml).accept().unwrap();
        assert_eq!(warnings, []);
        assert_eq!(values(&again), values(&config));
    }
    let repmgr = outcome(REQUIRED, ConfigSyntax::RepmgrConf).config.unwrap();
    let text = Shown::new(&repmgr, str::to_string).to_toml();
    assert!(text.contains("use_replication_slots = false  # default of repmgr.conf\n"), "{text}");
    assert!(!outcome(&text, ConfigSyntax::Toml).config.unwrap().use_replication_slots);
}

#[test]
fn shown_values_say_where_they_come_from() {
    let mut shown = Shown::new(&config(""), |_| "host=redacted".into());
    shown.parameters.truncate(5);
    snapbox::assert_data_eq!(
        shown.to_toml(),
        str![[r##"
# This node
node_id = 1  # from /etc/pgbaton.toml:1
node_name = "node1"  # from /etc/pgbaton.toml:2
conninfo = "host=redacted"  # from /etc/pgbaton.toml:3
data_directory = "/data"  # from /etc/pgbaton.toml:4
config_directory = ""  # default

"##]]
    );
    shown.parameters.truncate(1);
    shown.parameters.extend(Shown::new(&config(""), str::to_string).parameters.into_iter().nth(8));
    snapbox::assert_data_eq!(
        serde_json::to_string_pretty(&shown).unwrap(),
        str![[r#"
{
  "file": "/etc/pgbaton.toml",
  "format": "toml",
  "parameters": [
    {
      "name": "node_id",
      "value": 1,
      "source": "file",
      "file": "/etc/pgbaton.toml",
      "line": 1
    },
    {
      "name": "priority",
      "value": 100,
      "source": "default",
      "file": null,
      "line": null
    }
  ]
}
"#]]
    );
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused(text in ".*|([a-z_]{1,9} ?=? ?('.{0,5}'|[0-9]{1,3}|\\[\\]|\\{\\}|\"\")\n){0,9}") {
        outcome(&text, ConfigSyntax::Toml);
        outcome(&text, ConfigSyntax::RepmgrConf);
    }

    #[test]
    fn any_texts_survive_being_shown(name in "[^\0]{1,15}", command in "[^\0]*") {
        let mut config = config("");
        config.node_name = name;
        config.promote_command = Some(command).filter(|command| !command.is_empty());
        let text = Shown::new(&config, str::to_string).to_toml();
        let again = outcome(&text, ConfigSyntax::Toml);
        prop_assert_eq!(values(&again.config.unwrap()), values(&config));
    }
}

#[test]
fn a_section_with_a_name_like_that_of_a_parameter_is_a_section() {
    let report = report(&outcome("[section]\nwait = 1\n", ConfigSyntax::Toml));
    assert!(report.contains("If \"[section]\" is a section, remove it"), "{report}");
    assert!(!report.contains("Perhaps you meant"), "{report}");
}
