//! The options that are read everywhere, held against the table of what each command uses: nothing is ignored; and the way of a command to
//! the node that it names.

use crate::command_line::{named_node, usage};
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::far_end::checks::{Expected, checks};
use crate::observe::node_location::{
    self, NodeLocation, config_file, far_end, greet, means_local, ssh_hosts,
};
use crate::observe::{discovery, own_node};
use crate::output::{Data, Report, no_csv};
use crate::plan::FarEnd;
use crate::plan::far_end::Reached;
use crate::system::environment;
use crate::system::process::{self, ChildContext};
use crate::system::signals::{Signal, Signals};
use crate::ui::Level;
use crate::verb::{NodeOption, OptionGroup, Verb};

/// Refuses an option that means nothing for this command, before anything is looked at.
///
/// # Errors
/// Exit code 1, with the reason.
pub fn refuse_unused(context: &Context, verb: Verb) -> Result<()> {
    for option in OptionGroup::ALL {
        let Some(given) = context.given(option).filter(|_| !verb.has(option)) else { continue };
        if verb.traits().of_repmgr.contains(&option) {
            let primary = format!("option \"{given}\" has no effect on \"{verb}\"");
            context.ui.message(Level::Warning, &primary, Some(reason(option, verb)), None);
            continue;
        }
        if option == OptionGroup::Csv {
            return Err(no_csv(verb.words()));
        }
        let error = Error::failed(format!("option \"{given}\" cannot be used with \"{verb}\""))
            .detail(format!("{} Nothing was changed.", reason(option, verb)));
        return Err(match (option, verb.traits().node) {
            (OptionGroup::Connection, NodeOption::HandedOver) => {
                error.hint("To act on another node, name it with --node-id or --node-name.")
            }
            _ => error.hint(format!("Try \"pgbaton {verb} --help\".")),
        });
    }
    Ok(())
}

/// Has the node that `--node-id` or `--node-name` names carry the command out; None if that is done here.
///
/// # Errors
/// Exit code 1 if there is no such node, or only the local one can be meant; else those of the way there.
pub async fn node(context: &Context, verb: Verb) -> Result<Option<Report>> {
    let named = context.given(OptionGroup::Node).is_some();
    match verb.traits().node {
        _ if !named => Ok(None),
        NodeOption::HandedOver => named_node::run_on_named_node(context).await,
        NodeOption::Local if !node_location::means_local(context)? => {
            Err(Error::failed(format!("\"{verb}\" acts on the local node only"))
                .detail(format!(
                    "It is node \"{}\" (ID {}). Nothing was changed.",
                    context.config()?.node_name,
                    context.config()?.node_id
                ))
                .hint(
                    "Run it on the host of the other node, or name that node's configuration file with -f.",
                ))
        }
        NodeOption::Local | NodeOption::Subject | NodeOption::Meaningless => Ok(None),
    }
}

fn reason(option: OptionGroup, verb: Verb) -> &'static str {
    match option {
        OptionGroup::Files => "It reads no configuration.",
        OptionGroup::Connection
            if verb.has(OptionGroup::Files) && !matches!(verb, Verb::ConfigCheck | Verb::ConfigShow) =>
        {
            "It acts on a node that is registered or configured, and connects by conninfo of its configuration."
        }
        OptionGroup::Connection | OptionGroup::Timeout => "It connects to no server.",
        OptionGroup::Superuser => "Nothing that it does requires a superuser.",
        OptionGroup::Node => "It is about no single node.",
        OptionGroup::Force => "It has no check that could be overridden.",
        OptionGroup::AcceptDataLoss => "Nothing that it does can lose transactions.",
        OptionGroup::DryRun => "It changes nothing.",
        OptionGroup::Yes => "It asks no question.",
        OptionGroup::Csv | OptionGroup::Compact => "It has no such output.",
    }
}

