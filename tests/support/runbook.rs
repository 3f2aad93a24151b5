//! The command lines of `tests/fixtures/repmgr-command-lines.txt`.

use std::path::Path;

use regex::{Captures, Regex};

/// A line of a runbook for repmgr.
pub struct Line {
    /// What it is to be understood as; empty where pgbaton has no such command.
    pub command: String,
    /// The node that it is run on together with repmgr itself, if it changes nothing.
    pub node: Option<String>,
    /// What stands in the message, if it is refused.
    pub refused: Option<String>,
    text: String,
}

/// Reads them all.
pub fn lines() -> Vec<Line> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/repmgr-command-lines.txt");
    let mut section = (String::new(), None);
    let mut lines = Vec::new();
    for text in std::fs::read_to_string(file).unwrap().lines() {
        if let Some(heading) = text.strip_prefix('[') {
            let (command, node) = heading.split_once(']').unwrap();
            section = (command.to_string(), node.strip_prefix(" on ").map(str::to_string));
        } else if text.starts_with("repmgr ") {
            let (text, refused) = match text.split_once("  => ") {
                Some((text, why)) => (text, Some(why.to_string())),
                None => (text, None),
            };
            let (command, node) = section.clone();
            lines.push(Line { command, node, refused, text: text.to_string() });
        } else {
            assert!(text.is_empty() || text.starts_with('#'), "{text}");
        }
    }
    lines
}

impl Line {
    /// Returns its words as a shell reads them, without the first, for this configuration file and with each host at a port of this one.
    pub fn words(&self, config: &Path, port: impl Fn(&str) -> u16) -> Vec<String> {
        let text = self.text.replace("/etc/repmgr.conf", &config.to_string_lossy());
        let option = Regex::new(r"(-h ?|--host=|standby clone )(node\d)\b").unwrap();
        let conninfo = Regex::new(r"host=(node\d)\b").unwrap();
        let uri = Regex::new(r"@(node\d)/").unwrap();
        let text =
            conninfo.replace_all(&text, |c: &Captures<'_>| format!("host=127.0.0.1 port={}", port(&c[1])));
        let text = uri.replace_all(&text, |c: &Captures<'_>| format!("@127.0.0.1:{}/", port(&c[1])));
        let text =
            option.replace_all(&text, |c: &Captures<'_>| format!("{}127.0.0.1 -p {}", &c[1], port(&c[2])));
        split(&text).split_off(1)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits at blanks outside quotes.
fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (c, quote) {
            (' ', None) => words.push(String::new()),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (c, _) => words.last_mut().unwrap().push(c),
        }
    }
    words
}
