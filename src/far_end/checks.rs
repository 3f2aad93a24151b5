//! What a far end's first answer means, or that there is none.

use std::path::{Path, PathBuf};

use crate::error::{Error, Exit, sentence};
use crate::far_end::protocol::{Hello, PROTOCOL, ServiceCommands, VOID};
use crate::pg::control::Manager;
use crate::plan::far_end::{FarEnd, Reached, for_shell};
use crate::plan::{Check, service};

/// Why a far end does not respond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelFailure {
    /// What leads there could not be started.
    NotStarted(String),
    /// Nothing came in time.
    Silent {
        /// How many seconds.
        seconds: u64,
        /// The end of its standard error.
        said: String,
    },
    /// It has ended.
    Ended {
        /// Its exit status, or that of ssh; None if a signal ended it, or if it is unknown.
        status: Option<i32>,
        /// The end of its standard error.
        said: String,
    },
    /// Its output is not a response of this protocol.
    Noise {
        /// The line.
        line: String,
        /// The end of its standard error.
        said: String,
    },
    /// The request came too late, and was not carried out: see [`VOID`].
    Void,
    /// It speaks another version of the protocol.
    Protocol {
        /// Its version.
        pgbaton: String,
        /// Its protocol.
        protocol: u32,
    },
}

impl ChannelFailure {
    /// Says what it means, with what to type.
    fn described(&self, far_end: &FarEnd) -> (String, String, String) {
        let node = format!("node \"{}\"", far_end.node_name);
        let reached = &far_end.reached;
        let whole = |text: &str, said: &str| match said.trim() {
            "" => text.to_string(),
            // As it was said: the name of a program stays as it is.
            said => {
                format!("{text} It said: {said}{}", if said.ends_with(['.', '?', '!']) { "" } else { "." })
            }
        };
        let (program, by_ssh) = match reached {
            Reached::Local { program, .. } => (program, false),
            Reached::Ssh { program, .. } => (program, true),
        };
        let version = format!("{} --version", shell_words::quote(program));
        let try_it = format!("Try it by hand: {}", reached.by_hand(&version));
        let not_reached = format!("pgbaton on the host of {node} cannot be reached");
        match self {
            Self::NotStarted(why) => (not_reached, sentence(why), try_it),
            Self::Silent { seconds, said } => {
                (not_reached, whole(&format!("It did not respond within {seconds} s."), said), try_it)
            }
            // What a shell says of a program that it does not find, or must not execute.
            Self::Ended { status: Some(126 | 127), said } => (
                format!("there is no pgbaton on the host of {node}"),
                whole(&format!("It is neither \"{program}\" nor in PATH."), said),
                format!(
                    "Install it there, or set pgbaton_bindir in the configuration here. What PATH is: {}",
                    reached.by_hand("echo $PATH")
                ),
            ),
            Self::Ended { status: Some(255), said } if by_ssh => {
                (not_reached, whole("ssh ended with status 255.", said), try_it)
            }
            // It is there and refuses, in our own way of saying so.
            Self::Ended { status: Some(_), said } if said.trim_start().starts_with("ERROR: ") => {
                let part = |name: &str| {
                    let lines = said.lines().filter_map(|line| line.trim().strip_prefix(name));
                    lines.map(str::trim).collect::<Vec<_>>().join(" ")
                };
                let (hint, again) = (part("HINT:"), reached.by_hand(&self_check(reached, program)));
                (
                    format!("pgbaton on the host of {node} cannot perform its part"),
                    format!("It said: {}. {}", part("ERROR:"), part("DETAIL:")).trim_end().to_string(),
                    format!("{hint} Try it by hand: {again}").trim_start().to_string(),
                )
            }
            Self::Ended { status, said } => {
                let how = match status {
                    Some(status) => format!("It ended with status {status}."),
                    None => "It ended.".to_string(),
                };
                (not_reached, whole(&how, said), try_it)
            }
            Self::Noise { line, said } => (
                format!("something other than pgbaton responds on the host of {node}"),
                whole(&format!("The line \"{line}\" came over the channel."), said),
                format!(
                    "A shell must print nothing when it has no terminal: look at its start-up files there. \
                     To see what comes: {}",
                    reached.by_hand("true")
                ),
            ),
            Self::Void => (
                format!("a request reached pgbaton on the host of {node} too late and was not carried out"),
                format!("The channel to it had been silent for more than {} s.", VOID.as_secs()),
                "Run \"pgbaton cluster show\" before the next attempt.".to_string(),
            ),
            Self::Protocol { pgbaton, protocol } => (
                format!("pgbaton on the host of {node} speaks another protocol"),
                format!(
                    "There it is version {pgbaton} with protocol {protocol}, here version {} with protocol {PROTOCOL}.",
                    env!("CARGO_PKG_VERSION")
                ),
                "Install the same version of pgbaton on both hosts.".to_string(),
            ),
        }
    }

