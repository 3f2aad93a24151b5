//! Who starts and stops a server, and with which options.

use std::path::{Path, PathBuf};

/// Who starts and stops a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manager {
    /// A command of the configuration.
    Configured(String),
    /// A systemd unit: only systemd may.
    Systemd {
        /// Its name.
        unit: String,
    },
    /// Debian's pg_ctlcluster.
    Debian {
        /// The cluster's version.
        version: String,
        /// The cluster's name.
        name: String,
    },
    /// pg_ctl.
    PgCtl,
}

/// Finds out who starts and stops the server of a data directory. `root` is `/` but in tests.
pub fn manager(data: &Path, major: &str, running: Option<i32>, root: &Path) -> Manager {
    if let Some(unit) = running.and_then(|pid| systemd_unit(pid, root)) {
        return Manager::Systemd { unit };
    }
    match debian_cluster(data, major, root) {
        Some(name) => Manager::Debian { version: major.to_string(), name },
        None => Manager::PgCtl,
    }
}

/// Returns the systemd service that a process belongs to.
///
/// A session or a user's own manager is no service: a server that somebody started by hand in a shell lies below `user.slice`.
fn systemd_unit(pid: i32, root: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root.join(format!("proc/{}/cgroup", pid.abs()))).ok()?;
    let path = text.lines().find_map(|line| {
        line.strip_prefix("0::").or_else(|| line.split_once(":name=systemd:").map(|(_, path)| path))
    })?;
    if path.starts_with("/user.slice") {
        return None;
    }
    // Only a unit that is about PostgreSQL: in a container, or under cron, the service is that of somebody else.
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    unit.contains("postgres").then(|| unit.to_string())
}

/// Returns the name of the Debian cluster that a data directory belongs to.
fn debian_cluster(data: &Path, major: &str, root: &Path) -> Option<String> {
    let entries = std::fs::read_dir(root.join("etc/postgresql").join(major)).ok()?;
    for entry in entries.flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("postgresql.conf")) else { continue };
        let directory = text.lines().rev().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == "data_directory").then(|| value.trim())
        });
        let Some(value) = directory.and_then(|value| value.strip_prefix('\'')?.split('\'').next()) else {
            continue;
        };
        if Path::new(value) == data {
            return entry.file_name().into_string().ok();
        }
    }
    None
}

/// Returns the options that the server was started with last, for `pg_ctl --options`: all but the program and the data directory.
///
/// `pg_ctl start` forgets what stood in `postmaster.opts`; without them a server that was started with `-p 5433` comes up elsewhere.
pub fn options_of_last_start(data: &Path) -> Option<String> {
    options(&std::fs::read_to_string(data.join("postmaster.opts")).ok()?)
}

fn options(line: &str) -> Option<String> {
    let words = shell_words::split(line.trim()).ok()?;
    let mut out: Vec<String> = Vec::new();
    let mut words = words.into_iter().skip(1);
    while let Some(word) = words.next() {
        if word == "-D" {
            words.next();
        } else if !word.starts_with("-D") {
            out.push(shell_words::quote(&word).into_owned());
        }
    }
    (!out.is_empty()).then(|| out.join(" "))
}

/// Returns where the server's first output goes, beside the data directory's own log if it has one.
pub fn start_log(data: &Path) -> PathBuf {
    let mut name = data.file_name().map_or_else(|| "postgresql".into(), std::ffi::OsStr::to_os_string);
    name.push(".start.log");
    data.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_the_last_start_come_without_program_and_directory() {
        let line = "/usr/lib/postgresql/15/bin/postgres \"-D\" \"/var/lib/pg 1\" \"-p\" \"5433\" \"-c\" \"work_mem=4 MB\"\n";
        assert_eq!(options(line).as_deref(), Some("-p 5433 -c 'work_mem=4 MB'"));
        assert_eq!(options("/usr/bin/postgres \"-D\" \"/data\"\n"), None);
    }

    #[test]
    fn debian_and_systemd_are_recognized() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/postgresql/15/main");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(etc.join("postgresql.conf"), "data_directory = '/var/lib/postgresql/15/main'  # x\n")
            .unwrap();
        std::fs::create_dir_all(root.path().join("proc/7")).unwrap();
        let cgroup = |text: &str| std::fs::write(root.path().join("proc/7/cgroup"), text).unwrap();
        let main = Path::new("/var/lib/postgresql/15/main");

        cgroup("0::/user.slice/user-1000.slice/session-1.scope\n");
        let debian = Manager::Debian { version: "15".into(), name: "main".into() };
        assert_eq!(manager(main, "15", Some(7), root.path()), debian);
        assert_eq!(manager(Path::new("/elsewhere"), "15", None, root.path()), Manager::PgCtl);

        cgroup("0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n");
        let unit = "postgresql@15-main.service".to_string();
        assert_eq!(manager(main, "15", Some(7), root.path()), Manager::Systemd { unit });
    }
}
