//! SIGHUP: the configuration is read again, and the log is opened again, which may have been moved away.

use std::rc::Rc;

use super::Monitor;
use crate::config::Config;
use crate::config::value::LogFacility;
use crate::context::Context;
use crate::error::{Error, Severity, sentence};
use crate::system::signals::Signals;
use crate::system::syslog::Syslog;
use crate::ui::{Level, Ui};

/// What the daemon has taken up at its start. Another value takes effect only when it is started again.
const AT_START: [&str; 14] = [
    "node_id",
    "node_name",
    "conninfo",
    "data_directory",
    "failover",
    "failover_profile",
    "restart_timeout",
    "on_clean_stop",
    "failover_max_lag",
    "rejoin_automatically",
    "failover_validation_command",
    "election_rerun_interval",
    "runtime_directory",
    "state_directory",
];

/// What counts as the record of this node has it.
const RECORDED: [&str; 2] = ["location", "priority"];

/// Returns syslog's number of a facility; None for standard error.
fn facility(facility: LogFacility) -> Option<u8> {
    Some(match facility {
        LogFacility::Stderr => return None,
        LogFacility::User => 1,
        LogFacility::Daemon => 3,
        LogFacility::Local0 => 16,
        LogFacility::Local1 => 17,
        LogFacility::Local2 => 18,
        LogFacility::Local3 => 19,
        LogFacility::Local4 => 20,
        LogFacility::Local5 => 21,
        LogFacility::Local6 => 22,
        LogFacility::Local7 => 23,
    })
}

/// Lets messages go where the configuration says: to syslog, else to a file, else to standard error. A file is opened anew.
///
/// # Errors
/// If the file cannot be opened. Messages go on to where they went before.
pub fn configure_log(context: &Context, config: &Config) -> anyhow::Result<()> {
    let ui: &Ui = &context.ui;
    if let Some(level) = Level::parse(config.log_level.as_str()) {
        ui.configure_level(level);
    }
    match (facility(config.log_facility), &config.log_file) {
        (Some(facility), _) => ui.log_to_system(Syslog::new(&context.environment, facility)),
        (None, Some(path)) => ui.log_to(path)?,
        (None, None) => ui.log_to_stderr(),
    }
    Ok(())
}

/// Says which parameters differ.
fn changed(old: &Config, new: &Config) -> Vec<&'static str> {
    old.values()
        .zip(new.values())
        .filter(|((_, old), (_, new))| old != new)
        .map(|((parameter, _), _)| parameter.name)
        .collect()
}

