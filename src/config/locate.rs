//! Finding the configuration file, and telling its syntax by its name.

use std::path::{Path, PathBuf};

use super::{ConfigError, ConfigSyntax, NamedBy, Problem};
use crate::system::environment::Environment;
use crate::system::guarded_read;

/// Names the file when no option does.
pub const VARIABLE: &str = "PGBATON_CONFIG";

/// Where files are looked for; tests have their own.
#[derive(Clone, Debug)]
pub struct Places {
    /// The root directory.
    pub root: PathBuf,
    /// The working directory; absolute.
    pub working_directory: PathBuf,
}

impl Places {
    /// The places of this process.
    pub fn of_process() -> Self {
        Self { root: "/".into(), working_directory: std::env::current_dir().unwrap_or_else(|_| "/".into()) }
    }

    /// Returns the files that are looked for when none is named, in that order: pgbaton's own, then repmgr's.
    ///
    /// A repmgr that was packaged has a place built in that it prefers, in which its packages for Red Hat write the major version of
    /// PostgreSQL. repmgr asks pg_config for the last directory; this is Debian's answer.
    pub fn candidates(&self) -> Vec<PathBuf> {
        let mut places = self.own();
        places.extend(self.packaged());
        places.extend([
            self.working_directory.join("repmgr.conf"),
            self.root.join("etc/repmgr.conf"),
            self.root.join("etc/postgresql-common/repmgr.conf"),
        ]);
        places
    }

    fn own(&self) -> Vec<PathBuf> {
        vec![self.working_directory.join("pgbaton.toml"), self.root.join("etc/pgbaton/pgbaton.toml")]
    }

    /// Returns the `etc/repmgr/NN/repmgr.conf` that are there, by their version.
    fn packaged(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.join("etc/repmgr")).into_iter().flatten().flatten();
        let version =
            |entry: std::fs::DirEntry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path()));
        let mut found: Vec<(u32, PathBuf)> = entries.filter_map(version).collect();
        found.sort();
        let files = found.into_iter().map(|(_, directory)| directory.join("repmgr.conf"));
        files.filter(|file| file.symlink_metadata().is_ok()).collect()
    }

    /// Describes a search that found nothing, for a command that cannot do without a file.
    pub fn not_found(&self) -> ConfigError {
        let places: Vec<_> = self.candidates().iter().map(|path| format!("\"{}\"", path.display())).collect();
        let problem = Problem::error("config_not_found", "no configuration file was found")
            .detail(format!("Looked for {}.", places.join(", ")))
            .hint(format!("Name it with \"-f\" or in {VARIABLE}."));
        ConfigError { file: None, problems: vec![problem] }
    }
}

/// Finds the file: the one named by `-f`, else by `$PGBATON_CONFIG`, else the first of [`Places::candidates`] that is
/// there. The path returned is absolute, because it is passed to other programs and other hosts.
///
/// A candidate that is there but cannot be read is returned all the same: to go on to the next one would mean to run
/// with another configuration than people think. For the same reason nothing is chosen among several versions of PostgreSQL.
///
/// # Errors
/// Fails if a file that was named cannot be opened, and if there are several of the kind of which there is to be one.
pub fn find(
    given: Option<&Path>,
    environment: &Environment,
    places: &Places,
) -> Result<Option<(PathBuf, NamedBy)>, ConfigError> {
    let variable = environment.non_empty(VARIABLE).map(Path::new);
    let Some(named) = given.or(variable) else {
        return found(places);
    };
    let path = places.working_directory.join(named);
    match guarded_read::open(&path) {
        Ok(_) => Ok(Some((path, NamedBy::User))),
        Err(error) => {
            let message = format!("could not open configuration file \"{}\": {error}", path.display());
            let by =
                if given.is_some() { "It is named by \"-f\"." } else { "It is named by PGBATON_CONFIG." };
            let problem = Problem::error("config_unreadable", message).detail(by).at(&path, None);
            Err(ConfigError { file: Some(path), problems: vec![problem] })
        }
    }
}

