//! The environment of this process, read once and handed down.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use nix::unistd::{Uid, User};

/// Environment variables, and who runs the program.
///
/// Read once in `main`; tests build their own with [`Environment::from_pairs`].
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// The effective user's name, if the system knows one.
    pub user: Option<String>,
    /// The effective user's home directory: `HOME` first, as libpq does, then the user database.
    pub home: Option<PathBuf>,
    /// The effective user id.
    pub uid: u32,
    said: Arc<RwLock<UserConnections>>,
}

/// What the user of this process has said himself about connections, by the configuration and the command line. The environment is part of
/// what a connection string means, and so is this: it says which strings are the user's own.
#[derive(Clone, Default)]
pub struct UserConnections {
    /// Connection strings.
    pub conninfos: Vec<String>,
    /// The password file that the configuration names.
    pub passfile: Option<PathBuf>,
    /// The configuration permits cleartext passwords for what it does not name itself.
    pub cleartext_passwords: bool,
}

/// Says how much was said and no more: a connection string may hold a password.
impl fmt::Debug for UserConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Said({})", self.conninfos.len())
    }
}

impl Environment {
    /// Reads the environment of this process; variables that are no UTF-8 are left out.
    pub fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let uid = rustix::process::geteuid().as_raw();
        let user = user(uid);
        let home = variables.get("HOME").filter(|home| !home.is_empty()).cloned();
        Self {
            user: user.as_ref().map(|user| user.name.clone()).or_else(|| variables.get("USER").cloned()),
            home: home.map(PathBuf::from).or(user.map(|user| user.dir)),
            uid,
            variables,
            said: Arc::default(),
        }
    }

    /// Builds an environment for a test.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables: BTreeMap<String, String> =
            pairs.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self {
            user: variables.get("USER").cloned(),
            home: variables.get("HOME").map(PathBuf::from),
            uid: 1000,
            variables,
            said: Arc::default(),
        }
    }

    /// Adds to what the user has said himself.
    pub fn say(&self, what: impl FnOnce(&mut UserConnections)) {
        what(&mut self.said.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns what the user has said himself.
    pub fn said(&self) -> RwLockReadGuard<'_, UserConnections> {
        self.said.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all variables, for a child process.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns a variable's value; an empty value counts as set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Returns a variable's value unless it is empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

/// Returns the path of this very program; where it was replaced meanwhile, that of its successor.
pub fn own_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?;
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(path) => Some(PathBuf::from(path)),
        None => Some(path),
    }
}

/// Returns whether standard input, output and error are all the same person's: a terminal.
pub fn is_terminal() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// Returns the name of a user id, if the system knows it.
pub fn user_name(uid: u32) -> Option<String> {
    user(uid).map(|user| user.name)
}

/// Returns the home directory of a user id, if the system knows it.
pub fn home_of(uid: u32) -> Option<PathBuf> {
    user(uid).map(|user| user.dir)
}

/// Finds a user where the system looks for users, as nsswitch.conf says: in `/etc/passwd`, in a directory service.
fn user(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_user_by_id() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert!(home_of(0).is_some_and(|home| home.is_absolute()));
        assert_eq!(user_name(3_999_999_999), None);
    }
}
