//! What `node check` and `cluster check` have in common: limits, and what only a host knows.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

use crate::assess::checks::{CheckStatus, HostAnswer, Thresholds};
use crate::config::{Config, parameters};
use crate::error::{Error, Exit, Issue, Result, Severity, sentence};
use crate::facts::check_name::CheckName;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::host::{self, HostFacts, HostQuestion};
use crate::far_end::checks::{Expected, checks};
use crate::far_end::remote::Remote;
use crate::observe::discovery::{CheckExtras, Discovered};
use crate::observe::node_location::{self, NodeLocation};
use crate::observe::own_operations;
use crate::observe::replication_login::{self, NoLogin};
use crate::plan::far_end::Reached;
use crate::plan::parts::following::upstream;
use crate::registry::NodeType;
use crate::site::Site;

/// What a host needs to answer after the time that it was given, and an answer to come here.
const ON_ITS_WAY: Duration = Duration::from_millis(300);

/// Until when what is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// How long servers may take.
    pub(crate) servers: Duration,
    overall: Option<Instant>,
    hosts: Duration,
}

impl Deadlines {
    /// Divides the time: --timeout is for all of it, without it each part has the time of a node.
    pub(crate) fn new(site: &Site) -> Self {
        let deadline = site.node_deadline();
        match site.options.timeout {
            // A server that is frozen takes all the time that it is given. What is left is for the hosts.
            Some(_) => {
                Self { servers: deadline / 2, overall: Some(Instant::now() + deadline), hosts: deadline }
            }
            None => Self { servers: deadline, overall: None, hosts: deadline },
        }
    }

    /// Returns until when hosts may take, once the servers have been asked.
    pub(crate) fn hosts(&self) -> Instant {
        self.overall.unwrap_or_else(|| Instant::now() + self.hosts)
    }
}

/// Returns the exit code of a verdict.
pub(crate) fn exit(status: CheckStatus) -> Exit {
    match status {
        CheckStatus::Ok => Exit::Done,
        CheckStatus::Warning => Exit::Failed,
        CheckStatus::Critical => Exit::Critical,
        CheckStatus::Unknown => Exit::CannotTell,
    }
}

/// Returns the limits of the configuration; without one, the defaults.
pub(crate) fn thresholds(config: Option<&Config>) -> Thresholds {
    const MEGABYTE: f64 = 1_048_576.0;
    let of = |name: &str, configured: Option<u32>| {
        let default = || parameters::find(name).and_then(|parameter| parameter.default.parse().ok());
        f64::from(configured.or_else(default).unwrap_or_default())
    };
    let seconds = |value: Duration| u32::try_from(value.as_secs()).unwrap_or(u32::MAX);
    Thresholds {
        archive_ready: (
            of("archive_ready_warning", config.map(|config| config.archive_ready_warning)),
            of("archive_ready_critical", config.map(|config| config.archive_ready_critical)),
        ),
        lag_s: (
            of("replication_lag_warning", config.map(|config| seconds(config.replication_lag_warning))),
            of("replication_lag_critical", config.map(|config| seconds(config.replication_lag_critical))),
        ),
        slot_wal_bytes: (
            MEGABYTE * of("slot_wal_warning", config.map(|config| config.slot_wal_warning)),
            MEGABYTE * of("slot_wal_critical", config.map(|config| config.slot_wal_critical)),
        ),
        free_percent: (
            of("free_space_warning", config.map(|config| config.free_space_warning)),
            of("free_space_critical", config.map(|config| config.free_space_critical)),
        ),
    }
}

/// Puts together what the host of a node is asked. A node that does not answer is not logged in to: that is said already.
pub(crate) fn host_question(
    facts: &ClusterFacts,
    more: &CheckExtras,
    node: &NodeFacts,
    names: &[CheckName],
    until: Instant,
) -> HostQuestion {
    let server = node.facts();
    let asked = more.asked.get(&node.row.node_id).and_then(|asked| asked.more.as_ref().ok());
    let replicates = |other: &&NodeFacts| other.row.node_type != NodeType::Witness;
    let version = server.map_or(0, |server| server.version_num);
    let upstreams = facts
        .nodes
        .iter()
        .filter(|other| other.row.node_id != node.row.node_id && other.facts().is_some() && other.row.active)
        .filter(replicates)
        .filter(|_| replicates(&node) && names.contains(&CheckName::ReplicationLogin))
        .map(|other| (other.row.node_id, upstream(&other.row, &node.row, version, None)));
    HostQuestion {
        data_directory: asked.and_then(|asked| asked.data_directory.clone()),
        started_at: server.map(|server| server.started_at.clone()),
        upstreams: upstreams.collect(),
        files: names.contains(&CheckName::Rewind),
        within_ms: u64::try_from(remaining(until).as_millis()).unwrap_or(u64::MAX),
    }
}

