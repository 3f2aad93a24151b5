//! The log of the local server around its start: where it stands, and which of its lines say why a start failed.

use std::path::{Path, PathBuf};

use crate::plan::service::ServiceFacts;
use crate::system::files;

/// Where the server writes, and how much stood there before.
pub fn lengths(facts: &ServiceFacts) -> Vec<(PathBuf, u64)> {
    let mut paths = vec![facts.log.path.clone()];
    // What the logging collector writes to: lines of a format and a path.
    let current = files::text(facts.data_directory.join("current_logfiles")).unwrap_or_default();
    let readable = current.lines().find_map(|line| line.strip_prefix("stderr "));
    paths.extend(readable.map(|path| facts.data_directory.join(path)));
    let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    paths.into_iter().map(|path| (path.clone(), length(&path))).collect()
}

/// Whether the postmaster says of itself that it is shutting down.
pub fn is_stopping(data: &Path) -> bool {
    let text = files::text(data.join("postmaster.pid")).unwrap_or_default();
    text.lines().nth(7).is_some_and(|status| status.trim() == "stopping")
}

/// Returns the last line of a log that says why the server gave up, with the lines before it that belong to it.
pub fn reasons(log: &str) -> Vec<&str> {
    const ROUTINE: [&str; 6] = [
        // A session that the stop before has ended.
        "FATAL:  terminating ",
        "starting PostgreSQL",
        "listening on",
        "database system",
        "redirecting log output",
        "Future log output",
    ];
    // What pg_ctl says while it waits stands before the first line of the server.
    let server = |line: &str| {
        let by_pg_ctl = ["waiting for server to shut down", "server stopped", " stopped waiting"];
        !line.is_empty() && !by_pg_ctl.iter().any(|said| line.starts_with(said))
    };
    let lines: Vec<&str> = log
        .lines()
        .map(|line| match line.strip_prefix("waiting for server to start") {
            Some(rest) => rest.trim_start_matches('.'),
            None => line,
        })
        .filter(|line| server(line))
        .collect();
    let wanted = |line: &&&str| !ROUTINE.iter().any(|routine| line.contains(routine));
    let is_fatal = |line: &&str| (line.contains("FATAL:") || line.contains("PANIC:")) && wanted(&line);
    let Some(last) = lines.iter().rposition(is_fatal) else { return Vec::new() };
    let upto = lines.get(..=last).unwrap_or_default();
    let mut out: Vec<&str> = upto.iter().rev().filter(wanted).take(4).copied().collect();
    out.reverse();
    // Its own DETAIL and HINT follow it.
    out.extend(
        lines
            .get(last + 1..)
            .unwrap_or_default()
            .iter()
            .take_while(|line| line.contains("DETAIL:") || line.contains("HINT:") || line.starts_with('\t')),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::reasons;

    #[test]
    fn the_reason_of_a_failed_start_is_found_between_routine_lines() {
        let log = "t [1] LOG:  starting PostgreSQL 15\nt [1] LOG:  could not bind IPv4 address\n\
                   t [1] HINT:  Is another postmaster already running?\nt [1] FATAL:  could not create sockets\n\
                   t [1] DETAIL:  more\nt [1] LOG:  database system is shut down\n";
        assert_eq!(
            reasons(log),
            [
                "t [1] LOG:  could not bind IPv4 address",
                "t [1] HINT:  Is another postmaster already running?",
                "t [1] FATAL:  could not create sockets",
                "t [1] DETAIL:  more"
            ]
        );
        assert!(reasons("t [1] LOG:  starting PostgreSQL 15\n").is_empty());
        let restart = "waiting for server to shut down.... done\nserver stopped\nt [1] FATAL:  no\n";
        assert_eq!(reasons(restart), ["t [1] FATAL:  no"]);
        let ended = "t [1] FATAL:  terminating connection due to administrator command\n";
        assert!(reasons(ended).is_empty());
    }
}
