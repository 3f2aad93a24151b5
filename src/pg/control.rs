//! Who starts and stops a server, and with which options.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::pg::last_start;
use crate::system::files;

/// Who starts and stops a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// A command of the configuration.
    Configured(String),
    /// A systemd unit: only systemd may.
    Systemd {
        /// Its name.
        unit: String,
    },
    /// Debian's pg_ctlcluster.
    Debian(DebianCluster),
    /// pg_ctl.
    PgCtl,
}

/// A cluster in the sense of Debian's postgresql-common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianCluster {
    /// The cluster's version.
    pub version: String,
    /// The cluster's name.
    pub name: String,
    /// Where the configuration of the clusters is, if not in /etc/postgresql.
    pub conf_root: Option<PathBuf>,
    /// What systemd starts it as when the machine boots, where there is systemd.
    pub unit: Option<String>,
}

/// Finds out who starts and stops the server of a data directory.
///
/// `conf_root` is `PG_CLUSTER_CONF_ROOT`, by which Debian's tools find clusters that are no service of the machine. `root`
/// is `/` but in tests.
pub fn manager(
    data: &Path,
    major: &str,
    running: Option<i32>,
    conf_root: Option<&Path>,
    root: &Path,
) -> Manager {
    if let Some(unit) = running.and_then(|pid| systemd_unit(pid, root)) {
        return Manager::Systemd { unit };
    }
    let place = conf_root.map_or_else(|| root.join("etc/postgresql"), Path::to_path_buf);
    let Some(name) = debian_cluster(data, &place.join(major)) else { return Manager::PgCtl };
    let has_unit = conf_root.is_none() && root.join("run/systemd/system").is_dir();
    Manager::Debian(DebianCluster {
        unit: has_unit.then(|| format!("postgresql@{major}-{name}.service")),
        version: major.to_string(),
        name,
        conf_root: conf_root.map(Path::to_path_buf),
    })
}

/// Returns the systemd service that a process belongs to.
///
/// A session or a user's own manager is no service: a server that was started by hand in a shell lies below `user.slice`.
fn systemd_unit(pid: i32, root: &Path) -> Option<String> {
    let text = files::text(root.join(format!("proc/{}/cgroup", pid.abs()))).ok()?;
    let path = text.lines().find_map(|line| {
        line.strip_prefix("0::").or_else(|| line.split_once(":name=systemd:").map(|(_, path)| path))
    })?;
    if path.starts_with("/user.slice") {
        return None;
    }
    // Only a unit that is about PostgreSQL: in a container, or under cron, the service is another program's.
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    unit.contains("postgres").then(|| unit.to_string())
}

/// Returns the name of the Debian cluster that a data directory belongs to. `place` has a directory for each of that version.
fn debian_cluster(data: &Path, place: &Path) -> Option<String> {
    // One of them may be written with a symbolic link in it.
    let is_ours = |path: &Path| {
        path == data || matches!((path.canonicalize(), data.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    for entry in std::fs::read_dir(place).ok()?.flatten() {
        let Ok(text) = files::text(entry.path().join("postgresql.conf")) else { continue };
        let directory = text.lines().rev().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == "data_directory").then(|| value.trim())
        });
        let Some(value) = directory.and_then(|value| value.strip_prefix('\'')?.split('\'').next()) else {
            continue;
        };
        if is_ours(Path::new(value)) {
            return entry.file_name().into_string().ok();
        }
    }
    None
}

/// Returns the directory of the configuration files of a server that has them outside its data directory: where it found them when it
/// was started last, or where Debian has them. None for the data directory itself.
pub fn config_directory(data: &Path, major: &str, conf_root: Option<&Path>, root: &Path) -> Option<PathBuf> {
    if data.join("postgresql.conf").exists() {
        return None;
    }
    let file = last_start::config_file(data);
    let directory = file.as_deref().and_then(Path::parent).filter(|path| path.is_dir());
    if let Some(directory) = directory {
        return Some(directory.to_path_buf());
    }
    let place = conf_root.map_or_else(|| root.join("etc/postgresql"), Path::to_path_buf).join(major);
    Some(place.join(debian_cluster(data, &place)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_systemd_are_recognized() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/postgresql/15/main");
        std::fs::create_dir_all(&etc).unwrap();
        let conf = "data_directory = '/var/lib/postgresql/15/main'  # x\n";
        files::write(&etc.join("postgresql.conf"), conf.as_bytes(), 0o644).unwrap();
        std::fs::create_dir_all(root.path().join("proc/7")).unwrap();
        let cgroup =
            |text: &str| files::write(&root.path().join("proc/7/cgroup"), text.as_bytes(), 0o644).unwrap();
        let main = Path::new("/var/lib/postgresql/15/main");

        cgroup("0::/user.slice/user-1000.slice/session-1.scope\n");
        let found = |data: &Path, running, conf_root| manager(data, "15", running, conf_root, root.path());
        let debian = |unit: Option<&str>, conf_root: Option<&Path>| {
            Manager::Debian(DebianCluster {
                version: "15".into(),
                name: "main".into(),
                conf_root: conf_root.map(Path::to_path_buf),
                unit: unit.map(str::to_string),
            })
        };
        assert_eq!(found(main, Some(7), None), debian(None, None));
        assert_eq!(found(Path::new("/elsewhere"), None, None), Manager::PgCtl);

        // Clusters of another root are no service.
        let unit = "postgresql@15-main.service";
        std::fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        let conf_root = root.path().join("etc/postgresql");
        assert_eq!(found(main, None, None), debian(Some(unit), None));
        assert_eq!(found(main, None, Some(&conf_root)), debian(None, Some(&conf_root)));
        assert_eq!(found(main, None, Some(root.path())), Manager::PgCtl);

        cgroup("0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n");
        assert_eq!(found(main, Some(7), None), Manager::Systemd { unit: unit.to_string() });
    }

    #[test]
    fn a_debian_cluster_is_recognized_behind_a_symbolic_link() {
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        let etc = root.path().join("15/main");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let conf = format!("data_directory = '{}'\n", link.display());
        files::write(&etc.join("postgresql.conf"), conf.as_bytes(), 0o644).unwrap();
        assert_eq!(debian_cluster(&real, &root.path().join("15")).as_deref(), Some("main"));

        // Where its configuration is: as it was started last, else as Debian has it, else with the data.
        let found = || config_directory(&real, "15", Some(root.path()), Path::new("/"));
        assert_eq!(found(), Some(etc));
        let elsewhere = root.path().join("else where");
        std::fs::create_dir(&elsewhere).unwrap();
        let opts =
            format!("/bin/postgres \"-D\" \"data\" \"-c\" \"config_file={}/a.conf\"\n", elsewhere.display());
        files::write(&real.join("postmaster.opts"), opts.as_bytes(), 0o600).unwrap();
        assert_eq!(found(), Some(elsewhere));
        files::write(&real.join("postgresql.conf"), b"", 0o600).unwrap();
        assert_eq!(found(), None);
    }
}
