//! One file per verb: options in, calls down, a report out. No SQL, no process, no format.

pub mod adopt;
pub mod cluster;
pub mod config;
pub mod daemon;
pub mod far_end;
pub mod generate;
pub mod node;
pub mod operation;
pub mod primary;
pub mod service;
pub mod standby;
pub mod unregister;
pub mod witness;

use crate::cli::{self, Noun};
use crate::command_line::named_node;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::Report;
use crate::system::command::quote_shell;
use crate::verb::Verb;

/// Carries out what the command line says.
///
/// # Errors
/// Those of the command.
pub async fn dispatch(context: &Context, noun: &Noun) -> Result<Report> {
    let verb = noun.verb();
    let is_for_people = verb != Verb::FarEnd;
    if is_for_people {
        named_node::refuse_unused(context, verb)?;
    }
    refuse_root(context, verb)?;
    if is_for_people && let Some(report) = named_node::node(context, verb).await? {
        return Ok(report);
    }
    match noun {
        Noun::Primary(cli::primary::Primary::Register) => boxed(|| primary::register::run(context)).await,
        Noun::Primary(cli::primary::Primary::Unregister) => {
            boxed(|| unregister::run(context, &crate::registry::NodeType::Primary)).await
        }
        Noun::Standby(cli::standby::Standby::Clone(args)) => {
            boxed(|| standby::clone::run(context, args)).await
        }
        Noun::Standby(cli::standby::Standby::Register(args)) => {
            boxed(|| standby::register::run(context, args)).await
        }
        Noun::Standby(cli::standby::Standby::Unregister) => {
            boxed(|| unregister::run(context, &crate::registry::NodeType::Standby)).await
        }
        Noun::Standby(cli::standby::Standby::Promote(args)) => {
            boxed(|| standby::promote::run(context, args)).await
        }
        Noun::Standby(cli::standby::Standby::Follow(args)) => {
            boxed(|| standby::follow::run(context, args)).await
        }
        Noun::Standby(cli::standby::Standby::Switchover(args)) => {
            boxed(|| standby::switchover::run(context, args)).await
        }
        Noun::Witness(cli::witness::Witness::Register) => boxed(|| witness::register::run(context)).await,
        Noun::Witness(cli::witness::Witness::Unregister) => {
            boxed(|| unregister::run(context, &crate::registry::NodeType::Witness)).await
        }
        Noun::Node(cli::node::Node::Status(args)) => boxed(|| node::status::run(context, args)).await,
        Noun::Node(cli::node::Node::Check(args)) => boxed(|| node::check::run(context, args)).await,
        Noun::Node(cli::node::Node::Prepare(args)) => boxed(|| node::prepare::run(context, args)).await,
        Noun::Node(cli::node::Node::Start) => {
            boxed(|| node::service::run(context, cli::node::Action::Start, cli::node::Checkpoint::default()))
                .await
        }
        Noun::Node(cli::node::Node::Stop(args)) => {
            boxed(|| node::service::run(context, cli::node::Action::Stop, *args)).await
        }
        Noun::Node(cli::node::Node::Restart(args)) => {
            boxed(|| node::service::run(context, cli::node::Action::Restart, *args)).await
        }
        Noun::Node(cli::node::Node::Reload) => {
            boxed(|| node::service::run(context, cli::node::Action::Reload, cli::node::Checkpoint::default()))
                .await
        }
        Noun::Node(cli::node::Node::Service(args)) => match args.action {
            Some(cli::node::Action::Promote) if !args.list_actions => {
                boxed(|| async { standby::promote::run(context, &cli::standby::Promote::default()).await })
                    .await
            }
            Some(action) if !args.list_actions => {
                boxed(|| node::service::run(context, action, args.checkpoint)).await
            }
            only => node::service::list(context, only),
        },
        Noun::Node(cli::node::Node::Rejoin(args)) => boxed(|| node::rejoin::run(context, args, false)).await,
        Noun::Node(cli::node::Node::Guard(args)) => boxed(|| node::guard::run(context, args)).await,
        Noun::Standby(cli::standby::Standby::Rewind(args)) => {
            boxed(|| node::rejoin::run(context, args, true)).await
        }
        Noun::Cluster(cli::cluster::Cluster::Show(args)) => boxed(|| cluster::show::run(context, args)).await,
        Noun::Cluster(cli::cluster::Cluster::Check(args)) => {
            boxed(|| cluster::check::run(context, args)).await
        }
        Noun::Cluster(cli::cluster::Cluster::Uri(args)) => boxed(|| cluster::uri::run(context, *args)).await,
        Noun::Cluster(cli::cluster::Cluster::Event(args)) => {
            boxed(|| cluster::event::run(context, args)).await
        }
        Noun::Cluster(cli::cluster::Cluster::Matrix) => boxed(|| cluster::matrix::run(context, false)).await,
        Noun::Cluster(cli::cluster::Cluster::Crosscheck) => {
            boxed(|| cluster::matrix::run(context, true)).await
        }
        Noun::Cluster(cli::cluster::Cluster::Cleanup(args)) => {
            boxed(|| cluster::cleanup::run(context, args)).await
        }
        Noun::Operation(verb) => boxed(|| operation::run(context, verb)).await,
        Noun::Daemon(cli::daemon::Daemon::Run) => boxed(|| daemon::run(context)).await,
        Noun::Daemon(cli::daemon::Daemon::Start(args)) => boxed(|| daemon::start(context, args)).await,
        Noun::Daemon(cli::daemon::Daemon::Stop(args)) => boxed(|| daemon::stop(context, args)).await,
        Noun::Service(verb) => boxed(|| service::run(context, verb)).await,
        Noun::Config(cli::Config::Check) => config::check(context),
        Noun::Config(cli::Config::Show) => config::show(context),
        Noun::Completions { shell } => Ok(generate::completions(*shell)),
        Noun::Man { directory } => generate::man(directory.as_deref()),
        Noun::FarEnd => boxed(|| far_end::run(context)).await,
    }
}

