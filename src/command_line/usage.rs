//! Command lines that cannot be parsed: which command was meant, and what is wrong, in PostgreSQL's words.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::cli;
use crate::command_line::getopt;
use crate::error::{Error, Exit, sentence};
use crate::facts::check_name::CheckName;
use crate::verb::{Errors, Verb};

/// Commands of repmgr that nothing here corresponds to, and why.
const NO_COMMAND: &[(&str, &str)] = &[("node control", "repmgr has it for its own tests only.")];

/// Options of repmgr that nothing here corresponds to, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("--check-upstream-config", "repmgr has dropped it; use --dry-run, which makes all checks."),
    ("--remote-config-file", "repmgr has dropped it; the configuration file of a node is in its record."),
    ("-C", "repmgr has dropped it; the configuration file of a node is in its record."),
    ("--dump-config", "Use \"pgbaton config show\"."),
    ("--version-number", "Use --version."),
    ("--detail", "Use --format json, which has everything."),
    ("--remote-user", "Set ssh_options = \"-l NAME\" in the configuration."),
    ("-R", "Set ssh_options = \"-l NAME\" in the configuration."),
    ("--nagios", "Only \"node check\" and \"cluster check\" have that output."),
    ("--optformat", "Only \"node check\" has that output."),
];

/// Options of `node check` that ask for a single answer, besides those of the checks.
const OF_CHECK: [&str; 4] =
    ["--nagios", "--optformat", "--replication-connection", "--replication-config-owner"];

/// Writes the words that name the command in lower case, because repmgr takes them in any case, and returns the command
/// as far as it is known: `cluster show`, or `cluster`, or nothing. `help cluster show` becomes `cluster show --help`.
///
/// The tree is taken as it is written down. Building all of it, with the options of every command in each of them, takes longer than
/// everything else that happens before the first server is asked.
pub fn name_of(tree: &Command, words: &mut Vec<OsString>) -> String {
    let mut at = tree;
    let mut names = Vec::new();
    let mut help = None;
    let mut rest = words.iter_mut().enumerate().skip(1);
    while let Some((place, word)) = rest.next() {
        let Some(text) = word.to_str().map(str::to_string) else { continue };
        if text == "--" {
            break;
        } else if text.starts_with('-') {
            if value_follows(&[tree, at], &text) {
                rest.next();
            }
        } else {
            let lower = text.to_lowercase();
            if lower == "help" && at.has_subcommands() && help.is_none() {
                help = Some(place);
                continue;
            }
            let Some(sub) = at.find_subcommand(&lower) else { break };
            if lower != text {
                *word = OsString::from(lower);
            }
            names.push(sub.get_name());
            at = sub;
        }
    }
    if let Some(place) = help {
        words.remove(place);
        words.push("--help".into());
    }
    names.join(" ")
}

/// Returns whether the word after this one is the value of an option that one of these commands has.
fn value_follows(commands: &[&Command], word: &str) -> bool {
    let needs = |arg: &Arg| {
        arg.get_action().takes_values() && arg.get_num_args().is_none_or(|range| range.min_values() > 0)
    };
    let arguments = || commands.iter().flat_map(|command| command.get_arguments());
    if let Some(long) = word.strip_prefix("--") {
        return arguments().any(|arg| {
            let names = arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
            needs(arg) && names.into_iter().any(|name| name == long)
        });
    }
    // Of several letters, the first that takes a value takes the rest of the word, if there is any.
    let letters: Vec<char> = word.chars().skip(1).collect();
    let first = letters
        .iter()
        .position(|letter| arguments().any(|arg| arg.get_short() == Some(*letter) && needs(arg)));
    first.is_some_and(|at| at + 1 == letters.len())
}

