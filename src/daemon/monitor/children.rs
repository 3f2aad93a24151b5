//! The nodes that are registered to follow this one, and whether they do: `child_nodes_*`, as in repmgrd.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::{Monitor, Role, rest};
use crate::config::Config;
use crate::error::sentence;
use crate::operation::event_hook::run_hook;
use crate::pg::client::Session;
use crate::registry::NodeType;
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::process::ChildContext;
use crate::ui::Level;

/// The nodes that are registered to follow `$1`.
const CHILDREN: &str = "SELECT COALESCE(json_agg(json_build_object('node_id', n.node_id, 'name', n.node_name, 'kind', n.type, \
    'conninfo', n.conninfo, 'attached', EXISTS (SELECT FROM pg_catalog.pg_stat_replication r \
      WHERE r.application_name = n.node_name)) ORDER BY n.node_id), '[]')::text \
    FROM repmgr.nodes n WHERE n.upstream_node_id = $1::integer AND n.node_id <> $1::integer";

/// A node, as it is seen now.
#[derive(Clone, Debug, Deserialize)]
struct Seen {
    node_id: i32,
    name: String,
    kind: NodeType,
    conninfo: String,
    attached: bool,
}

/// A node, as it is known.
#[derive(Clone, Debug)]
struct Child {
    node_id: i32,
    attached: bool,
    /// It has gone at this time; None also for one that was never seen attached.
    gone: Option<Instant>,
}

/// What has changed about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Disconnected,
    Reconnected(Duration),
    Connected,
}

/// When too few nodes are attached.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connected_min: Option<u32>,
    disconnect_min: Option<u32>,
    includes_witness: bool,
    timeout: Duration,
}

impl Limits {
    fn of(config: &Config) -> Self {
        Self {
            connected_min: config.child_nodes_connected_min_count,
            disconnect_min: config.child_nodes_disconnect_min_count,
            includes_witness: config.child_nodes_connected_include_witness,
            timeout: config.child_nodes_disconnect_timeout,
        }
    }

    /// How many of them have to be attached.
    fn required(&self, all: usize) -> usize {
        let set = |count: Option<u32>| count.filter(|count| *count > 0).and_then(|n| usize::try_from(n).ok());
        match (set(self.connected_min), set(self.disconnect_min)) {
            (Some(connected), _) => connected,
            (None, Some(disconnected)) => (all + 1).saturating_sub(disconnected),
            (None, None) => 1,
        }
    }
}

/// Whether the command is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    /// So many of all are attached, but so many are required, and the last one has gone so long ago.
    Run {
        connected: usize,
        all: usize,
        required: usize,
        last: Duration,
    },
    /// Enough are attached again, after the command was run.
    Recovered,
}

/// All that is known of the nodes.
#[derive(Debug, Default)]
struct Children {
    /// None before the first look, at which nothing is news.
    known: Option<Vec<Child>>,
    /// The command was run, and too few are attached still.
    was_run: bool,
}

impl Children {
    /// Compares what is seen with what is known.
    fn compare(&mut self, seen: &[Seen], now: Instant) -> Vec<(i32, News)> {
        let known = self.known.take();
        let is_first = known.is_none();
        let known = known.unwrap_or_default();
        let mut news = Vec::new();
        let mut next = Vec::new();
        for node in seen {
            let before = known.iter().find(|child| child.node_id == node.node_id);
            let mut child = Child { node_id: node.node_id, attached: node.attached, gone: None };
            match (before, node.attached) {
                (Some(Child { attached: true, .. }), false) => {
                    child.gone = Some(now);
                    news.push((node.node_id, News::Disconnected));
                }
                (Some(Child { attached: false, gone: Some(gone), .. }), true) => {
                    news.push((node.node_id, News::Reconnected(now.duration_since(*gone))));
                }
                (Some(Child { attached: false, gone: None, .. }), true) => {
                    news.push((node.node_id, News::Connected));
                }
                (None, true) if !is_first => news.push((node.node_id, News::Connected)),
                (Some(before), false) => child.gone = before.gone,
                _ => {}
            }
            next.push(child);
        }
        self.known = Some(next);
        news
    }

    /// Judges whether the command is to be run, which counts as done then.
    fn judge(&mut self, seen: &[Seen], limits: Limits, now: Instant) -> Verdict {
        let counts = |node: &&Seen| limits.includes_witness || node.kind != NodeType::Witness;
        let all = seen.iter().filter(counts).count();
        let connected = seen.iter().filter(counts).filter(|node| node.attached).count();
        let required = limits.required(all);
        if connected >= required {
            return match std::mem::take(&mut self.was_run) {
                true => Verdict::Recovered,
                false => Verdict::Nothing,
            };
        }
        let counted: Vec<i32> = seen.iter().filter(counts).map(|node| node.node_id).collect();
        let known = self.known.as_deref().unwrap_or_default().iter();
        let gone = known.filter(|child| counted.contains(&child.node_id)).filter_map(|child| child.gone);
        // Those that were missing from the start do not count.
        let last = gone.map(|gone| now.duration_since(gone)).min();
        match last {
            Some(last) if last >= limits.timeout && !self.was_run => {
                self.was_run = true;
                Verdict::Run { connected, all, required, last }
            }
            _ => Verdict::Nothing,
        }
    }
}