/// Returns what is left for a host to work in.
fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).saturating_sub(ON_ITS_WAY)
}

/// Waits for what a thread finds out; None where it does not come in time.
async fn in_time<T>(within: Duration, found: tokio::task::JoinHandle<T>) -> Option<T> {
    timeout(within, found).await.ok().and_then(std::result::Result::ok)
}

/// Looks at this host, for the node of the configuration. Nothing is changed.
///
/// # Errors
/// Exit code 1 without a usable configuration; whatever else fails is an answer.
pub(crate) async fn look_here(site: &Site, question: &HostQuestion) -> Result<HostFacts> {
    let config = site.config()?;
    let state_directory = site.state_directory();
    let within = Duration::from_millis(question.within_ms);
    let (data, servers) = (config.data_directory.clone(), question.data_directory.clone());
    let other_owner = host::other_owner(&config.data_directory);
    // Another user has another password file than the server.
    let upstreams: &[_] = if other_owner.is_some() { &[] } else { &question.upstreams };
    // A file system that has lost its server answers never: not even to the question how full it is. So each question has a time of its
    // own, and what takes long takes nothing from the others.
    let looked = tokio::task::spawn_blocking(move || host::inspect_data_directory(&data, servers.as_deref()));
    let data = config.data_directory.clone();
    let places = tokio::task::spawn_blocking(move || host::file_systems(&data));
    let logins = join_all(upstreams.iter().map(|(id, upstream)| async {
        let tried = timeout(within, replication_login::to_follow(site, upstream)).await;
        let late = || NoLogin { why: "no response in time".into(), late: true };
        Some((*id, tried.unwrap_or_else(|_| Err(late())).err()?))
    }));
    let files = async {
        let data = config.data_directory.clone();
        let wanted = question.files && other_owner.is_none();
        let files = wanted.then(|| tokio::task::spawn_blocking(move || host::files_without_access(&data)))?;
        // The answer has to be on its way before the time for all of it is over.
        in_time(within * 3 / 4, files).await
    };
    let (looked, places, logins, files) =
        tokio::join!(in_time(within, looked), in_time(within, places), logins, files);
    let silent = looked.is_none();
    let looked = looked.unwrap_or_default();
    let (places, unseen) = places.unzip();
    let (late, failed): (Vec<_>, Vec<_>) = logins.into_iter().flatten().partition(|(_, no)| no.late);
    let journal = state_directory
        .map_err(|error| anyhow::anyhow!("{error}"))
        .and_then(|directory| own_operations::own(&directory));
    let own = journal.as_ref().ok().and_then(Option::as_ref);
    let unfinished = own.map(|own| (own.operation_id.clone(), own.command.clone()));
    let working = own.and_then(|own| own.process);
    // Another user may be unable to see what runs there: that it is not seen proves nothing.
    let blind = other_owner.is_some();
    let runs_on_it = match &question.started_at {
        Some(at) if node_location::runs_on(&config.data_directory, at) => Some(true),
        Some(at) if !blind && !node_location::may_run_on(&config.data_directory, at) => Some(false),
        _ => None,
    };
    Ok(HostFacts {
        other_owner,
        data_directory: config.data_directory.clone(),
        standby_signal: looked.standby_signal,
        is_data_directory: looked.is_data_directory,
        is_servers: looked.is_servers,
        runs_on_it,
        silent,
        places,
        unseen: unseen.unwrap_or_default(),
        untouchable: files,
        half_rewound: looked.half_rewound,
        unfinished,
        working,
        journal_unread: journal.err().map(|error| format!("{error:#}")),
        logins_failed: failed.into_iter().map(|(id, no)| (id, no.why)).collect(),
        logins_late: late.into_iter().map(|(id, _)| id).collect(),
        logins_tried: upstreams.len(),
    })
}

