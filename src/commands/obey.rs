//! The options that are read everywhere, held against the table of what each command uses: nothing is ignored.

use crate::cli::options::{Leaf, Node, Use};
use crate::commands::context::Context;
use crate::commands::reach;
use crate::error::{Error, Result};
use crate::output::ui::Level;
use crate::output::{Report, no_csv};

/// Refuses an option that means nothing for this command, before anything is looked at.
///
/// # Errors
/// Exit code 1, with the reason.
pub fn refuse_unused(context: &Context, leaf: &Leaf) -> Result<()> {
    for option in Use::ALL {
        let Some(given) = option.given(&context.global).filter(|_| !leaf.has(option)) else { continue };
        if leaf.of_repmgr.contains(&option) {
            let primary = format!("option \"{given}\" has no effect on \"{}\"", leaf.name);
            context.ui.message(Level::Warning, &primary, Some(reason(option, leaf)), None);
            continue;
        }
        if option == Use::Csv {
            return Err(no_csv(leaf.name));
        }
        let error = Error::failed(format!("option \"{given}\" cannot be used with \"{}\"", leaf.name))
            .detail(format!("{} Nothing was changed.", reason(option, leaf)));
        return Err(match (option, leaf.node) {
            (Use::Connection, Node::HandedOver) => {
                error.hint("To act on another node, name it with --node-id or --node-name.")
            }
            _ => error.hint(format!("Try \"pgbaton {} --help\".", leaf.name)),
        });
    }
    Ok(())
}

/// Has the node that `--node-id` or `--node-name` names carry the command out; None if that is done here.
///
/// # Errors
/// Exit code 1 if there is no such node, or only the local one can be meant; else those of the way there.
pub async fn node(context: &Context, leaf: &Leaf) -> Result<Option<Report>> {
    let named = Use::Node.given(&context.global).is_some();
    match leaf.node {
        _ if !named => Ok(None),
        Node::HandedOver => reach::elsewhere(context).await,
        Node::Local if !reach::means_local(context)? => {
            Err(Error::failed(format!("\"{}\" acts on the local node only", leaf.name))
                .detail(format!(
                    "It is node \"{}\" (ID {}). Nothing was changed.",
                    context.config()?.node_name,
                    context.config()?.node_id
                ))
                .hint(
                    "Run it on the host of the other node, or name that node's configuration file with -f.",
                ))
        }
        Node::Local | Node::Subject | Node::Meaningless => Ok(None),
    }
}

fn reason(option: Use, leaf: &Leaf) -> &'static str {
    match option {
        Use::Files => "It reads no configuration.",
        Use::Connection if leaf.has(Use::Files) && !leaf.name.starts_with("config") => {
            "It acts on a node that is registered or configured, and connects by conninfo of its configuration."
        }
        Use::Connection | Use::Timeout => "It connects to no server.",
        Use::Superuser => "Nothing that it does requires a superuser.",
        Use::Node => "It is about no single node.",
        Use::Force => "It makes no check that could be overridden.",
        Use::AcceptDataLoss => "Nothing that it does can lose transactions.",
        Use::DryRun => "It changes nothing.",
        Use::Yes => "It asks no question.",
        Use::Csv | Use::Compact => "It has no such output.",
    }
}