/// Puts the ID of this node in the place of `%p`.
fn expanded(template: &str, node_id: i32) -> String {
    template.split("%%").map(|part| part.replace("%p", &node_id.to_string())).collect::<Vec<_>>().join("%")
}

impl Monitor<'_> {
    /// Counts the nodes that follow this one, for ever.
    pub(super) async fn count_children(&self) {
        let mut session: Option<Session> = None;
        let mut children = Children::default();
        let mut role = None;
        loop {
            let config = self.config();
            let present = self.seen.borrow().role;
            if present != role {
                // Other nodes follow a standby than follow a primary.
                children = Children::default();
                role = present;
            }
            let seen = match present {
                Some(Role::Primary | Role::Standby) => self.ask_children(&mut session, &config).await,
                _ => None,
            };
            if let Some(seen) = &seen {
                self.report(&mut children, seen);
                self.judge_children(&mut children, seen, &config).await;
            }
            self.seen.borrow_mut().children = seen.map(|seen| {
                let attached = seen.iter().filter(|node| node.attached).count();
                (attached, seen.len())
            });
            rest(config.child_nodes_check_interval).await;
        }
    }

    async fn ask_children(&self, session: &mut Option<Session>, config: &Config) -> Option<Vec<Seen>> {
        if session.as_ref().is_none_or(Session::is_closed) {
            *session = self.open_local().await.ok();
        }
        let id = config.node_id.to_string();
        let asked = session.as_ref()?.query_json::<Vec<Seen>>(CHILDREN, &[Some(&id)]).await;
        let Ok(mut seen) = asked else {
            *session = None;
            return None;
        };
        // A witness streams nothing.
        for node in seen.iter_mut().filter(|node| node.kind == NodeType::Witness) {
            let row = self.row(node.node_id);
            node.attached = match row.filter(|row| row.conninfo == node.conninfo) {
                Some(row) => self.open(&row).await.is_ok(),
                None => false,
            };
        }
        Some(seen)
    }

    fn report(&self, children: &mut Children, seen: &[Seen]) {
        for (node_id, news) in children.compare(seen, Instant::now()) {
            let Some(node) = seen.iter().find(|node| node.node_id == node_id) else { continue };
            let whom = format!("{} \"{}\" (ID: {node_id})", node.kind, node.name);
            let (event, level, successful, text) = match news {
                News::Disconnected => {
                    let kind = if node.kind == NodeType::Witness { "" } else { "node " };
                    let text =
                        format!("{} {kind}\"{}\" (ID: {node_id}) has disconnected", node.kind, node.name);
                    ("child_node_disconnect", Level::Notice, false, text)
                }
                News::Reconnected(after) => {
                    let text = format!("{whom} has reconnected after {} seconds", after.as_secs());
                    ("child_node_reconnect", Level::Notice, true, text)
                }
                News::Connected => {
                    ("child_node_new_connect", Level::Notice, true, format!("new {whom} has connected"))
                }
            };
            self.say(level, &text);
            let about = self.row(node_id).as_ref().map(Into::into);
            self.announcer.announce(super::Happened::new(event, successful, text).about(about));
        }
    }

    async fn judge_children(&self, children: &mut Children, seen: &[Seen], config: &Config) {
        let Some(line) = &config.child_nodes_disconnect_command else { return };
        if self.is_paused() {
            return;
        }
        match children.judge(seen, Limits::of(config), Instant::now()) {
            Verdict::Nothing => {}
            Verdict::Recovered => self.say(Level::Notice, "enough child nodes are connected again"),
            Verdict::Run { connected, all, required, last } => {
                self.context.ui.message(
                    Level::Notice,
                    "executing \"child_nodes_disconnect_command\"",
                    Some(&format!(
                        "{connected} of {all} child nodes are connected, but at least {required} are required; the last one \
                         disconnected {} seconds ago.",
                        last.as_secs()
                    )),
                    None,
                );
                self.run_disconnect_command(line, config).await;
            }
        }
    }

    async fn run_disconnect_command(&self, line: &str, config: &Config) {
        const NAME: &str = "child_nodes_disconnect_command";
        let wanted = config.command(NAME, &config.child_nodes_disconnect_command);
        if let Err(error) = wanted {
            self.context.ui.text(Level::Warning, &crate::error::Error::from(error).text);
            return self.announce(
                NAME,
                false,
                format!("\"{NAME}\" was not executed: its file is not trusted"),
            );
        }
        let command = Command::new("/bin/sh", ["-c".to_string(), expanded(line, config.node_id)]);
        let setting = ChildContext {
            environment: Some(&self.context.environment),
            secrets: Secrets::new(),
            inherit_pg: true,
        };
        match run_hook(&command, &setting).await {
            None => self.announce(NAME, true, format!("\"{NAME}\" successfully executed")),
            Some(problem) => {
                let text = format!("unable to execute \"{NAME}\"");
                self.context.ui.message(Level::Warning, &text, Some(&sentence(&problem)), None);
                self.announce(NAME, false, format!("{text}: {problem}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(attached: &[bool]) -> Vec<Seen> {
        (2..)
            .zip(attached)
            .map(|(node_id, attached)| Seen {
                node_id,
                name: format!("node{node_id}"),
                kind: NodeType::Standby,
                conninfo: String::new(),
                attached: *attached,
            })
            .collect()
    }

    fn second(begun: Instant, n: u64) -> Instant {
        begun + Duration::from_secs(n)
    }

    #[test]
    fn what_is_there_at_the_first_look_is_no_news() {
        let begun = Instant::now();
        let mut children = Children::default();
        assert_eq!(children.compare(&seen(&[true, false]), begun), []);
        assert_eq!(children.compare(&seen(&[true, false]), begun), []);
        // One that was missing is new when it comes, and one that is added is, too.
        assert_eq!(children.compare(&seen(&[true, true]), begun), [(3, News::Connected)]);
        assert_eq!(children.compare(&seen(&[true, true, true]), begun), [(4, News::Connected)]);
    }

    #[test]
    fn a_node_goes_and_comes_back_once() {
        let begun = Instant::now();
        let mut children = Children::default();
        children.compare(&seen(&[true]), begun);
        assert_eq!(children.compare(&seen(&[false]), second(begun, 1)), [(2, News::Disconnected)]);
        assert_eq!(children.compare(&seen(&[false]), second(begun, 2)), []);
        let back = News::Reconnected(Duration::from_secs(4));
        assert_eq!(children.compare(&seen(&[true]), second(begun, 5)), [(2, back)]);
        // One that follows another node now is no loss.
        assert_eq!(children.compare(&seen(&[]), second(begun, 6)), []);
    }

    fn limits() -> Limits {
        Limits {
            connected_min: None,
            disconnect_min: None,
            includes_witness: false,
            timeout: Duration::from_secs(30),
        }
    }

    #[test]
    fn the_required_number_is_that_of_repmgrd() {
        assert_eq!(limits().required(3), 1);
        assert_eq!(Limits { disconnect_min: Some(2), ..limits() }.required(3), 2);
        assert_eq!(Limits { disconnect_min: Some(5), ..limits() }.required(3), 0);
        let both = Limits { connected_min: Some(3), disconnect_min: Some(2), ..limits() };
        assert_eq!(both.required(3), 3);
    }

    #[test]
    fn the_command_is_run_once_when_all_that_are_missing_have_been_for_long_enough() {
        let begun = Instant::now();
        let limits = Limits { connected_min: Some(2), ..limits() };
        let mut children = Children::default();
        let mut look = |attached: &[bool], at: u64| {
            let now = second(begun, at);
            children.compare(&seen(attached), now);
            children.judge(&seen(attached), limits, now)
        };
        assert_eq!(look(&[true, true, true], 0), Verdict::Nothing);
        assert_eq!(look(&[false, true, true], 1), Verdict::Nothing);
        // Still two: enough.
        assert_eq!(look(&[false, true, true], 60), Verdict::Nothing);
        assert_eq!(look(&[false, false, true], 61), Verdict::Nothing);
        assert_eq!(look(&[false, false, true], 90), Verdict::Nothing);
        let last = Duration::from_secs(30);
        let run = Verdict::Run { connected: 1, all: 3, required: 2, last };
        assert_eq!(look(&[false, false, true], 91), run);
        assert_eq!(look(&[false, false, true], 200), Verdict::Nothing);
        assert_eq!(look(&[true, false, true], 201), Verdict::Recovered);
        assert_eq!(look(&[false, false, true], 202), Verdict::Nothing);
        assert!(matches!(look(&[false, false, true], 232), Verdict::Run { .. }));
    }

    #[test]
    fn nodes_that_were_missing_from_the_start_do_not_count() {
        let begun = Instant::now();
        let mut children = Children::default();
        children.compare(&seen(&[false]), begun);
        assert_eq!(children.judge(&seen(&[false]), limits(), second(begun, 1000)), Verdict::Nothing);
    }

    #[test]
    fn a_witness_counts_only_where_it_is_wanted() {
        let begun = Instant::now();
        let mut nodes = seen(&[true, true]);
        nodes[1].kind = NodeType::Witness;
        let mut children = Children::default();
        children.compare(&nodes, begun);
        nodes[0].attached = false;
        children.compare(&nodes, begun);
        let later = second(begun, 60);
        let with = Limits { includes_witness: true, ..limits() };
        assert_eq!(children.judge(&nodes, with, later), Verdict::Nothing);
        assert!(matches!(children.judge(&nodes, limits(), later), Verdict::Run { connected: 0, all: 1, .. }));
    }

    #[test]
    fn the_placeholder_is_the_id_of_this_node() {
        assert_eq!(expanded("fence --of=%p --load 90%% %x", 12), "fence --of=12 --load 90% %x");
    }
}