    /// Returns the error of an operation that needs this far end; exit code 12.
    pub fn error(&self, far_end: &FarEnd) -> Error {
        let (primary, detail, hint) = self.described(far_end);
        Error::new(Exit::Remote, primary).detail(detail).hint(hint)
    }
}

/// Returns what shows on a host whether pgbaton can read its configuration there.
fn self_check(reached: &Reached, program: &str) -> String {
    let (Reached::Local { config_file, .. } | Reached::Ssh { config_file, .. }) = reached;
    for_shell([program, "-f", config_file, "node", "status"].into_iter().map(str::to_string))
}

/// What is known of a node before its far end is asked.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The cluster's system identifier.
    pub system_identifier: Option<String>,
    /// `data_directory`, as the node's server says.
    pub data_directory: Option<PathBuf>,
    /// The operation starts or stops the server there.
    pub restarts: bool,
}

/// Judges what a far end said when it was asked who it is.
pub fn checks(far_end: &FarEnd, expected: &Expected, answer: &Result<Hello, ChannelFailure>) -> Vec<Check> {
    let node_id = far_end.node_id;
    let checks = match answer {
        Ok(hello) => of_hello(far_end, expected, hello),
        Err(trouble) => {
            let (message, detail, hint) = trouble.described(far_end);
            vec![Check::fail("far_end", message).detail(detail).hint(hint).exit(Exit::Remote)]
        }
    };
    checks.into_iter().map(|check| check.node(node_id)).collect()
}

fn of_hello(far_end: &FarEnd, expected: &Expected, hello: &Hello) -> Vec<Check> {
    let node = format!("node \"{}\"", far_end.node_name);
    let reached = &far_end.reached;
    let mut out = vec![Check::pass("far_end", format!("pgbaton on the host of {node} responds"))];
    let here = env!("CARGO_PKG_VERSION");
    if hello.pgbaton != here {
        out.push(
            Check::warning("far_end_version", format!("pgbaton on the host of {node} has another version"))
                .detail(format!("It is {} there and {here} here.", hello.pgbaton))
                .hint("Install the same version on both hosts."),
        );
    }
    if let Some(wrong) = wrong_configuration(far_end, expected, hello) {
        // What else it says is about something else.
        out.push(wrong);
        return out;
    }
    if let (Some(user), Some(owner)) = (&hello.user, &hello.owner)
        && user != owner
    {
        let message =
            format!("pgbaton on the host of {node} does not run as the user that owns its data directory");
        let check = Check::fail("far_end_user", message).detail(format!(
            "It runs as \"{user}\"; \"{}\" belongs to \"{owner}\".",
            hello.data_directory.display()
        ));
        out.push(match reached {
            Reached::Ssh { destination, .. } => {
                let host = destination.rsplit('@').next().unwrap_or(destination);
                check.hint(format!(
                    "In the database of the metadata run: INSERT INTO pgbaton.node (node_id, ssh_host) VALUES ({}, '{owner}@{host}') \
                     ON CONFLICT (node_id) DO UPDATE SET ssh_host = EXCLUDED.ssh_host;",
                    far_end.node_id
                ))
            }
            Reached::Local { .. } => check.hint(format!("Run pgbaton as \"{owner}\".")),
        });
    }
    if let Some((id, command)) = &hello.unfinished {
        out.push(
            Check::fail("far_end_unfinished", format!("operation \"{command}\" is unfinished on {node}"))
                .detail(format!("Its id is {id}."))
                .hint(format!(
                    "On its host run \"pgbaton operation show {id}\", then \"pgbaton operation resume {id}\" or \
                     \"pgbaton operation abandon {id}\"."
                ))
                .exit(Exit::Busy),
        );
    }
    if let Some(holder) = &hello.locked_by {
        out.push(
            Check::fail("far_end_busy", format!("another operation is running on {node}"))
                .detail(holder.clone())
                .hint("Wait until it has ended, and try again. A far end that has lost its coordinator ends by itself.")
                .exit(Exit::Busy),
        );
    }
    if expected.restarts {
        out.extend(hello.start_checks.iter().cloned());
        match &hello.service {
            Ok(service) => out.extend(unmanaged(&node, hello.user.as_deref().unwrap_or("postgres"), service)),
            Err(why) => out.push(
                Check::fail("service_manager", format!("it is unknown how the server of {node} is started"))
                    .detail(why.clone())
                    .hint(format!(
                        "Set service_start_command and service_stop_command in \"{}\".",
                        hello.config_file
                    )),
            ),
        }
    }
    out
}

