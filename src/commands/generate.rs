//! `completions` and `man`: from the same tree that parses the command line.

use std::path::Path;

use clap::builder::Resettable;

use crate::cli;
use crate::error::{Error, Exit, ISSUE_CODES, Result};
use crate::facts::check_name::CheckName;
use crate::output::{Data, Report};
use crate::system::files;

/// Returns the completion script of a shell.
pub fn completions(shell: clap_complete::Shell) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::tree(), "pgbaton", &mut script);
    Report::new(Data::Text(String::from_utf8_lossy(&script).into_owned()))
}

/// Returns the manual page, or writes one page per command into a directory.
///
/// # Errors
/// Exit code 5 if a page cannot be written.
pub fn man(directory: Option<&Path>) -> Result<Report> {
    let pages = pages()?;
    let Some(directory) = directory else {
        let main = pages.into_iter().next().map(|(_, text)| text).unwrap_or_default();
        return Ok(Report::new(Data::Text(main)));
    };
    let failed = |error: &anyhow::Error| {
        Error::from_cause(Exit::LocalCommand, "could not write the manual pages", error)
    };
    files::make_directory(directory, 0o755).map_err(|error| failed(&error))?;
    for (name, text) in &pages {
        files::write(&directory.join(name), text.as_bytes(), 0o644).map_err(|error| failed(&error))?;
    }
    Ok(Report { changed: true, ..Report::new(Data::Text(String::new())) })
}

/// Returns all pages with their file names, the main one first.
fn pages() -> Result<Vec<(String, String)>> {
    // What the main page says in chapters of its own, and `help`, which has no page, are not for the manual.
    let mut command = cli::tree().disable_help_subcommand(true).after_help(Resettable::Reset);
    command.build();
    let mut out = Vec::new();
    collect(&command, "pgbaton", &mut out).map_err(|error| {
        Error::from_cause(Exit::Internal, "could not generate the manual pages", &error.into())
    })?;
    Ok(out)
}

fn collect(command: &clap::Command, name: &str, out: &mut Vec<(String, String)>) -> std::io::Result<()> {
    let renamed = command.clone().name(name.to_string()).display_name(name.to_string());
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(renamed).manual("pgbaton");
    man.render(&mut page)?;
    let mut text = String::from_utf8_lossy(&page).into_owned();
    if out.is_empty() {
        text.push_str(&reference());
    }
    out.push((format!("{name}.1"), text));
    for sub in command.get_subcommands() {
        collect(sub, &format!("{name}-{}", sub.get_name()), out)?;
    }
    Ok(())
}

/// Returns the chapters of the main page that no option belongs to; the tables come from where the codes are defined.
fn reference() -> String {
    let exits: Vec<String> =
        Exit::ALL.iter().map(|exit| format!("{:<5} {}", exit.code(), exit.meaning())).collect();
    let codes: Vec<String> = ISSUE_CODES.iter().map(|(code, what)| format!("{code:<29} {what}")).collect();
    let checks: Vec<String> =
        CheckName::ALL.iter().map(|name| format!("{:<21} {}", name.as_str(), name.meaning())).collect();
    include_str!("reference.roff")
        .replace("@EXIT_CODES@", &exits.join("\n"))
        .replace("@ISSUE_CODES@", &codes.join("\n"))
        .replace("@CHECKS@", &checks.join("\n"))
}
