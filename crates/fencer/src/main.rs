//! `pgbaton-fencer [--wait] DATA_DIRECTORY RUNTIME_DIRECTORY`: holds the deadline of the server's lease, and stops the server when it has passed.
//!
//! With `--wait`, as a unit of systemd has it, it takes the place of a fencer that already works there as soon as that has ended.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use pgbaton_fencer::process::prepare;
use pgbaton_fencer::run::Fencer;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from).peekable();
    let waits = words.next_if(|word| word.as_os_str() == "--wait").is_some();
    let (Some(data), Some(runtime), None) = (words.next(), words.next(), words.next()) else {
        say("usage: pgbaton-fencer [--wait] DATA_DIRECTORY RUNTIME_DIRECTORY");
        return ExitCode::from(2);
    };
    let lacks = prepare();
    for missing in lacks.words() {
        say(&format!("WARNING: the fencer could not get {missing}"));
    }
    match Fencer::start(&data, &runtime, lacks, waits).and_then(|mut fencer| fencer.serve()) {
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
