//! From the words of the command line to an exit code.

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;

use crate::cli::{self, Cli, Color, FAR_END, Format};
use crate::command_line::{getopt, usage};
use crate::commands::{self, dispatch};
use crate::context::Context;
use crate::error::{Error, Exit};
use crate::output::{self, Data, Report, Style, check, render, render_error};
use crate::system::environment::Environment;
use crate::system::signals;
use crate::ui::{Level, Ui};

/// Runs the program and returns its exit code.
pub fn main(mut words: Vec<OsString>, environment: Environment) -> u8 {
    let style = Style {
        format: if usage::asks_for_json(&words) { output::Format::Json } else { output::Format::Table },
        ..Style::default()
    };
    let tree = (!is_far_end(&words)).then(cli::tree);
    let command = match &tree {
        Some(tree) => {
            getopt::as_getopt_reads(tree, &mut words);
            usage::name_of(tree, &mut words)
        }
        None => FAR_END.to_string(),
    };
    match guarded(|| Ok(run(tree, &words, &command, environment, style))) {
        Ok(code) => code,
        Err(error) => fail(&Ui::new(Level::Info, false, false), &command, &words, error, style),
    }
}

/// Turns a panic into an error. What the panic says is on standard error already.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(Exit::Internal, "internal error: pgbaton stopped").hint(
            "Please report it with the command and the messages above. \"pgbaton operation list\" shows what it had begun.",
        ))
    })
}

fn run(
    tree: Option<clap::Command>,
    words: &[OsString],
    command: &str,
    environment: Environment,
    style: Style,
) -> u8 {
    let parsed = match tree {
        Some(tree) => tree.try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches)),
        None => cli::far_end(words.get(1..).unwrap_or_default()),
    };
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return no_command(&error, command, words, style),
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
        Err(error) => return fail(&Ui::new(Level::Info, false, false), command, words, error, style),
    };
    let context = Context::new(
        cli.global.clone(),
        cli.noun.verb(),
        redacted(words),
        environment,
        ui,
        style,
        commands::boxed_dispatch,
    );
    if !is_far_end(words) {
        let (command, words) = (command.to_string(), words.to_vec());
        signals::end_while_looking(move |signal| {
            let error = Error::new(signal.exit(), "interrupted").detail("Nothing was changed.");
            fail(&Ui::new(Level::Info, false, false), &command, &words, error, style)
        });
    }
    let result = guarded(|| carry_out(&context, &cli));
    signals::answer();
    let rendered = result.and_then(|mut report| {
        if style.format == output::Format::Json {
            report.issues.splice(0..0, context.take_warnings());
        }
        Ok((render(command, &report, style)?, report))
    });
    match rendered {
        Ok((text, report)) => {
            // If the answer goes to a full disk, an empty file must not be taken for one. What was changed stays changed.
            if let Err(error) = context.ui.answer(&text)
                && !report.changed
                && error.kind() != std::io::ErrorKind::BrokenPipe
            {
                let mut unwritten =
                    Error::from_cause(Exit::Failed, "could not write the answer", &error.into());
                unwritten.exit = usage::exit_code_of(command, words, unwritten.exit);
                context.ui.error(&unwritten);
                return unwritten.exit.code();
            }
            if style.format == output::Format::Table {
                if let Data::Checks(checks) = &report.data {
                    context.ui.findings(checks, &report.issues);
                    return report.exit.code();
                }
                // In the other formats they are part of the answer, or a script reads only the answer.
                for issue in report.issues.iter().filter(|issue| !issue.is_printed_at_once()) {
                    match report.data {
                        Data::ConfigChecked(_) => context.ui.judgement(issue),
                        _ => context.ui.issue(issue),
                    }
                }
                if let Data::Cluster(cluster) = &report.data {
                    context.ui.verdict(cluster);
                }
            }
            report.exit.code()
        }
        Err(mut error) => {
            error.exit = usage::exit_code_of(command, words, error.exit);
            context.ui.error(&error);
            error.issues.splice(0..0, context.take_warnings());
            answer_error(&context.ui, command, words, &error, style)
        }
    }
}

/// Runs the command to its answer.
fn carry_out(context: &Context, cli: &Cli) -> Result<Report, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::from_cause(Exit::Internal, "could not start", &error.into()))?;
    let result = runtime.block_on(dispatch(context, &cli.noun));
    // The end of the process closes all connections: sooner, and the servers' sessions, which have much to clear away, would take the
    // processors from the answer. And a resolver that hangs must not keep the program from ending.
    std::mem::forget(runtime);
    result
}

fn is_far_end(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == FAR_END)
}

fn fail(ui: &Ui, command: &str, words: &[OsString], mut error: Error, style: Style) -> u8 {
    error.exit = usage::exit_code_of(command, words, error.exit);
    ui.error(&error);
    answer_error(ui, command, words, &error, style)
}

fn answer_error(ui: &Ui, command: &str, words: &[OsString], error: &Error, style: Style) -> u8 {
    // The exit code reports a failure, also where the answer is not read.
    let _gone = match usage::nagios_label(command, words) {
        _ if style.format == output::Format::Json => ui.answer(&render_error(command, error)),
        // Of standard error Nagios shows nothing.
        Some(label) => ui.answer(&check::no_answer(label, &error.message)),
        None => Ok(()),
    };
    error.exit.code()
}

/// Prints help, version, or what is wrong with the command line.
fn no_command(error: &clap::Error, command: &str, words: &[OsString], style: Style) -> u8 {
    let ui = Ui::new(Level::Info, false, false);
    let text = error.render().to_string();
    let asked = match error.kind() {
        ErrorKind::DisplayHelp => "help",
        ErrorKind::DisplayVersion => "version",
        _ if words.len() <= 1 => {
            // A user who types only the name is shown what it is, but a script has made a mistake.
            ui.plain(&text);
            return Exit::Failed.code();
        }
        _ => return fail(&ui, command, words, usage::explain(error, command, words), style),
    };
    match render(asked, &Report::new(Data::Text(text)), style) {
        Ok(text) => {
            let _gone = ui.answer(&text);
            Exit::Done.code()
        }
        Err(error) => fail(&ui, asked, words, error, style),
    }
}

fn ui(cli: &Cli, environment: &Environment) -> Result<Ui, Error> {
    let global = &cli.global;
    let mut level = match &global.log_level {
        Some(name) => Level::parse(name).ok_or_else(|| {
            Error::failed(format!("invalid value \"{name}\" for option \"--log-level\""))
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
    let is_level_given = global.log_level.is_some() || global.verbose > 0 || global.quiet;
    Ok(Ui::new(level, global.terse, colour).with_given_level(is_level_given))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_as_one_document() {
        let error = guarded::<()>(|| panic!("this panic is part of a test")).unwrap_err();
        assert_eq!(error.exit, Exit::Internal);
        let text = render_error("cluster show", &error);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["exit_code"], 15);
        assert_eq!(document["ok"], false);
        assert_eq!(document["error"]["message"], "internal error: pgbaton stopped");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn passwords_do_not_stay_in_the_command_line() {
        let words = ["pgbaton", "-d", "host=a password=geheim", "--dbname=postgresql://u:geheim@h/d", "-fx"];
        let shown = redacted(&words.map(OsString::from)).join(" ");
        assert!(!shown.contains("geheim") && shown.contains("host=a") && shown.contains("-fx"), "{shown}");
    }
}
