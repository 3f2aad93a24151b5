//! A repmgrd that would fail over in the same cluster: two that do so work against each other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::config::Config;
use crate::context::Context;
use crate::error::Error;
use crate::facts::repmgr::{Daemon, query_repmgr};
use crate::observe::under_locks::open;
use crate::registry::NodeRow;
use crate::system::files;

/// How long a server may take to say whether a repmgrd runs there. What is not known by then is looked for again while this daemon runs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns on which nodes a repmgrd runs that is not paused, as words of a sentence: `node "node1"`.
///
/// By its servers, where the extension is; on this host also by its process, because the server may be down.
pub async fn running(context: &Context, config: &Config, rows: &[NodeRow]) -> Vec<String> {
    let asked = join_all(rows.iter().map(async |row| {
        let daemon = async { query_repmgr(&open(context, row).await.ok()?).await.ok() };
        timeout(PATIENCE, daemon).await.ok().flatten().map(|repmgr| repmgr.daemon)
    }))
    .await;
    let mut found = Vec::new();
    for (row, daemon) in rows.iter().zip(asked) {
        let runs = match daemon {
            Some(daemon) => daemon == Daemon::Running,
            // Its server says nothing: a process may.
            None => row.node_id == config.node_id && local_process(config, row).is_some(),
        };
        if runs {
            found.push(format!("node \"{}\"", row.node_name));
        }
    }
    found
}

/// Returns the error of a start while they run.
pub fn refusal(found: &[String]) -> Error {
    Error::failed(text(found)).detail(format!("{DETAIL} The daemon was not started.")).hint(HINT)
}

/// Says it, as the primary text of a message.
pub fn text(found: &[String]) -> String {
    format!("a repmgrd that is not paused runs on {}", found.join(", "))
}

/// What it means.
pub const DETAIL: &str =
    "It would promote a standby by itself, without a lease, and both would change the roles of the nodes.";

/// What to type next.
pub const HINT: &str = "Stop repmgrd on all nodes: \"repmgr daemon stop\", and disable its service; or pause it for now: \"repmgr service \
     pause\". To go on with repmgrd, set failover = \"manual\".";

/// Returns the process of the repmgrd of this node on this host: by its file, or by the configuration file that it was started with.
fn local_process(config: &Config, row: &NodeRow) -> Option<u32> {
    let by_file = config.repmgrd_pid_file.as_ref().and_then(|file| {
        let pid: u32 = files::text(file).ok()?.trim().parse().ok()?;
        words_of(pid).is_some().then_some(pid)
    });
    by_file.or_else(|| {
        process_ids().find(|pid| {
            words_of(*pid)
                .is_some_and(|words| is_of_node(&words, &[Path::new(&row.config_file), config.file()]))
        })
    })
}

fn process_ids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the words of the command line of a process, if it is a repmgrd.
fn words_of(pid: u32) -> Option<Vec<String>> {
    let bytes = files::bytes(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> =
        bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    (program == "repmgrd").then_some(words)
}

/// Says whether these words name one of these configuration files. One that was started without a file has found it by itself, and counts.
fn is_of_node(words: &[String], files: &[&Path]) -> bool {
    let mut named = None;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let value = match word {
            "-f" | "--config-file" => words.next(),
            _ => word.strip_prefix("--config-file=").or_else(|| word.strip_prefix("-f")),
        };
        named = value.map(PathBuf::from).or(named);
    }
    named.is_none_or(|named| files.contains(&named.as_path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_the_node_whose_file_it_names() {
        let own = [Path::new("/etc/repmgr.conf"), Path::new("/etc/pgbaton/node1.toml")];
        for (line, is) in [
            ("repmgrd -f /etc/repmgr.conf --daemonize", true),
            ("/usr/bin/repmgrd --config-file=/etc/repmgr.conf", true),
            ("repmgrd --config-file /etc/other.conf", false),
            ("repmgrd -f/etc/other.conf -d", false),
            ("repmgrd -d", true),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_string).collect();
            assert_eq!(is_of_node(&words, &own), is, "{line}");
        }
    }

    #[test]
    fn the_refusal_names_the_nodes() {
        let error = refusal(&["node \"node1\"".to_string(), "node \"node3\"".to_string()]);
        assert_eq!(error.exit, crate::Exit::Failed);
        assert_eq!(error.text.message, "a repmgrd that is not paused runs on node \"node1\", node \"node3\"");
        assert!(error.text.hint.unwrap().contains("repmgr daemon stop"));
    }
}
