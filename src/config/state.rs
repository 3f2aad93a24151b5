//! The directory for journal, lock and last seen topology.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::{Config, ConfigError, Problem};
use crate::system::environment::Environment;

impl Config {
    /// Returns the state directory of this node, without making it.
    ///
    /// That is `state_directory`; else `/var/lib/pgbaton/<node_name>` if this user can write there; else a directory
    /// below the user's `$XDG_STATE_HOME`. One that exists is preferred, so that an unfinished operation stays in sight
    /// when permissions change. `root` is `/` except in tests.
    ///
    /// # Errors
    /// Fails if the directory would be inside the data directory or a mapped tablespace: a clone or a rewind would
    /// overwrite it. Other tablespaces are known only to the server; [`is_inside`] is for those who ask it.
    pub fn state_directory(&self, environment: &Environment, root: &Path) -> Result<PathBuf, ConfigError> {
        let directory = match &self.state_directory {
            Some(directory) => directory.clone(),
            None => self.usual_state_directory(environment, root, &encode(&self.node_name))?,
        };
        self.is_outside(directory)
    }

    /// Returns a default state directory for a node whose usual one is that of another cluster on this host.
    ///
    /// # Errors
    /// As [`Config::state_directory`].
    pub fn second_state_directory(
        &self,
        environment: &Environment,
        root: &Path,
        identifier: &str,
    ) -> Result<PathBuf, ConfigError> {
        let name = format!("{}.{identifier}", encode(&self.node_name));
        self.is_outside(self.usual_state_directory(environment, root, &name)?)
    }

    /// Returns the directories in which default state directories of this node may be: also where it was renamed since, was another user, or
    /// had another environment.
    pub fn state_roots(&self, environment: &Environment, root: &Path, homes: &[PathBuf]) -> Vec<PathBuf> {
        let homes = homes.iter().map(|home| home.join(".local/state"));
        let own = own_state_home(environment).into_iter();
        let in_home = environment.home.iter().map(|home| home.join(".local/state"));
        let mut roots = vec![root.join("var/lib/pgbaton")];
        for base in own.chain(in_home).chain(homes) {
            let base = base.join("pgbaton");
            if !roots.contains(&base) {
                roots.push(base);
            }
        }
        roots
    }

    /// Says whether a directory has a name that a default state directory of this node gets.
    pub fn names_state_of(&self, directory: &Path) -> bool {
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_prefix(&encode(&self.node_name));
        rest.is_some_and(|rest| {
            let digits = rest.strip_prefix('.').unwrap_or("x");
            rest.is_empty() || digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    }

    fn is_outside(&self, directory: PathBuf) -> Result<PathBuf, ConfigError> {
        let tablespaces = self.tablespace_mapping.iter().map(|mapping| mapping.new.as_path());
        for outer in std::iter::once(self.data_directory.as_path()).chain(tablespaces) {
            if is_inside(&directory, outer) {
                let problem = Problem::error(
                    "config_state_directory",
                    format!("state directory \"{}\" is inside \"{}\"", directory.display(), outer.display()),
                )
                .detail("A clone or a rewind would overwrite it.")
                .hint("Set \"state_directory\" to a directory elsewhere.");
                return Err(self.refuse(problem));
            }
        }
        Ok(directory)
    }

    fn usual_state_directory(
        &self,
        environment: &Environment,
        root: &Path,
        name: &str,
    ) -> Result<PathBuf, ConfigError> {
        let system = root.join("var/lib/pgbaton").join(name);
        let own = own_state_home(environment).map(|base| base.join("pgbaton").join(name));
        let system_is_usable = is_writable(&system);
        match own {
            Some(own) if !system_is_usable || own.exists() && !system.exists() => Ok(own),
            _ if system_is_usable => Ok(system),
            _ => {
                let detail =
                    format!("\"{}\" cannot be written, and there is no home directory.", system.display());
                let problem = Problem::error("config_state_directory", "no state directory can be used")
                    .detail(detail)
                    .hint("Set \"state_directory\" to a directory that this user can write.");
                Err(self.refuse(problem))
            }
        }
    }

    fn refuse(&self, problem: Problem) -> ConfigError {
        let problem = self.origin("state_directory").locate(problem.key("state_directory"));
        ConfigError { file: Some(self.file().to_path_buf()), problems: vec![problem] }
    }
}

/// Returns where this user keeps state.
fn own_state_home(environment: &Environment) -> Option<PathBuf> {
    let state_home = environment.non_empty("XDG_STATE_HOME").map(PathBuf::from);
    // The specification says to ignore a relative path.
    state_home
        .filter(|path| path.is_absolute())
        .or_else(|| environment.home.as_ref().map(|home| home.join(".local/state")))
}

/// Returns whether this user can write to a directory, or make it: the nearest one that exists decides.
fn is_writable(directory: &Path) -> bool {
    let nearest = directory.ancestors().find(|path| path.symlink_metadata().is_ok());
    nearest.is_some_and(|path| {
        path.is_dir()
            && rustix::fs::accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    })
}

/// Returns whether a path is a directory or lies below it, symbolic links followed.
pub fn is_inside(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory) || resolve(path).starts_with(resolve(directory))
}

/// Resolves the links of a path of which only the beginning may exist.
fn resolve(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        if let Ok(resolved) = existing.canonicalize() {
            let missing = path.strip_prefix(existing).unwrap_or(Path::new(""));
            return if missing.as_os_str().is_empty() { resolved } else { resolved.join(missing) };
        }
    }
    path.to_path_buf()
}