/// Why a host does not answer, and whether that is worth a notice.
pub(crate) struct HostUnavailable {
    why: Error,
    reported: bool,
}

/// Asks the hosts of all nodes at once: this one directly, others by the pgbaton there.
pub(crate) async fn hosts(
    site: &Site,
    found: &Discovered,
    more: &CheckExtras,
    names: &[CheckName],
    by_ssh: bool,
    until: Instant,
) -> BTreeMap<i32, std::result::Result<HostFacts, HostUnavailable>> {
    let each = found.facts.nodes.iter().map(|node| async move {
        let asked = timeout_at(until, host_of(site, found, more, node, names, by_ssh, until)).await;
        let late = || HostUnavailable {
            why: Error::new(Exit::Remote, "there was no response in time"),
            reported: true,
        };
        (node.row.node_id, asked.unwrap_or_else(|_| Err(late())))
    });
    join_all(each).await.into_iter().collect()
}

async fn host_of(
    site: &Site,
    found: &Discovered,
    more: &CheckExtras,
    node: &NodeFacts,
    names: &[CheckName],
    by_ssh: bool,
    until: Instant,
) -> std::result::Result<HostFacts, HostUnavailable> {
    let reported = |why| HostUnavailable { why, reported: true };
    let row = &node.row;
    let question = host_question(&found.facts, more, node, names, until);
    let own = site.config_if_any().ok().flatten();
    if own.is_some_and(|own| (own.node_id, &own.node_name) == (row.node_id, &row.node_name)) {
        return look_here(site, &question).await.map_err(reported);
    }
    if !row.active && node.facts().is_none() {
        let why = Error::new(Exit::Remote, "the node is registered as inactive and does not respond");
        return Err(HostUnavailable { why, reported: false });
    }
    let known = NodeLocation {
        row,
        server: node.facts(),
        system_identifier: found.facts.system_identifier(),
        ssh_host: more.ssh_hosts.get(&row.node_id).map(String::as_str),
    };
    let far_end = node_location::far_end(site, &known).await.map_err(reported)?;
    if matches!(far_end.reached, Reached::Ssh { .. }) && !by_ssh {
        return Err(HostUnavailable { why: Error::new(Exit::Remote, "--no-ssh was given"), reported: false });
    }
    let within = until.saturating_duration_since(Instant::now());
    let (remote, hello) =
        Remote::open(site, &far_end, within).await.map_err(|trouble| reported(trouble.error(&far_end)))?;
    let wrong = checks(&far_end, &Expected::default(), &Ok(hello));
    if let Some(check) = wrong.into_iter().find(|check| check.stops() && check.exit != Exit::Busy) {
        return Err(reported(Error::new(check.exit, check.text)));
    }
    remote.inspect_host(question, until.saturating_duration_since(Instant::now())).await.map_err(reported)
}

/// Turns what the hosts say into evidence, and names those that say nothing in one notice.
pub(crate) fn reported(
    found: &Discovered,
    answers: BTreeMap<i32, std::result::Result<HostFacts, HostUnavailable>>,
) -> (BTreeMap<i32, HostAnswer>, Option<Issue>) {
    let absent: Vec<(String, &Error)> = answers
        .iter()
        .filter_map(|(id, answer)| match answer {
            Err(HostUnavailable { why, reported: true }) => {
                Some((format!("\"{}\"", found.facts.node(*id)?.row.node_name), why))
            }
            _ => None,
        })
        .collect();
    let notice = absent.first().map(|(_, first)| {
        let names: Vec<&str> = absent.iter().map(|(name, _)| name.as_str()).collect();
        let why: Vec<String> =
            absent.iter().map(|(name, why)| format!("{name}: {}", sentence(&why.to_string()))).collect();
        let message = format!(
            "no information from the host of {}; files, processes and service there are unknown",
            names.join(", ")
        );
        let hint = first.hint.as_deref().unwrap_or("Use --no-ssh to do without.");
        Issue::new(Severity::Notice, "host_not_asked", message).detail(why.join(" ")).hint(hint)
    });
    let answers = answers
        .into_iter()
        .map(|(id, answer)| (id, answer.map_err(|absent| sentence(&absent.why.to_string()))));
    (answers.collect(), notice)
}
