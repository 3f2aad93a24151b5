//! `pgbaton-fencer DATA_DIRECTORY RUNTIME_DIRECTORY`: holds the deadline of the server's lease, and stops the server when it has passed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use pgbaton_fencer::process::prepare;
use pgbaton_fencer::run::Fencer;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(data), Some(runtime), None) = (words.next(), words.next(), words.next()) else {
        say("usage: pgbaton-fencer DATA_DIRECTORY RUNTIME_DIRECTORY");
        return ExitCode::from(2);
    };
    let lacks = prepare();
    for missing in lacks.words() {
        say(&format!("WARNING: the fencer could not get {missing}"));
    }
    match Fencer::start(&data, &runtime, lacks).and_then(|mut fencer| fencer.serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ERROR: the fencer of \"{}\" cannot run: {error}", data.display()));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