/// Returns the words of a command for the host of the node that it is about, where that node is the local one: without the options that
/// say which node is meant and where things are on this host.
pub fn for_another_node(command: &str, words: &[String]) -> Vec<String> {
    const LONG: [&str; 6] =
        ["--node-id", "--node-name", "--config-file", "--pgdata", "--pg_bindir", "--pg-bindir"];
    const SHORT: [char; 3] = ['f', 'D', 'b'];
    let tree = cli::tree();
    let at = command.split_whitespace().try_fold(&tree, |at, word| at.find_subcommand(word)).unwrap_or(&tree);
    let mut out = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if LONG.contains(&word.as_str()) {
            words.next();
            continue;
        }
        if word.split_once('=').is_some_and(|(name, _)| LONG.contains(&name)) {
            continue;
        }
        let letters = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        // The first letter that takes a value takes the rest of the word.
        let valued = letters.and_then(|letters| {
            letters.char_indices().find(|(_, letter)| value_follows(&[&tree, at], &format!("-{letter}")))
        });
        match valued {
            Some((place, letter)) if SHORT.contains(&letter) => {
                if value_follows(&[&tree, at], word) {
                    words.next();
                }
                if place > 0 {
                    out.push(word.get(..=place).unwrap_or_default().to_string());
                }
            }
            _ => {
                out.push(word.clone());
                if word.starts_with('-') && value_follows(&[&tree, at], word) {
                    out.extend(words.next().cloned());
                }
            }
        }
    }
    out
}

/// Returns the exit code that an error has in a command, of a command line that may be wrong: one that answers by its exit code has none for
/// failures but "cannot be determined". `command` is what [`name_of`] returned.
pub fn exit_code_of(command: &str, words: &[OsString], exit: Exit) -> Exit {
    let asks = |word: &OsString| {
        let word = word.to_str().unwrap_or_default();
        let option = word.split_once('=').map_or(word, |(option, _)| option);
        CheckName::of_option(option).is_some() || OF_CHECK.contains(&option)
    };
    let cannot_tell = match Verb::parse(command).map(|verb| verb.traits().errors) {
        None | Some(Errors::Own) => false,
        Some(Errors::CannotTell) => true,
        Some(Errors::CannotTellIfAsked) => words.iter().any(asks),
        Some(Errors::CannotTellUnlessSecondPrimary) => exit != Exit::SecondPrimary,
    };
    if cannot_tell { Exit::CannotTell } else { exit }
}

/// Returns how the line for Nagios begins, if one was asked for, of a command line that may be wrong. `command` is what [`name_of`] returned.
pub fn nagios_label(command: &str, words: &[OsString]) -> Option<&'static str> {
    let words: Vec<&str> =
        words.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--").collect();
    if !words.contains(&"--nagios") {
        return None;
    }
    let option = |word: &&str| CheckName::of_option(word.split_once('=').map_or(*word, |(option, _)| option));
    let mut named = words.iter().filter_map(option);
    let verb = Verb::parse(command)?;
    match (verb, named.next(), named.next()) {
        (Verb::NodeCheck, Some(only), None) => Some(only.nagios()),
        _ => verb.traits().nagios,
    }
}

/// Says whether JSON was asked for, of a command line that may be wrong.
pub fn asks_for_json(words: &[OsString]) -> bool {
    let words: Vec<String> =
        words.iter().filter_map(|word| word.to_str()).map(str::to_ascii_lowercase).collect();
    words.iter().any(|word| word == "--json" || word == "--format=json")
        || words.windows(2).any(|pair| pair == ["--format", "json"])
}

/// What the parser says of a command line.
struct Complaint<'a> {
    error: &'a clap::Error,
    /// The command, as far as it is known.
    command: &'a str,
    words: &'a [OsString],
    /// The argument that it is about; empty if it is about none.
    argument: String,
}

/// What is wrong, and the words that may have been meant.
struct Explanation {
    error: Error,
    suggested: Vec<String>,
}

impl From<Error> for Explanation {
    fn from(error: Error) -> Self {
        Self { error, suggested: Vec::new() }
    }
}