/// Hands this command over to the node that `--node-id` or `--node-name` means; None if that is the local one.
///
/// # Errors
/// Exit code 1 if there is no such node, else those of [`run_on_host`].
pub async fn run_on_named_node(context: &Context) -> Result<Option<Report>> {
    if means_local(context)? {
        return Ok(None);
    }
    let found = discovery::cluster(context).await?;
    let node = own_node::target(context, &found.facts)?;
    let ssh_host = ssh_hosts(context, &found).await.remove(&node.row.node_id);
    let known = NodeLocation {
        row: &node.row,
        server: node.facts(),
        system_identifier: found.facts.system_identifier(),
        ssh_host: ssh_host.as_deref(),
    };
    let there = far_end(context, &known).await?;
    let words = context.command_line.get(1..).unwrap_or_default();
    run_on_host(context, &there, words).await.map(Some)
}

/// Has the pgbaton of another node carry a command out, with our terminal; its answer and its exit code are ours.
///
/// `args` are the words of the command, without the name of the program. Those that say which node, and where its things are, are left
/// out: over there it is the local one.
///
/// # Errors
/// Exit code 12 if there is no response: then nothing was begun. 5 if the connection was lost: then the state is unknown.
pub async fn run_on_host(context: &Context, far_end: &FarEnd, args: &[String]) -> Result<Report> {
    let words = usage::for_another_node(context.verb.words(), args);
    if words.iter().any(|word| word.contains("********")) {
        return Err(Error::failed("a password on the command line cannot be handed to another host")
            .detail("It would be visible in the process list there.")
            .hint("Leave it out, and put it into the .pgpass of the user that runs pgbaton there."));
    }
    let answer = greet(context, far_end).await;
    let stops = |check: &crate::plan::Check| check.stops() && check.exit != Exit::Busy;
    if let Some(check) = checks(far_end, &Expected::default(), &answer).into_iter().find(stops) {
        return Err(Error::new(check.exit, check.text).detail("Nothing was changed."));
    }
    // With a terminal on the other side both streams are one, so that side gets one only if all of ours are.
    let terminal = environment::is_terminal();
    let command = far_end.reached.command(terminal, &words);
    context.debug(&command.to_string());
    let signals = Signals::take_over()
        .map_err(|error| Error::from_cause(Exit::Internal, "could not take over signals", &error))?;
    let around = ChildContext { environment: Some(&context.environment), ..ChildContext::default() };
    let attached = process::Attached::start(&command, &around, terminal)
        .map_err(|error| Error::from_cause(Exit::LocalCommand, "could not hand the command over", &error))?;
    let by_ssh = matches!(far_end.reached, Reached::Ssh { .. });
    let status = {
        let mut ended = std::pin::pin!(attached.wait());
        loop {
            tokio::select! {
                status = &mut ended => break status,
                signal = signals.next() => match terminal {
                    // The terminal has signalled the other side as well.
                    true => {}
                    false if by_ssh => context.ui.message(
                        Level::Notice,
                        "the command continues",
                        Some(&format!("It runs on the host of node \"{}\", where a signal from here does not reach it.", far_end.node_name)),
                        None,
                    ),
                    false => attached.send(match signal {
                        Signal::Int => rustix::process::Signal::INT,
                        Signal::Term => rustix::process::Signal::TERM,
                    }),
                },
            }
        }
    };
    let lost = |detail: String| {
        Error::new(
            Exit::LocalCommand,
            format!("the connection to the host of node \"{}\" was lost", far_end.node_name),
        )
        .detail(detail)
        .detail("What the command has done there is unknown; it continues without this connection.")
        .hint(format!("On that host: pgbaton -f {} operation list", shell_words::quote(config_file(far_end))))
        .changed()
    };
    match status {
        Ok(Some(255)) if by_ssh => Err(lost("ssh ended with status 255.".to_string())),
        Ok(Some(code)) => match u8::try_from(code).ok().and_then(|code| Exit::try_from(code).ok()) {
            Some(exit) => Ok(Report { exit, ..Report::new(Data::Nothing) }),
            None => Err(lost(format!("It ended with status {code}."))),
        },
        Ok(None) => Err(lost("It was ended by a signal.".to_string())),
        Err(error) => Err(lost(sentence(&format!("{error:#}")))),
    }
}
