//! The `pgbaton` program: parse, dispatch, print, exit.

use std::ffi::OsString;
use std::process::ExitCode;

use pgbaton::start;
use pgbaton::system::environment::Environment;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(start::main(words, Environment::of_process()))
}