/// Says what is wrong. `command` is what [`name_of`] returned.
pub fn explain(error: &clap::Error, command: &str, words: &[OsString]) -> Error {
    let mut complaint = Complaint { error, command, words, argument: String::new() };
    complaint.argument = complaint.text(ContextKind::InvalidArg).unwrap_or_default();
    let Explanation { error: out, suggested } = complaint.explanation();
    let out = match complaint.role_apart() {
        Some(role) => out.hint(format!("Did you mean \"--role={role}\"?")),
        None => out,
    };
    let suggested: Vec<String> = suggested.iter().map(|name| format!("\"{}\"", plain(name))).collect();
    let out = match suggested.is_empty() {
        true => out,
        false => out.hint(format!("Did you mean {}?", suggested.join(" or "))),
    };
    match command {
        "" => out.hint("Try \"pgbaton --help\"."),
        _ => out.hint(format!("Try \"pgbaton {command} --help\".")),
    }
}

impl Complaint<'_> {
    fn text(&self, kind: ContextKind) -> Option<String> {
        match self.error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(texts)) => texts.first().cloned(),
            _ => None,
        }
    }

    fn list(&self, kind: ContextKind) -> Vec<String> {
        match self.error.get(kind) {
            Some(ContextValue::Strings(texts)) => texts.clone(),
            Some(ContextValue::String(text)) => vec![text.clone()],
            _ => Vec::new(),
        }
    }

    fn explanation(&self) -> Explanation {
        let what = described(&self.argument);
        match self.error.kind() {
            ErrorKind::UnknownArgument => self.unknown_argument(),
            ErrorKind::InvalidSubcommand => self.unknown_command(),
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => self.invalid_value(&what),
            ErrorKind::TooManyValues => Error::failed(format!("{what} takes no value")).into(),
            ErrorKind::NoEquals | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
                Error::failed(format!("{what} needs a value")).into()
            }
            ErrorKind::ArgumentConflict => match self.list(ContextKind::PriorArg).as_slice() {
                [] => Error::failed(format!("{what} cannot be used here")).into(),
                others => {
                    let others: Vec<String> =
                        others.iter().map(|other| format!("\"{}\"", plain(other))).collect();
                    Error::failed(format!("{what} cannot be used with {}", others.join(", "))).into()
                }
            },
            ErrorKind::MissingRequiredArgument => {
                let missing: Vec<String> =
                    self.list(ContextKind::InvalidArg).iter().map(|name| described(name)).collect();
                Error::failed(format!("{} is missing", missing.join(", "))).into()
            }
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let out = match self.command {
                    "" => Error::failed("no command was given"),
                    command => Error::failed(format!("\"pgbaton {command}\" needs one more word")),
                };
                listed(out, &verbs(self.command)).into()
            }
            ErrorKind::InvalidUtf8 => {
                let bad = self.words.iter().find(|word| word.to_str().is_none());
                let bad = bad.map(|word| word.to_string_lossy()).unwrap_or_default();
                Error::failed("an argument is not valid UTF-8").detail(format!("It is \"{bad}\".")).into()
            }
            _ => {
                let text = self.error.render().to_string();
                let line = text.lines().next().unwrap_or_default();
                Error::failed(line.trim_start_matches("error: ")).into()
            }
        }
    }

    fn unknown_argument(&self) -> Explanation {
        let option = plain(&self.argument);
        let out = match option.starts_with('-') {
            true => Error::failed(format!("unrecognized option \"{option}\"")),
            false => Error::failed(format!("unexpected argument \"{option}\"")),
        };
        if let Some((_, why)) = NOT_HERE.iter().find(|(name, _)| *name == option) {
            return out.detail(*why).into();
        }
        match commands_with_option(option) {
            Some(commands) => out
                .detail(format!("It belongs to {commands}; here repmgr ignores it, with a warning."))
                .into(),
            None => Explanation { error: out, suggested: self.list(ContextKind::SuggestedArg) },
        }
    }

    fn unknown_command(&self) -> Explanation {
        let word = self.text(ContextKind::InvalidSubcommand).unwrap_or_default();
        let full = format!("{} {word}", self.command).trim().to_string();
        let out = Error::failed(format!("unrecognized command \"{full}\""));
        let lower = full.to_lowercase();
        match NO_COMMAND.iter().find(|(name, _)| *name == lower) {
            Some((_, why)) => out.detail(*why).into(),
            None => Explanation { error: out, suggested: self.list(ContextKind::SuggestedSubcommand) },
        }
    }

    fn invalid_value(&self, what: &str) -> Explanation {
        let value = self.text(ContextKind::InvalidValue).unwrap_or_default();
        let allowed = self.list(ContextKind::ValidValue);
        let invalid = Error::failed(format!("invalid value \"{value}\" for {what}"));
        if self.error.kind() == ErrorKind::InvalidValue {
            return match value.is_empty() {
                true => listed(Error::failed(format!("{what} needs a value")), &allowed).into(),
                false => Explanation {
                    error: listed(invalid, &allowed),
                    suggested: self.list(ContextKind::SuggestedValue),
                },
            };
        }
        match std::error::Error::source(self.error) {
            Some(cause) => match cause.to_string().as_str() {
                "invalid digit found in string" if plain(&self.argument) == "--node-id" => invalid
                    .detail("It is a number.")
                    .hint("To name the node by its name, use --node-name.")
                    .into(),
                "invalid digit found in string" if plain(&self.argument).ends_with("-node-id") => invalid
                    .detail("It is a number.")
                    .hint("\"pgbaton cluster show\" lists the IDs of the nodes.")
                    .into(),
                "invalid digit found in string" | "invalid float literal" => {
                    invalid.detail("It is a number.").into()
                }
                other => invalid.detail(sentence(other)).into(),
            },
            None => invalid.into(),
        }
    }

    /// Returns the role that was not joined to its option, which has a meaning without one, too.
    fn role_apart(&self) -> Option<&str> {
        let role = plain(&self.argument);
        let apart = self
            .words
            .windows(2)
            .any(|pair| matches!(pair, [option, value] if option == "--role" && value == role));
        (apart && self.error.kind() == ErrorKind::UnknownArgument).then_some(role)
    }
}

