//! The far end: pgbaton on the host of another node, how it is reached, what is said to it (`protocol`), and what its first answer
//! means (`checks`).
//!
//! One channel to each host, opened and tested before anything stops. Whatever carries what is said (a local child, ssh, a socket) makes no
//! difference to anything but [`Reached`].

use serde::{Deserialize, Serialize};

use crate::system::command::Command;

/// The pgbaton on the host of another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarEnd {
    /// The node.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// The way there.
    pub reached: Reached,
}

/// How a far end is reached. Complete, so that a resumed operation takes the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// The node is on this host.
    Local {
        /// pgbaton.
        program: String,
        /// The configuration file of the node; where it is empty, the far end looks for one itself.
        config_file: String,
    },
    /// The node is on a host that ssh leads to.
    Ssh {
        /// `host` or `user@host`.
        destination: String,
        /// `ssh_options`.
        options: Vec<String>,
        /// pgbaton there; where it does not exist, the one in PATH.
        program: String,
        /// As above, on that host.
        config_file: String,
    },
}

/// Options that every ssh gets after those of the user, whose own win: ssh takes the first value that it is given.
const SSH_OPTIONS: [&str; 5] = [
    "BatchMode=yes",
    "ConnectTimeout=10",
    // A host that is lost ends the connection: here about when the far end takes it for closed, see `SILENCE`.
    "ServerAliveInterval=3",
    "ServerAliveCountMax=2",
    "LogLevel=ERROR",
];

/// Runs pgbaton where it was expected, or else from PATH. In a shell of its own: the user's may be csh or fish.
const RUN: &str = "p=$1; shift; [ -x \"$p\" ] || p=pgbaton; exec \"$p\" \"$@\"";

impl FarEnd {
    /// Returns the command that opens a channel.
    pub fn command(&self) -> Command {
        self.reached.command(false, &["far-end".to_string()])
    }
}

impl Reached {
    /// Returns the command that runs pgbaton there with the node's configuration file; `terminal` gives it a terminal of its own.
    pub fn command(&self, terminal: bool, words: &[String]) -> Command {
        let (program, config_file) = match self {
            Self::Local { program, config_file } | Self::Ssh { program, config_file, .. } => {
                (program, config_file)
            }
        };
        // The first word decides what the rest means.
        let mut args: Vec<String> = words.to_vec();
        if !config_file.is_empty() {
            args.extend(["-f".to_string(), config_file.clone()]);
        }
        match self {
            Self::Local { .. } => Command::new(program, args),
            Self::Ssh { .. } => {
                let run = ["sh", "-c", RUN, "sh", program].into_iter().map(str::to_string);
                self.ssh(terminal, &format!("exec {}", for_shell(run.chain(args))))
            }
        }
    }

    /// Returns a line that can be typed to see for oneself what happens; `words` are a shell's, on that host.
    pub fn by_hand(&self, words: &str) -> String {
        match self {
            Self::Local { .. } => words.to_string(),
            Self::Ssh { destination, options, .. } => {
                // An equals sign needs no quotes.
                let quoted = |word: &String| match word.split_once('=') {
                    Some((name, value)) => {
                        format!("{}={}", shell_words::quote(name), shell_words::quote(value))
                    }
                    None => shell_words::quote(word).into_owned(),
                };
                let options: String =
                    without_quiet(options).map(|option| format!("{} ", quoted(option))).collect();
                let (destination, words) = (shell_words::quote(destination), shell_words::quote(words));
                format!("ssh {options}-o BatchMode=yes {destination} {words}")
            }
        }
    }

    fn ssh(&self, terminal: bool, remote: &str) -> Command {
        let Self::Ssh { destination, options, .. } = self else { return Command::new("ssh", [remote]) };
        let mut args: Vec<String> = without_quiet(options).cloned().collect();
        args.push(if terminal { "-t" } else { "-T" }.to_string());
        args.extend(SSH_OPTIONS.iter().flat_map(|option| ["-o".to_string(), (*option).to_string()]));
        args.extend(["--".to_string(), destination.clone(), remote.to_string()]);
        Command::new("ssh", args)
    }
}

/// Leaves out -q: what ssh has to say is kept for the message of a failure, and not shown otherwise.
fn without_quiet(options: &[String]) -> impl Iterator<Item = &String> {
    options.iter().filter(|option| *option != "-q")
}

/// Quotes words for the shell of another host: the one place that does.
pub(crate) fn for_shell(words: impl Iterator<Item = String>) -> String {
    let quoted: Vec<String> = words.map(|word| shell_words::quote(&word).into_owned()).collect();
    quoted.join(" ")
}

/// What a server is, seen on its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// None runs. One that has written its last WAL and only waits for its processes counts as none.
    Down,
    /// It runs in recovery.
    Standby,
    /// It runs as a primary, or is going to. A whole sentence.
    Running(String),
    /// It runs, but its role is unknown. A whole sentence.
    Unclear(String),
}

impl ServerState {
    /// Says whether the server accepts no writes, and comes back as a standby only.
    pub fn is_secure(&self) -> bool {
        self.objection().is_none()
    }

    /// Returns why the server is, or may be, a primary.
    pub fn objection(&self) -> Option<&str> {
        match self {
            Self::Down | Self::Standby => None,
            Self::Running(why) | Self::Unclear(why) => Some(why),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn by_ssh() -> FarEnd {
        let reached = Reached::Ssh {
            destination: "db1".into(),
            options: vec!["-q".into(), "-p".into(), "2222".into()],
            program: "/opt/its here/pgbaton".into(),
            config_file: "/etc/$HOME; it's/x.toml".into(),
        };
        FarEnd { node_id: 1, node_name: "node1".into(), reached }
    }

    #[test]
    fn the_shell_of_the_other_host_gets_every_word_as_it_is() {
        let command = by_ssh().command();
        let (remote, local) = command.args.split_last().unwrap();
        assert_eq!(local[..3], ["-p", "2222", "-T"]);
        assert_eq!(local[local.len() - 2..], ["--", "db1"]);
        let words = shell_words::split(remote).unwrap();
        assert_eq!(words[..4], ["exec", "sh", "-c", RUN]);
        let rest = ["sh", "/opt/its here/pgbaton", "far-end", "-f", "/etc/$HOME; it's/x.toml"];
        assert_eq!(words[4..], rest);

        let reached = Reached::Local { program: "/p".into(), config_file: String::new() };
        assert_eq!(reached.command(false, &["far-end".into()]), Command::new("/p", ["far-end"]));
    }
}
