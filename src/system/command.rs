//! A program with its arguments, as a value.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The program: an absolute path, or a name looked up in PATH.
    pub program: String,
    /// Its arguments. No shell reads them.
    pub args: Vec<String>,
    /// Variables set for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// Variables set for it whose values are secrets: (variable, name of the secret).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<(String, String)>,
    /// Where its output goes instead of into pipes: needed for pg_ctl, whose child the postmaster would keep a pipe open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// Its standard error reports how far it is, as that of pg_basebackup does with `--progress`; it has failed when it has
    /// said nothing new for so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_at_most_s: Option<u32>,
    /// It starts the server of this data directory, and waits in long steps until that is ready. It is not waited for any longer than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<PathBuf>,
    /// It stops the server of this data directory, and may start it again. Where its messages go is kept for the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops: Option<PathBuf>,
}

impl Command {
    /// Starts a command.
    pub fn new(program: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            secrets: Vec::new(),
            log: None,
            silent_at_most_s: None,
            starts: None,
            stops: None,
        }
    }
}

impl fmt::Display for Command {
    /// Writes the line as one would type it in a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quote_shell(value))?;
        }
        f.write_str(&quote_shell(&self.program))?;
        for arg in &self.args {
            write!(f, " {}", quote_shell(arg))?;
        }
        Ok(())
    }
}

/// Writes a word as one would type it in a shell: in quotes only where the shell needs them, and of `--name=value` only the value.
pub fn quote_shell(word: &str) -> String {
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_@%+:,./=-".contains(c));
    let option = word.find('=').filter(|at| word.starts_with('-') && word.get(..*at).is_some_and(is_plain));
    let (name, value) = word.split_at(option.map_or(0, |at| at + 1));
    // A leading "=" is a path to zsh, a leading "~" to all of them; the rest of a word after "--name=" none of both.
    let plain = is_plain(value) && (!name.is_empty() || !value.is_empty() && !value.starts_with('='));
    if plain { word.to_string() } else { format!("{name}{}", shell_words::quote(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        for (word, shown) in [
            ("--pgdata=/var/lib/17/main", "--pgdata=/var/lib/17/main"),
            ("--label=pgbaton base backup", "--label='pgbaton base backup'"),
            ("--dbname=host=a port=1", "--dbname='host=a port=1'"),
            ("--tablespace-mapping=/a\\=b=/c", "--tablespace-mapping='/a\\=b=/c'"),
            ("--slot=", "--slot="),
            ("-c", "-c"),
            ("-o-p 5433", "'-o-p 5433'"),
            ("--it's=x", "'--it'\\''s=x'"),
            ("", "''"),
            ("=ls", "'=ls'"),
            ("~/x", "'~/x'"),
            ("a;b", "'a;b'"),
            ("n\u{f6}de", "n\u{f6}de"),
        ] {
            assert_eq!(quote_shell(word), shown);
            // Whatever it looks like, a shell reads the word.
            assert_eq!(shell_words::split(shown).unwrap(), [word]);
        }
    }
}