/// Returns the commands that have this option of repmgr's: `"standby clone"`.
fn commands_with_option(option: &str) -> Option<String> {
    if !getopt::is_of_repmgr(option) {
        return None;
    }
    let tree = cli::tree();
    let verbs = tree.get_subcommands().flat_map(|noun| noun.get_subcommands().map(move |verb| (noun, verb)));
    let names: Vec<String> = verbs
        .filter(|(_, verb)| getopt::has(verb, option))
        .map(|(noun, verb)| format!("\"{} {}\"", noun.get_name(), verb.get_name()))
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn listed(error: Error, allowed: &[String]) -> Error {
    match allowed {
        [] => error,
        _ => error.detail(format!("It is one of {}.", allowed.join(", "))),
    }
}

/// Takes the placeholder of its value off an option's name: `--format <FORMAT>`, `-f <PATH>`.
fn plain(argument: &str) -> &str {
    let end = argument.find([' ', '[', '=']).unwrap_or(argument.len());
    argument.get(..end).unwrap_or(argument)
}

fn described(argument: &str) -> String {
    let name = plain(argument);
    match name.starts_with('-') {
        true => format!("option \"{name}\""),
        false => format!("argument {}", name.trim_matches(['<', '>'])),
    }
}

/// Returns the words that may follow.
fn verbs(command: &str) -> Vec<String> {
    let tree = cli::tree();
    let found = command.split_whitespace().try_fold(&tree, |at, word| at.find_subcommand(word));
    found
        .into_iter()
        .flat_map(Command::get_subcommands)
        .map(|sub| sub.get_name().to_string())
        .filter(|name| name != "help")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn only_the_command_changes_its_case() {
        let mut given =
            words("pgbaton -d PRIMARY -vf NODE --host=STANDBY MASTER --node-name X Register Extra");
        assert_eq!(name_of(&cli::tree(), &mut given), "primary register");
        assert_eq!(
            given,
            words("pgbaton -d PRIMARY -vf NODE --host=STANDBY master --node-name X register Extra")
        );
    }

    #[test]
    fn the_line_for_nagios_is_that_of_what_was_asked() {
        let label = |command: &str, text: &str| nagios_label(command, &words(text));
        assert_eq!(label("cluster check", "pgbaton cluster check --nagios"), Some("PGBATON_CLUSTER"));
        assert_eq!(label("node check", "pgbaton node check --nagios --bogus"), Some("PGBATON_NODE"));
        assert_eq!(label("node check", "pgbaton node check --timeline --nagios"), Some("PGBATON_TIMELINE"));
        assert_eq!(
            label("node check", "pgbaton node check --role=primary --nagios"),
            Some("REPMGR_SERVER_ROLE")
        );
        assert_eq!(label("node check", "pgbaton node check --role=primary"), None);
        assert_eq!(label("cluster show", "pgbaton cluster show --nagios"), None);
    }

    #[test]
    fn a_name_in_place_of_an_id_is_answered_with_the_option_for_names() {
        let hint = |text: &str, command: &str| {
            let error = cli::tree().try_get_matches_from(words(text)).unwrap_err();
            explain(&error, command, &words(text)).text.hint.unwrap()
        };
        let node = hint("pgbaton node restart --node-id node2", "node restart");
        assert!(node.starts_with("To name the node by its name, use --node-name."), "{node}");
        let upstream = hint("pgbaton standby follow --upstream-node-id=node2", "standby follow");
        assert!(upstream.contains("lists the IDs of the nodes"), "{upstream}");
        assert!(!hint("pgbaton node restart --timeout x", "node restart").contains("ID"));
    }

    #[test]
    fn a_role_that_stands_apart_is_joined() {
        let given = words("pgbaton node check --role primary");
        let error = cli::tree().try_get_matches_from(&given).unwrap_err();
        let explained = explain(&error, "node check", &given);
        assert!(
            explained.hint.as_deref().unwrap().starts_with("Did you mean \"--role=primary\"?"),
            "{explained:?}"
        );
    }

    #[test]
    fn a_command_is_known_as_far_as_it_goes() {
        let name = |text: &str| name_of(&cli::tree(), &mut words(text));
        assert_eq!(name("pgbaton"), "");
        assert_eq!(name("pgbaton --json CLUSTER"), "cluster");
        assert_eq!(name("pgbaton cluster events --bogus"), "cluster event");
        assert_eq!(name("pgbaton -fx --user cluster node -Dnode status"), "node status");
        assert_eq!(name("pgbaton cluster show --watch 2"), "cluster show");
        assert_eq!(name("pgbaton -- cluster show"), "");
        let mut help = words("pgbaton help Node status --json");
        assert_eq!(name_of(&cli::tree(), &mut help), "node status");
        assert_eq!(help, words("pgbaton node status --json --help"));
    }

    #[test]
    fn what_says_which_node_is_left_out_over_there() {
        let handed = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_string).collect();
            for_another_node("standby register", &words).join(" ")
        };
        let said = "-f x standby register --node-id 3 --json -vfx -vf x --node-name=a -Dx -D x --pgdata x -v";
        assert_eq!(handed(said), "standby register --json -v -v -v");
        let said = "--upstream-node-id 3 standby register -L debug -F -h -f --timeout=3 -hD -yF";
        assert_eq!(handed(said), said);
    }

    #[test]
    fn monitoring_hears_of_every_error_as_unknown() {
        let judge =
            |command: &str, text: &str| exit_code_of(command, &words(text), Exit::Failed) == Exit::CannotTell;
        assert!(judge("cluster check", "pgbaton cluster check --bogus"));
        assert!(judge("node check", "pgbaton node check --role=primary --bogus"));
        assert!(judge("node check", "pgbaton node check --nagios"));
        assert!(!judge("node check", "pgbaton node check --bogus"));
        assert!(!judge("node status", "pgbaton node status --nagios"));
        // Every check has an option, and none is forgotten.
        for name in CheckName::ALL {
            let given = format!("pgbaton node check {}", name.option());
            assert!(cli::tree().try_get_matches_from(given.split(' ')).is_ok(), "{given}");
        }
    }
}