/// Says in what the configuration file there is not that of the node.
fn wrong_configuration(far_end: &FarEnd, expected: &Expected, hello: &Hello) -> Option<Check> {
    let fail = |message: String| Check::fail("far_end_configuration", message);
    let file = &hello.config_file;
    if (hello.node_id, &hello.node_name) != (far_end.node_id, &far_end.node_name) {
        return Some(
            fail(format!("the configuration file of node \"{}\" is that of another node", far_end.node_name))
                .detail(format!(
                    "\"{file}\" on its host is about node \"{}\" (ID {}), and not \"{}\" (ID {}).",
                    hello.node_name, hello.node_id, far_end.node_name, far_end.node_id
                ))
                .hint("Register the node again with the right file, on its host: \"pgbaton primary register\" or \"pgbaton standby register\", with -f and --force."),
        );
    }
    let control = match &hello.control {
        Ok(control) => control,
        Err(why) => {
            return Some(
                fail(format!("the data directory of node \"{}\" cannot be read", far_end.node_name))
                    .detail(sentence(why))
                    .hint(format!("Check data_directory in \"{file}\" on its host.")),
            );
        }
    };
    let whose = |message: &str, detail: String| {
        let message = format!("the configuration file of node \"{}\" names {message}", far_end.node_name);
        fail(message).detail(detail).hint(format!("Correct data_directory in \"{file}\" on its host."))
    };
    let data = hello.data_directory.display();
    match (&expected.system_identifier, &expected.data_directory) {
        (Some(wanted), _) if *wanted != control.system_identifier => Some(whose(
            "the data directory of another cluster",
            format!(
                "\"{data}\" has the system identifier {}, the cluster has {wanted}.",
                control.system_identifier
            ),
        )),
        (_, Some(wanted)) if !same_place(wanted, &hello.data_directory) && hello.postmaster.is_none() => {
            Some(whose(
                "another data directory than its server",
                format!("The server runs on \"{}\", and nothing runs on \"{data}\".", wanted.display()),
            ))
        }
        _ => None,
    }
}

/// Compares two paths by their parts; which of them is a symbolic link, only that host knows.
fn same_place(a: &Path, b: &Path) -> bool {
    a.components().eq(b.components())
}