fn found(places: &Places) -> Result<Option<(PathBuf, NamedBy)>, ConfigError> {
    let Some(path) = places.candidates().into_iter().find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(None);
    };
    let packaged = places.packaged();
    if packaged.contains(&path) && packaged.len() > 1 {
        let names: Vec<String> = packaged.iter().map(|path| format!("\"{}\"", path.display())).collect();
        let problem = Problem::error("config_not_found", "there are several configuration files")
            .detail(format!("They are {}.", names.join(", ")))
            .hint(format!("Name one of them with \"-f\" or in {VARIABLE}."));
        return Err(ConfigError { file: None, problems: vec![problem] });
    }
    let named = if path.parent() == Some(&places.working_directory) { NamedBy::Found } else { NamedBy::User };
    Ok(Some((path, named)))
}

/// Returns the syntax by the name: `*.toml`, `*.conf`, and what people call copies of theirs: `repmgr*`.
pub(super) fn format_by_name(path: &Path) -> Option<ConfigSyntax> {
    let name = path.file_name()?.to_str()?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Some(ConfigSyntax::Toml),
        Some("conf") => Some(ConfigSyntax::RepmgrConf),
        // A plain repmgr.conf may well be TOML, too, and would get other defaults.
        _ => name.starts_with("repmgr").then_some(ConfigSyntax::RepmgrConf),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap();
    }

    #[test]
    fn looks_for_pgbatons_files_before_repmgrs() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let places = Places { working_directory: directory.path().join("here"), root };
        let environment = Environment::from_pairs([]);
        assert_eq!(find(None, &environment, &places), Ok(None));
        touch(&places.root.join("etc/repmgr/15/repmgr.conf"));
        touch(&places.root.join("etc/repmgr/old/repmgr.conf"));
        fs::create_dir(places.root.join("etc/repmgr/16")).unwrap();
        let all = places.candidates();
        assert_eq!(all.len(), 6);
        crate::system::files::remove_tree(&places.root.join("etc/repmgr")).unwrap();
        for path in all.into_iter().rev() {
            touch(&path);
            let named = if path.starts_with(&places.root) { NamedBy::User } else { NamedBy::Found };
            assert_eq!(find(None, &environment, &places), Ok(Some((path, named))));
        }
    }

    #[test]
    fn nothing_is_chosen_among_several_versions_of_repmgr() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let places = Places { working_directory: directory.path().join("here"), root: root.clone() };
        let environment = Environment::from_pairs([]);
        touch(&root.join("etc/repmgr/9/repmgr.conf"));
        touch(&root.join("etc/repmgr/13/repmgr.conf"));
        let error = find(None, &environment, &places).unwrap_err();
        let detail = error.problems[0].detail.as_deref().unwrap();
        assert!(detail.find("/9/").unwrap() < detail.find("/13/").unwrap(), "{detail}");
        touch(&root.join("etc/pgbaton/pgbaton.toml"));
        assert!(find(None, &environment, &places).is_ok());
    }

    #[test]
    fn a_named_file_has_to_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().to_path_buf();
        touch(&here.join("pgbaton.toml"));
        touch(&here.join("mine"));
        let places = Places { root: here.clone(), working_directory: here.clone() };
        let environment = Environment::from_pairs([(VARIABLE, "mine")]);
        assert_eq!(find(None, &environment, &places), Ok(Some((here.join("mine"), NamedBy::User))));
        assert_eq!(
            find(Some(Path::new("pgbaton.toml")), &environment, &places),
            Ok(Some((here.join("pgbaton.toml"), NamedBy::User)))
        );
        let error = find(Some(Path::new("none")), &environment, &places).unwrap_err();
        let none = here.join("none");
        assert_eq!(
            error.problems[0].message,
            format!(
                "could not open configuration file \"{}\": No such file or directory (os error 2)",
                none.display()
            )
        );
        assert_eq!(error.problems[0].detail.as_deref(), Some("It is named by \"-f\"."));
        let environment = Environment::from_pairs([(VARIABLE, "none")]);
        let error = find(None, &environment, &places).unwrap_err();
        assert_eq!(error.problems[0].detail.as_deref(), Some("It is named by PGBATON_CONFIG."));
    }

    #[test]
    fn names_tell_the_syntax() {
        let format = |name: &str| format_by_name(Path::new(name));
        assert_eq!(format("/etc/pgbaton/pgbaton.toml"), Some(ConfigSyntax::Toml));
        assert_eq!(format("/etc/repmgr.conf"), Some(ConfigSyntax::RepmgrConf));
        assert_eq!(format("/etc/repmgr.conf.node2"), Some(ConfigSyntax::RepmgrConf));
        assert_eq!(format("/etc/node2"), None);
    }
}
