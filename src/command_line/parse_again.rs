//! A command line that is read once more, for the command to be carried out anew.

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Global};
use crate::command_line::{getopt, usage};
use crate::context::Context;
use crate::error::{Error, Result, sentence};
use crate::pg::conninfo::Conninfo;
use crate::ui::Ui;

/// Reads a command line again, with the consents of today: those of another day say nothing of what would be lost now.
pub fn parse_again(
    context: &Context,
    words: &[String],
    dry_run: bool,
    ui: Ui,
) -> Result<(Context, crate::cli::Noun)> {
    let tree = Cli::command();
    let mut os: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
    getopt::as_getopt_reads(&tree, &mut os);
    usage::name_of(&tree, &mut os);
    let cli = tree.try_get_matches_from(os).and_then(|matches| Cli::from_arg_matches(&matches)).map_err(
        |error| {
            Error::failed("the command line of the operation cannot be read again")
                .detail(sentence(error.to_string().lines().next().unwrap_or_default()))
                .hint("Abandon the operation, and type the command.")
        },
    )?;
    let today = &context.options;
    let global = Global {
        force: today.force,
        accept_data_loss: today.accept_data_loss,
        yes: today.yes,
        dry_run,
        // A password is not in the journal.
        dbname: cli.global.dbname.as_deref().map(without_redacted),
        ..cli.global
    };
    let context = Context::new(
        global,
        cli.noun.verb(),
        words.to_vec(),
        context.environment.clone(),
        ui,
        context.style,
        context.dispatch,
    );
    Ok((context, cli.noun))
}

/// Leaves out a password that is not known any more.
pub fn without_redacted(text: &str) -> String {
    match Conninfo::from_dbname(text) {
        Ok(conninfo) if text.contains("********") => conninfo.without_secrets().to_string(),
        _ => text.to_string(),
    }
}