/// Complains of a server that only systemd may start or stop.
fn unmanaged(node: &str, user: &str, service: &ServiceCommands) -> Option<Check> {
    let unit = [&service.starter, &service.stopper].into_iter().find_map(|manager| match manager {
        Manager::Systemd { unit } => Some(unit),
        _ => None,
    })?;
    Some(
        Check::fail("service_manager", format!("the server of {node} is managed by systemd, as unit \"{unit}\""))
            .detail(
                "If the server is started or stopped without systemd, systemd may start it again or assume that it is down.",
            )
            .hint(format!("On its host: {}", service::lines_for(unit, user))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::settings::NextStart;
    use crate::far_end::protocol::Control;
    use crate::pg::control_file::ControlState;
    use crate::pg::history::TimelineId;
    use crate::plan::CheckResult;
    use crate::plan::far_end::tests::by_ssh;
    use crate::system::command::Command;

    fn hello() -> Hello {
        let manager = Manager::PgCtl;
        Hello {
            pgbaton: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            node_id: 1,
            node_name: "node1".into(),
            config_file: "/etc/pgbaton/pgbaton.toml".into(),
            data_directory: "/data".into(),
            config_directory: None,
            user: Some("postgres".into()),
            owner: Some("postgres".into()),
            control: Ok(Control {
                system_identifier: "7000".into(),
                state: ControlState::InProduction,
                timeline: TimelineId(1),
            }),
            postmaster: Some(7),
            major: Some("15".into()),
            bindir: None,
            service: Ok(ServiceCommands {
                starter: manager.clone(),
                stopper: manager,
                start: Command::new("pg_ctl", ["start"]),
                stop: Command::new("pg_ctl", ["stop"]),
                start_timeout_s: 60,
                stop_timeout_s: 60,
                start_note: None,
            }),
            unfinished: None,
            locked_by: None,
            archive_ready: Some(0),
            has_upstream: Some(false),
            wal_log_hints: Some(true),
            checksums: Some(false),
            start_checks: Vec::new(),
            next: NextStart::default(),
        }
    }

    fn expected() -> Expected {
        Expected {
            system_identifier: Some("7000".into()),
            data_directory: Some("/data/".into()),
            restarts: true,
        }
    }

    /// The checks that are no pass, of an answer.
    fn found(answer: Result<Hello, ChannelFailure>) -> Vec<Check> {
        let all = checks(&by_ssh(), &expected(), &answer);
        assert!(all.iter().all(|check| check.node_id == Some(1)));
        all.into_iter().filter(|check| check.verdict != CheckResult::Pass).collect()
    }

    #[track_caller]
    fn one(answer: Result<Hello, ChannelFailure>, name: &str, exit: Exit, hint: &str) {
        let found = found(answer);
        let [check] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((check.name.as_str(), check.exit), (name, exit), "{check:?}");
        assert!(check.stops() && check.detail.is_some(), "{check:?}");
        assert!(check.hint.as_deref().unwrap_or_default().contains(hint), "{check:?}");
    }

    #[test]
    fn a_far_end_as_it_should_be_passes() {
        assert_eq!(found(Ok(hello())), []);
    }

    #[test]
    fn whatever_is_wrong_with_an_answer_is_one_check_with_something_to_type() {
        let other = |change: fn(&mut Hello)| {
            let mut hello = hello();
            change(&mut hello);
            Ok(hello)
        };
        let configuration = "far_end_configuration";
        one(other(|hello| hello.node_id = 2), configuration, Exit::Failed, "standby register");
        one(other(|hello| hello.node_name = "x".into()), configuration, Exit::Failed, "standby register");
        let unreadable = other(|hello| hello.control = Err("could not open file".into()));
        one(unreadable, configuration, Exit::Failed, "/etc/pgbaton/pgbaton.toml");
        let elsewhere = other(|hello| {
            hello.data_directory = "/old".into();
            hello.postmaster = None;
        });
        one(elsewhere, configuration, Exit::Failed, "data_directory");
        let foreign = other(|hello| {
            if let Ok(control) = &mut hello.control {
                control.system_identifier = "7001".into();
            }
        });
        one(foreign, configuration, Exit::Failed, "data_directory");
        one(other(|hello| hello.user = Some("admin".into())), "far_end_user", Exit::Failed, "'postgres@db1'");
        let unfinished = other(|hello| hello.unfinished = Some(("X1".into(), "node rejoin".into())));
        one(unfinished, "far_end_unfinished", Exit::Busy, "pgbaton operation resume X1");
        let systemd = other(|hello| {
            if let Ok(service) = &mut hello.service {
                service.starter = Manager::Systemd { unit: "postgresql.service".into() };
            }
        });
        one(systemd, "service_manager", Exit::Failed, "sudo systemctl stop postgresql.service");
        let unmanaged = other(|hello| hello.service = Err("There is no pg_ctl.".into()));
        one(unmanaged, "service_manager", Exit::Failed, "service_start_command");

        let found = found(other(|hello| hello.locked_by = Some("Process 7 has it.".into())));
        assert_eq!((found.len(), found[0].exit), (1, Exit::Busy));
        let found = super::checks(&by_ssh(), &expected(), &other(|hello| hello.pgbaton = "0.0.9".into()));
        assert_eq!(
            found.iter().filter(|check| check.verdict == CheckResult::Warning).count(),
            1,
            "{found:?}"
        );
    }

    #[test]
    fn a_far_end_that_does_not_respond_is_reported_with_a_way_to_try_it() {
        let said = || "Permission denied (publickey).\n".to_string();
        let ssh = "ssh -p 2222 -o BatchMode=yes db1";
        one(Err(ChannelFailure::NotStarted("no ssh".into())), "far_end", Exit::Remote, ssh);
        one(Err(ChannelFailure::Silent { seconds: 30, said: String::new() }), "far_end", Exit::Remote, ssh);
        one(Err(ChannelFailure::Ended { status: Some(255), said: said() }), "far_end", Exit::Remote, ssh);
        one(Err(ChannelFailure::Ended { status: Some(1), said: said() }), "far_end", Exit::Remote, ssh);
        one(
            Err(ChannelFailure::Ended { status: Some(127), said: said() }),
            "far_end",
            Exit::Remote,
            "pgbaton_bindir",
        );
        let noise = ChannelFailure::Noise { line: "Welcome".into(), said: String::new() };
        one(Err(noise), "far_end", Exit::Remote, "start-up files");
        let other = ChannelFailure::Protocol { pgbaton: "9.9".into(), protocol: 9 };
        one(Err(other), "far_end", Exit::Remote, "the same version");

        let error = ChannelFailure::Ended { status: Some(255), said: said() }.error(&by_ssh());
        assert_eq!(
            error.text.detail.unwrap(),
            "ssh ended with status 255. It said: Permission denied (publickey)."
        );
    }
}