/// Makes one path component of a node's name, so that two names never share one.
///
/// Letters, digits, `-`, `_` and points that are not in front stay; every other byte becomes `%` and two hex digits, as
/// in a URL. 63 bytes make 189 at most, which every file system takes.
fn encode(name: &str) -> String {
    let mut component = String::new();
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if at > 0 => component.push('.'),
            b'-' | b'_' => component.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => component.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(component, "%{byte:02X}");
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::super::tests::config;
    use super::*;

    fn decode(component: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = component.bytes();
        while let Some(byte) = rest.next() {
            let hex: Vec<u8> = if byte == b'%' { rest.by_ref().take(2).collect() } else { Vec::new() };
            bytes.push(match std::str::from_utf8(&hex).unwrap() {
                "" => byte,
                hex => u8::from_str_radix(hex, 16).unwrap(),
            });
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn any_name_is_one_component_and_comes_back(name in ".{1,20}") {
            let component = encode(&name);
            prop_assert_eq!(Path::new(&component).components().count(), 1);
            prop_assert!(component.is_ascii() && !component.starts_with('.') && !component.contains('/'));
            prop_assert_eq!(decode(&component), name);
        }
    }

    #[test]
    fn names_stay_readable() {
        assert_eq!(encode("node-1.example_x"), "node-1.example_x");
        assert_eq!(encode("../Köln 1%"), "%2E.%2FK%C3%B6ln%201%25");
    }

    #[test]
    fn what_exists_is_preferred() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let home = root.join("home");
        let environment = Environment::from_pairs([("HOME", home.to_str().unwrap())]);
        let config = config("");
        let system = root.join("var/lib/pgbaton/node1");
        let own = home.join(".local/state/pgbaton/node1");
        assert_eq!(config.state_directory(&environment, root).unwrap(), system);
        fs::create_dir_all(&own).unwrap();
        assert_eq!(config.state_directory(&environment, root).unwrap(), own);
        fs::create_dir_all(&system).unwrap();
        assert_eq!(config.state_directory(&environment, root).unwrap(), system);
        // Another file in the way.
        fs::rename(root.join("var"), root.join("old")).unwrap();
        fs::File::create(root.join("var")).unwrap();
        assert_eq!(config.state_directory(&environment, root).unwrap(), own);
        let elsewhere = Environment::from_pairs([("XDG_STATE_HOME", "/x")]);
        assert_eq!(config.state_directory(&elsewhere, root).unwrap(), Path::new("/x/pgbaton/node1"));
        let error = config.state_directory(&Environment::from_pairs([]), root).unwrap_err();
        assert_eq!(error.problems[0].message, "no state directory can be used");
    }

    #[test]
    fn refuses_to_be_in_the_data_directory_behind_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        let link = directory.path().join("link");
        symlink(&data, &link).unwrap();
        let mut config = config("");
        config.data_directory = data;
        config.state_directory = Some(link.join("state"));
        let error = config.state_directory(&Environment::from_pairs([]), Path::new("/")).unwrap_err();
        assert_eq!(error.problems[0].detail.as_deref(), Some("A clone or a rewind would overwrite it."));
        config.state_directory = Some(directory.path().join("state"));
        assert!(config.state_directory(&Environment::from_pairs([]), Path::new("/")).is_ok());
    }
}
