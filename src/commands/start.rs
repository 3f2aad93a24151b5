//! From the words of the command line to an exit code.

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Color, Format};
use crate::commands::context::Context;
use crate::commands::dispatch;
use crate::error::{Error, Exit};
use crate::output::ui::{Level, Ui};
use crate::output::{self, Style, render, render_error};
use crate::system::environment::Environment;

/// Runs the program and returns its exit code.
pub fn main(words: Vec<OsString>, environment: Environment) -> u8 {
    let wants_json = asks_for_json(&words);
    let (cli, command) = match parse(words.clone()) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, wants_json, &words),
    };
    let style = Style {
        format: match cli.global.format() {
            Format::Table => output::Format::Table,
            Format::Json => output::Format::Json,
            Format::Csv => output::Format::Csv,
        },
        compact: cli.global.compact,
        verbose: cli.global.verbose > 0,
    };
    let ui = match ui(&cli, &environment) {
        Ok(ui) => ui,
        Err(error) => return fail(&Ui::new(Level::Info, false, false), &command, &error, style),
    };
    let context = Context::new(cli.global.clone(), command, redacted(&words), environment, ui, style);
    let run = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::from_cause(Exit::Internal, "could not start", &error.into()))?;
        let result = runtime.block_on(dispatch(&context, &cli.noun));
        // A resolver that hangs must not keep the program from ending.
        runtime.shutdown_background();
        result
    }));
    let result = run.unwrap_or_else(|_| {
        Err(Error::new(Exit::Internal, "pgbaton has a defect and stopped")
            .hint("Please report it with the command and the messages above. \"pgbaton operation list\" shows what it had begun."))
    });
    let rendered = result.and_then(|report| Ok((render(&context.command, &report, style)?, report)));
    match rendered {
        Ok((text, report)) => {
            context.ui.answer(&text);
            if style.format == output::Format::Table {
                // In the other formats they are part of the answer, or a script reads only the answer.
                for issue in &report.issues {
                    if !issue.code.starts_with("check_") {
                        context.ui.issue(issue);
                    }
                }
                if let output::Data::Cluster(cluster) = &report.data {
                    context.ui.verdict(cluster);
                }
            }
            report.exit.code()
        }
        Err(error) => fail(&context.ui, &context.command, &error, style),
    }
}

fn fail(ui: &Ui, command: &str, error: &Error, style: Style) -> u8 {
    ui.error(error);
    if style.format == output::Format::Json {
        ui.answer(&render_error(command, error));
    }
    error.exit.code()
}

/// Parses the words; nouns and verbs in any case, as repmgr takes them.
fn parse(mut words: Vec<OsString>) -> Result<(Cli, String), clap::Error> {
    loop {
        let matches = match Cli::command().try_get_matches_from(&words) {
            Ok(matches) => matches,
            Err(error) => match lower_case(&error, &mut words) {
                true => continue,
                false => return Err(error),
            },
        };
        let mut names = Vec::new();
        let mut at = &matches;
        while let Some((name, below)) = at.subcommand() {
            names.push(name.to_string());
            at = below;
        }
        return Ok((Cli::from_arg_matches(&matches)?, names.join(" ")));
    }
}

/// Writes the word that clap does not know as a command in lower case; returns whether that changed anything.
fn lower_case(error: &clap::Error, words: &mut [OsString]) -> bool {
    let (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) =
        (error.kind(), error.get(ContextKind::InvalidSubcommand))
    else {
        return false;
    };
    let lower = word.to_lowercase();
    match words.iter_mut().find(|candidate| candidate.to_str() == Some(word.as_str())) {
        Some(found) if lower != *word => {
            *found = OsString::from(lower);
            true
        }
        _ => false,
    }
}

/// Prints help, version, or what is wrong with the command line.
fn usage(error: &clap::Error, json: bool, words: &[OsString]) -> u8 {
    let ui = Ui::new(Level::Info, false, false);
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        ui.answer(&text);
        return Exit::Done.code();
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !json {
        ui.answer(&text);
        return Exit::Failed.code();
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let primary = lines.next().unwrap_or("usage error").trim_start_matches("error: ").to_string();
    let rest: Vec<&str> = lines.filter(|line| !line.starts_with("For more information")).collect();
    let mut out = Error::failed(primary);
    if !rest.is_empty() {
        out = out.detail(rest.join("\n"));
    }
    out = out.hint("Run \"pgbaton --help\", or the command with \"--help\".");
    let command: Vec<String> = words
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .take_while(|word| !word.starts_with('-'))
        .take(2)
        .map(str::to_string)
        .collect();
    let style =
        Style { format: if json { output::Format::Json } else { output::Format::Table }, ..Style::default() };
    fail(&ui, &command.join(" "), &out, style)
}

/// Says whether JSON was asked for, of a command line that cannot be parsed.
fn asks_for_json(words: &[OsString]) -> bool {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    words.iter().any(|word| *word == "--json" || *word == "--format=json")
        || words.windows(2).any(|pair| pair == ["--format", "json"])
}

fn ui(cli: &Cli, environment: &Environment) -> Result<Ui, Error> {
    let global = &cli.global;
    let mut level = match &global.log_level {
        Some(name) => Level::parse(name).ok_or_else(|| {
            Error::failed(format!("invalid value \"{name}\" for --log-level"))
                .detail("It is one of DEBUG, INFO, NOTICE, WARNING, ERROR.")
        })?,
        None if global.verbose > 0 => Level::Debug,
        None => Level::Info,
    };
    if global.quiet {
        level = Level::Error;
    }
    // A dry run is there to be read.
    if global.dry_run && !global.quiet {
        level = level.min(Level::Info);
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let colour = match global.color.unwrap_or_default() {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && environment.non_empty("NO_COLOR").is_none(),
    };
    Ok(Ui::new(level, global.terse, colour))
}

/// Returns the words of the command line with passwords taken out, for the journal.
fn redacted(words: &[OsString]) -> Vec<String> {
    use crate::pg::conninfo::Conninfo;
    words
        .iter()
        .map(|word| {
            let word = word.to_string_lossy();
            let (option, value) = match word.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (format!("{option}="), value),
                _ => (String::new(), &*word),
            };
            if !value.contains("password") && !value.contains("://") {
                return word.into_owned();
            }
            match Conninfo::from_dbname(value) {
                Ok(parsed) if !parsed.is_empty() => format!("{option}{}", parsed.redacted()),
                _ => format!("{option}********"),
            }
        })
        .collect()
}