/// Returns the new configuration with what was taken up at the start.
fn in_force(old: &Config, mut new: Config) -> Config {
    new.node_id = old.node_id;
    new.node_name.clone_from(&old.node_name);
    new.conninfo.clone_from(&old.conninfo);
    new.data_directory.clone_from(&old.data_directory);
    new.failover = old.failover;
    new.failover_profile = old.failover_profile;
    new.restart_timeout = old.restart_timeout;
    new.on_clean_stop = old.on_clean_stop;
    new.failover_max_lag.clone_from(&old.failover_max_lag);
    new.rejoin_automatically = old.rejoin_automatically;
    new.failover_validation_command.clone_from(&old.failover_validation_command);
    new.election_rerun_interval = old.election_rerun_interval;
    new.runtime_directory.clone_from(&old.runtime_directory);
    new.state_directory.clone_from(&old.state_directory);
    new
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

impl Monitor<'_> {
    /// Obeys SIGHUP, for ever.
    pub(super) async fn reload_at(&self, signals: &Signals) {
        loop {
            signals.hangup().await;
            // The log first: what is said of the configuration belongs into the new file.
            let old = self.config();
            self.open_log(&old);
            match self.read_again() {
                Ok(new) => self.take_up(&old, new),
                Err(error) => self.refuse(&error),
            }
        }
    }

    fn open_log(&self, config: &Config) {
        if let Err(error) = configure_log(self.context, config) {
            let text = sentence(&format!("{error:#}"));
            self.context.ui.message(Level::Warning, "the log was not reopened", Some(&text), None);
        }
    }

    fn read_again(&self) -> Result<Config, Error> {
        let Some(read) = self.context.read_config()? else {
            return Err(Error::failed("there is no configuration file any more"));
        };
        let (config, warnings) = read.accept()?;
        for warning in warnings {
            self.context.ui.issue(&warning.issue());
        }
        Ok(config)
    }

    fn refuse(&self, error: &Error) {
        let mut said = vec![sentence(&error.text.message)];
        let errors = error.issues.iter().filter(|issue| issue.severity == Severity::Error);
        said.extend(errors.filter(|issue| issue.text.message != error.text.message).map(|issue| {
            let detail = issue.text.detail.as_deref().map_or_else(String::new, |detail| format!(" {detail}"));
            format!("{}{detail}", sentence(&issue.text.message))
        }));
        said.extend(error.text.detail.clone().filter(|_| error.issues.len() <= 1));
        self.context.ui.message(
            Level::Warning,
            "the configuration was not reloaded; the previous one stays in force",
            Some(&said.join(" ")),
            Some("Correct the file, see \"pgbaton config check\", and send SIGHUP again."),
        );
    }

    fn take_up(&self, old: &Rc<Config>, new: Config) {
        let names = changed(old, &new);
        let (at_start, now): (Vec<&str>, Vec<&str>) =
            names.iter().copied().partition(|name| AT_START.contains(name));
        let config = Rc::new(in_force(old, new));
        if now.iter().any(|name| name.starts_with("log_")) {
            self.open_log(&config);
        }
        *self.config.borrow_mut() = config;
        let text = match now.as_slice() {
            [] => "the configuration was reread: nothing has changed that takes effect now".to_string(),
            names => format!("the configuration was reread: {} changed", listed(names)),
        };
        self.say(Level::Notice, &text);
        let recorded: Vec<&str> = now.iter().copied().filter(|name| RECORDED.contains(name)).collect();
        if !recorded.is_empty() {
            self.context.ui.message(
                Level::Notice,
                &format!("{} counts as it is recorded in repmgr.nodes", listed(&recorded)),
                None,
                Some("Record it: \"pgbaton standby register --force\", or \"pgbaton primary register\" on the primary."),
            );
        }
        if !at_start.is_empty() {
            self.context.ui.message(
                Level::Warning,
                &format!("{} cannot be changed without restarting the daemon", listed(&at_start)),
                Some("The daemon goes on with the values from its start."),
                Some("Restart the daemon."),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{NamedBy, PARAMETERS, read};

    fn config(lines: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgbaton.toml");
        let text = format!(
            "node_name = \"node1\"\ndata_directory = \"/data\"\nstate_directory = \"/state\"\n{lines}\n"
        );
        crate::system::files::write(&path, text.as_bytes(), 0o600).unwrap();
        read(Path::new(&path), NamedBy::User, &[], |_| Ok(())).unwrap().accept().unwrap().0
    }

    #[test]
    fn what_is_taken_up_at_the_start_stays_and_the_rest_changes() {
        let old = config("node_id = 1\nconninfo = \"host=a\"\nlog_status_interval = 5");
        let new =
            config("node_id = 2\nconninfo = \"host=a\"\nlog_status_interval = 7\nfailover = \"automatic\"");
        assert_eq!(changed(&old, &new), ["node_id", "log_status_interval", "failover"]);
        let config = in_force(&old, new);
        assert_eq!(changed(&old, &config), ["log_status_interval"]);
        assert_eq!(config.log_status_interval.as_secs(), 7);
    }

    #[test]
    fn the_lists_name_parameters() {
        for name in AT_START.iter().chain(&RECORDED) {
            assert!(PARAMETERS.iter().any(|parameter| parameter.name == *name), "{name}");
        }
    }

    #[test]
    fn facilities_have_the_numbers_of_syslog() {
        assert_eq!(facility(LogFacility::Stderr), None);
        assert_eq!(facility(LogFacility::Daemon), Some(3));
        assert_eq!(facility(LogFacility::Local7), Some(23));
    }
}