/// A command as it is carried out.
pub(crate) type Running<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Report>> + 'a>>;

/// The same as a [`crate::context::Dispatch`].
pub fn boxed_dispatch<'a>(context: &'a Context, noun: &'a Noun) -> Running<'a> {
    boxed(|| dispatch(context, noun))
}

/// Puts a command on the heap. Together they would need more of the stack than there is, where one is carried out within another one.
#[inline(never)]
pub(crate) fn boxed<'a, F: Future<Output = Result<Report>> + 'a>(command: impl FnOnce() -> F) -> Running<'a> {
    Box::pin(command())
}

/// PostgreSQL refuses root, and a file that root has made here is one that the server cannot read.
fn refuse_root(context: &Context, verb: Verb) -> Result<()> {
    if context.environment.uid != 0 || verb.traits().root {
        return Ok(());
    }
    let owner = context
        .config_if_any()
        .ok()
        .flatten()
        .and_then(|config| crate::system::inspect::owner(&config.data_directory))
        .unwrap_or_else(|| "postgres".to_string());
    let words = context.command_line.iter().map(|word| quote_shell(word)).collect::<Vec<_>>().join(" ");
    let error = Error::failed("pgbaton cannot be run as root")
        .detail("It would create files that the server, which runs as another user, cannot use.")
        .hint(format!("Run it as the user that owns the data directory: sudo -u {owner} {words}"));
    Err(match verb {
        Verb::NodeGuard => error.hint(format!(
            "In a unit of systemd: User={owner}; or, if the unit runs as root, ExecStartPre=/sbin/runuser -u {owner} -- {words}"
        )),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;
    use crate::output::Style;
    use crate::system::environment::Environment;
    use crate::ui::{Level, Ui};

    #[test]
    fn root_may_only_look_from_outside() {
        let judge = |uid, words: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_string).collect();
            let cli = Cli::parse_from(&words);
            let mut environment = Environment::from_pairs([]);
            environment.uid = uid;
            let ui = Ui::new(Level::Error, false, false);
            let context = Context::new(
                cli.global.clone(),
                cli.noun.verb(),
                words,
                environment,
                ui,
                Style::default(),
                boxed_dispatch,
            );
            refuse_root(&context, cli.noun.verb())
        };
        for allowed in
            ["cluster show", "cluster uri", "cluster event", "config check", "operation list", "man"]
        {
            assert!(judge(0, &format!("pgbaton {allowed}")).is_ok(), "{allowed}");
        }
        for refused in [
            "primary register",
            "witness register",
            "cluster cleanup",
            "standby clone -h x",
            "node status",
            "node guard",
            "operation resume",
        ] {
            assert!(judge(0, &format!("pgbaton {refused}")).is_err(), "{refused}");
            assert!(judge(1000, &format!("pgbaton {refused}")).is_ok(), "{refused}");
        }
        let error = judge(0, "pgbaton node stop -D /nowhere -v").unwrap_err();
        assert_eq!(error.exit, crate::Exit::Failed);
        assert!(error.text.hint.unwrap().ends_with("sudo -u postgres pgbaton node stop -D /nowhere -v"));
        // The process that starts servers at boot runs as root.
        let error = judge(0, "pgbaton node guard -D /nowhere").unwrap_err();
        assert_eq!(
            crate::command_line::usage::exit_code_of("node guard", &[], error.exit),
            crate::Exit::CannotTell
        );
        assert!(error.text.hint.unwrap().contains("User=postgres"));
    }
}
