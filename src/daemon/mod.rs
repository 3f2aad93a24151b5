//! The daemon: one per node, that fails over by itself.
//!
//! Its decisions are `pgbaton-lease`, which knows no socket and no clock, and is model-checked; what stops a server whose lease has ended is
//! `pgbaton-fencer`, a process of its own. Here is what lies between them and the world:
//!
//! | module | holds | waits for |
//! |---|---|---|
//! | `lease` | a thread of its own: the driver of the decisions, its sessions, the link to the fencer | sockets |
//! | `session` | one session: opened, asked one question at a time | sockets |
//! | `view` | what is asked in a session, as SQL | |
//! | `fencer` | the link: what is wanted goes there, what holds there comes back | the fencer, never for long |
//! | `server` | a thread that watches the local server's processes and files | /proc, a disk |
//! | `executor` | what is ordered (`effects`), what follows from the state (`state`), the commands that do it (`programs`) | disks, programs, servers |
//! | `monitor` | what repmgrd does besides: events, history, child nodes, status lines, SIGHUP | servers |
//! | `info` | a thread of its own: the session in which this daemon reports itself | its server |
//! | `record` | what the daemon reads from the metadata and writes into it | servers |
//! | `socket` | what the start guard and commands on this host ask | |
//! | `repmgrd` | the refusal to work where a repmgrd fails over, too | servers |
//! | `ending` | the end by a signal, where the role is handed over first | the next leader, for some seconds |
//!
//! The order that safety rests on: a flag is on disk before the line of this daemon shows it, and before the fencer is disarmed; a promotion
//! is requested only in the session that holds the vote of this server, and only once the fencer is armed; `standby.signal` is written before
//! anything is killed or handed over. A command of an administrator and a change of the flag exclude each other by the lock of commands.

mod ending;
mod executor;
mod fencer;
mod info;
mod lease;
mod monitor;
mod record;
mod repmgrd;
mod server;
mod session;
mod snapshot;
mod socket;
mod view;

use std::cell::Cell;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use pgbaton_fencer::protocol::Request;
use pgbaton_fencer::server::DataDirectory;
use pgbaton_lease::driver::Policy;
use pgbaton_lease::mailbox::NodeId;
use pgbaton_lease::{Epoch, Flag, Members, Node, Nodes, Server, State, Time};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use self::executor::{Executor, Setting};
use self::lease::{Beginning, Channels, MOST, Peer, Told, now};
use self::monitor::{Happened, Monitor};
use self::snapshot::Snapshot;
use crate::config::Config;
use crate::config::value::Failover;
use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::daemon_flag::{self as flag, Belongs, Found, Promise};
use crate::facts::directory::running_postmaster;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::observe::daemons::{self, params};
use crate::observe::local_daemon::{belongs, runtime_directory};
use crate::pg::client::Session;
use crate::pg::control_file;
use crate::registry::{NodeRow, NodeType, node};
use crate::system::environment::own_program;
use crate::system::signals::Signals;
use crate::system::supervisor::Supervisor;
use crate::ui::Level;

/// How often a server that does not answer at the start is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a package has the fencer.
const LIBEXEC: &str = "/usr/libexec/pgbaton/fencer";

/// Returns the program of the fencer: in the directory of this one, or where a package has it.
fn fencer_program() -> PathBuf {
    let next_to_it = own_program().and_then(|path| Some(path.parent()?.join("pgbaton-fencer")));
    next_to_it.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(LIBEXEC))
}

/// Makes the runtime directory, for this user only, and makes sure that no other user has made it.
fn make_private(directory: &Path, uid: u32) -> Result<()> {
    let failed = |why: String| {
        Error::failed(format!("the runtime directory \"{}\" cannot be used", directory.display()))
            .detail(why)
            .hint("Set runtime_directory to a directory of this user on a tmpfs file system.")
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(|error| failed(crate::error::sentence(&error.to_string())))?;
    // In a directory where anybody may write, the first one that is not anybody's decides.
    for path in directory.ancestors() {
        let Ok(found) = path.symlink_metadata() else { break };
        if found.mode() & 0o1000 != 0 || found.uid() == 0 {
            break;
        }
        if found.uid() != uid || !found.is_dir() || found.permissions().mode() & 0o022 != 0 {
            return Err(failed(format!("\"{}\" is not a directory of this user alone.", path.display())));
        }
    }
    Ok(())
}

/// Runs the daemon of the local node until it is asked to end.
///
/// # Errors
/// Exit code 1 where the configuration or the rights do not do, 6 if the local server never answers before the first start.
pub async fn run(context: &Context) -> Result<()> {
    let config = context.config()?;
    monitor::configure_log(context, config)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not write the log", &error))?;
    let uid = context.environment.uid;
    let runtime = runtime_directory(config, uid);
    make_private(&runtime, uid)?;
    let listener = socket::listen(&runtime)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not listen for commands", &error.into()))?;
    let signals = Signals::take_over()
        .map_err(|error| Error::from_cause(Exit::Internal, "could not take over signals", &error))?;
    let state_directory = context.state_directory()?;
    std::fs::create_dir_all(&state_directory).map_err(|error| {
        Error::from_cause(Exit::Failed, "could not make the state directory", &error.into())
    })?;
    for (key, value) in
        [("promote_command", &config.promote_command), ("follow_command", &config.follow_command)]
    {
        if value.is_some() {
            let text = format!(
                "\"{key}\" is not used: it is for repmgrd, and this daemon promotes and repoints by itself"
            );
            context.ui.say(Level::Notice, &text);
        }
    }
    let supervisor = Supervisor::of(&context.environment);
    let begun = tokio::select! {
        begun = begin(context, config, &runtime, &state_directory, &supervisor) => begun?,
        _ended = signals.next() => return Ok(()),
    };
    let (told, told_there) = mpsc::unbounded_channel();
    let (orders_there, orders) = mpsc::unbounded_channel();
    let (snapshot_there, snapshot) = watch::channel(None);
    let params = begun.beginning.params;
    let unbound = begun.beginning.state.unbound;
    let is_witness = begun.beginning.fencer.is_none();
    report_itself(context, config, &begun.beginning, snapshot.clone())?;
    let channels = Channels { told: told_there, orders: orders_there, snapshot: snapshot_there };
    start_thread("lease", {
        let beginning = begun.beginning;
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                tokio::task::LocalSet::new().block_on(&runtime, lease::run(beginning, channels));
                runtime.shutdown_background();
            }
        }
    })?;
    if !is_witness {
        let (data, told) = (config.data_directory.clone(), told.clone());
        start_thread("server", move || {
            server::watch(data, move |seen| told.send(Told::Local(seen)).is_ok());
        })?;
    }
    tokio::spawn(socket::serve(listener, told.clone()));
    let text = format!("the daemon of node \"{}\" (ID {}) has started", config.node_name, config.node_id);
    context.ui.say(Level::Notice, &text);
    let is_automatic = config.failover == Failover::Automatic;
    let monitor = Monitor::new(monitor::Setting {
        context,
        config,
        snapshot: snapshot.clone(),
        rows: begun.rows,
        is_witness,
        is_automatic,
    });
    monitor.announcer().announce(Happened::new("repmgrd_start", true, text));
    supervisor.tell("READY=1");
    let ends = Rc::new(Cell::new(false));
    let setting = Setting {
        context,
        config,
        belongs: begun.belongs,
        state_directory,
        runtime,
        told: told.clone(),
        snapshot: snapshot.clone(),
        ends: Rc::clone(&ends),
        lease_ms: params.lease,
        restart_ms: config
            .restart_timeout
            .map_or(params.lease, |time| u64::try_from(time.as_millis()).unwrap_or(params.lease)),
        successor_ms: params.silence + 2 * params.heartbeat + params.grace + 1000,
        keep_lock: Duration::from_millis(params.silence + 2 * params.heartbeat),
        is_automatic,
        announcer: monitor.announcer(),
        supervisor,
    };
    let mut executor = Executor::new(setting, unbound);
    let mut work = std::pin::pin!(executor.run(orders));
    tokio::select! {
        () = &mut work => {
            return Err(Error::new(Exit::Internal, "the daemon's lease has ended unexpectedly")
                .detail("The fencer stays armed: without a daemon it stops the server when the lease ends."));
        }
        error = monitor.run(&signals) => {
            monitor.finish().await;
            return Err(error);
        }
        _ended = signals.next() => {}
    }
    // From now on nothing is started any more.
    ends.set(true);
    let ending = async {
        if let Some(heir) = ending::heir(context, &snapshot).await {
            ending::hand_over(context, heir, &told, snapshot).await;
        }
        context.ui.say(Level::Notice, "the daemon ends; the fencer keeps its deadline");
        let end = Happened::new("repmgrd_shutdown", true, "ended by a signal".to_string());
        monitor.announcer().announce(end);
        monitor.finish().await;
    };
    tokio::select! {
        () = ending => {}
        () = work => {}
        _second = signals.next() => context.ui.say(Level::Notice, "the daemon ends at once, by a second signal"),
    }
    Ok(())
}

/// Begins to show on the own server what this daemon does.
fn report_itself(
    context: &Context,
    config: &Config,
    beginning: &Beginning,
    snapshot: watch::Receiver<Option<Snapshot>>,
) -> Result<()> {
    let setting = info::Setting {
        node: NodeId::try_from(config.node_id).unwrap_or_default(),
        incarnation: beginning.incarnation,
        conninfo: context.local_conninfo()?,
        environment: beginning.environment.clone(),
        snapshot,
    };
    start_thread("info", move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(info::show(setting));
            runtime.shutdown_background();
        }
    })
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name.to_string())
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::from_cause(Exit::Internal, "could not start a thread", &error.into()))
}

/// What the daemon begins with.
struct Begun {
    beginning: Beginning,
    belongs: Belongs,
    rows: Vec<NodeRow>,
}

/// What is known of the cluster before the first step.
struct Cluster {
    rows: Vec<NodeRow>,
    system_identifier: String,
    /// A server has said whether the row of the members is there.
    has_members: Option<bool>,
}

async fn begin(
    context: &Context,
    config: &Config,
    runtime: &Path,
    state: &Path,
    supervisor: &Supervisor,
) -> Result<Begun> {
    let params = params(config);
    if let Some(defect) = params.defects().first() {
        return Err(Error::failed("the times of the failover do not fit together").detail(defect.clone()));
    }
    let known =
        control_file::read(&config.data_directory).ok().map(|control| control.system_identifier.to_string());
    let stored = |identifier: &str| flag::load(state, &belongs(config, identifier));
    // Without a flag of its own a node has to know what it was: only its server says whether this cluster has had a leader.
    let needs_server = match known.as_deref().map(stored) {
        Some(Ok(Found::Own(..))) => false,
        Some(Err(error)) => return Err(unreadable(state, &error)),
        _ => true,
    };
    let cluster = learn(context, config, known, needs_server, supervisor).await?;
    let belongs = belongs(config, &cluster.system_identifier);
    let found = flag::load(state, &belongs).map_err(|error| unreadable(state, &error))?;
    let promise = |flag| Promise { flag, epoch: Epoch::default(), unbound: false };
    let Promise { flag, epoch, unbound } = match found {
        Found::Own(promise) => promise,
        Found::Nothing | Found::Foreign if cluster.has_members == Some(true) => {
            context.ui.message(
                Level::Warning,
                "the daemon of this node has no state: it does not stand for election before the leader has readmitted it",
                Some(&format!(
                    "\"{}\" is not there, or is of another node; and this cluster has had a leader.",
                    flag::path(state).display()
                )),
                None,
            );
            promise(Flag::New)
        }
        Found::Nothing | Found::Foreign => promise(Flag::Full),
    };
    if config.failover == Failover::Manual && flag != Flag::Full {
        return Err(Error::failed(
            "failover is \"manual\", but the daemon of this node takes part in elections",
        )
        .detail(format!("Its state is \"{}\", by \"{}\".", flag::name(flag), flag::path(state).display()))
        .hint(
            "Set failover = \"automatic\", start it, and pause the daemons first: \"pgbaton service pause\".",
        ));
    }
    let own_row = cluster.rows.iter().find(|row| row.node_id == config.node_id).ok_or_else(|| {
        Error::failed(format!("node \"{}\" (ID {}) is not registered", config.node_name, config.node_id))
            .hint("Register it: \"pgbaton primary register\", \"pgbaton standby register\" or \"pgbaton witness register\".")
    })?;
    let is_witness = own_row.node_type == NodeType::Witness;
    let (peers, members, me) = places(&cluster.rows, config)?;
    let place = (!is_witness).then(|| fencer::Place {
        program: fencer_program(),
        data: config.data_directory.clone(),
        runtime: runtime.to_path_buf(),
    });
    let mut adopted = None;
    if let Some(place) = &place {
        let asked = async {
            let mut stream = fencer::find_or_start(place).await?;
            fencer::ask(&mut stream, Request::Status).await
        };
        let answer = asked.await.map_err(|error| {
            Error::failed("the fencer cannot be started")
                .detail(crate::error::sentence(&format!("{}: {error}", place.program.display())))
                .hint("Without it a server whose daemon has died would not be stopped. Install pgbaton-fencer in the directory of pgbaton.")
        })?;
        if !fencer::is_of(place, &answer) {
            return Err(Error::failed(format!(
                "the fencer in \"{}\" holds another data directory",
                runtime.display()
            ))
            .detail(format!(
                "It could not stop the server in \"{}\". It is process {}.",
                place.data.display(),
                answer.pid
            ))
            .hint("Correct PGDATA in its unit, pgbaton-fencer@.service, or end it."));
        }
        for missing in answer.lacks.words() {
            context.ui.say(Level::Warning, &format!("the fencer could not get {missing}"));
        }
        adopted = answer.deadline.filter(|_| !answer.has_ended).map(Time);
    }
    // While a lease lasts a refusal would have this server stopped: then it is looked for later, and warned of.
    if config.failover == Failover::Automatic && adopted.is_none_or(|deadline| deadline <= now()) {
        let found = repmgrd::running(context, config, &cluster.rows).await;
        if !found.is_empty() {
            return Err(repmgrd::refusal(&found));
        }
    }
    let server = if is_witness { Server::Standby } else { local_server(context, config).await };
    let timeline = control_file::read(&config.data_directory).map_or(0, |control| control.timeline.0);
    let started = State::start(me, members, (flag, epoch), (server, timeline), adopted, now());
    let started = State { unbound, ..started };
    Ok(Begun {
        beginning: Beginning {
            params,
            state: started,
            peers,
            cluster_key: view::cluster_key(&cluster.system_identifier),
            policy: Policy {
                most_lack: config.failover_max_lag.bytes,
                validates: config.failover_validation_command.is_some(),
            },
            known_end: known_end(context),
            incarnation: u16::try_from(daemons::random() & 0xffff).unwrap_or(1),
            random: daemons::random(),
            fencer: place,
            environment: context.environment.clone(),
        },
        belongs,
        rows: cluster.rows,
    })
}

fn unreadable(state: &Path, error: &anyhow::Error) -> Error {
    Error::from_cause(Exit::Failed, "the state of the daemon cannot be read", error)
        .hint(format!("What this node has promised is in \"{}\".", flag::path(state).display()))
}

/// Learns of the cluster from the own server, or, where that is down and the node knows its own flag, from the saved topology.
async fn learn(
    context: &Context,
    config: &Config,
    known: Option<String>,
    needs_server: bool,
    supervisor: &Supervisor,
) -> Result<Cluster> {
    let mut said = false;
    loop {
        match ask_own_server(context, config).await {
            Ok(cluster) => return Ok(cluster),
            // What waiting does not change.
            Err(error) if error.exit == Exit::Failed => return Err(error),
            Err(error) => {
                if !needs_server
                    && let (Ok(Some(topology)), Some(system_identifier)) =
                        (crate::site::state_directory::saved_topology(context), known.clone())
                {
                    let rows = topology.nodes.iter().map(|node| node.row.clone()).collect();
                    return Ok(Cluster { rows, system_identifier, has_members: None });
                }
                if !said {
                    context.ui.text(Level::Notice, &error.text);
                    context.ui.say(Level::Notice, "waiting for the local server");
                    said = true;
                    // A unit of the server that is ordered after this one would wait for that.
                    supervisor.tell("READY=1");
                }
                supervisor.tell("WATCHDOG=1\nSTATUS=waiting for the local server");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn ask_own_server(context: &Context, config: &Config) -> Result<Cluster> {
    let session = context.connect_local().await?;
    let failed = |error: crate::pg::client::SqlError| {
        Error::new(Exit::Query, "could not read the metadata").because(&error)
    };
    let rows = node::read_all(&session).await.map_err(failed)?;
    let has_members = Some(record::has_members(&session).await.map_err(failed)?);
    let is_witness =
        rows.iter().any(|row| row.node_id == config.node_id && row.node_type == NodeType::Witness);
    if !is_witness && config.failover == Failover::Automatic {
        may_promote(context, &session).await?;
        sees_server(config, &session).await?;
    }
    let system_identifier = match is_witness {
        true => primary_identifier(context, &rows).await?,
        false => identifier(&session).await.map_err(failed)?,
    };
    Ok(Cluster { rows, system_identifier, has_members })
}

/// The promotion is requested in an ordinary session, by the role of conninfo: without the right to it there would be candidates, and never a
/// primary.
async fn may_promote(context: &Context, session: &Session) -> Result<()> {
    const RIGHTS: &str = "SELECT has_function_privilege('pg_promote(boolean,integer)', 'EXECUTE')::text, \
        pg_has_role('pg_read_all_stats', 'USAGE')::text, quote_ident(current_user), quote_ident(current_database())";
    let row = session.query_one(RIGHTS, &[]).await.map_err(|error| {
        Error::new(Exit::Query, "could not read the privileges of the role").because(&error)
    })?;
    let (role, database) = (row.get(2).unwrap_or_default(), row.get(3).unwrap_or_default());
    if row.get(0) != Some("true") {
        return Err(Error::failed(format!("role {role} may not promote the server"))
            .detail("Automatic failover promotes by pg_promote() in a session of that role.")
            .hint(format!(
                "On the primary, as a superuser in database {database}: GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO {role};"
            )));
    }
    if row.get(1) != Some("true") {
        context.ui.message(
            Level::Warning,
            &format!("role {role} does not see when the WAL receiver last got something"),
            Some("Whether the primary is lost is judged without it, by the votes and by its server alone."),
            Some(&format!("On the primary, as a superuser: GRANT pg_monitor TO {role};")),
        );
    }
    Ok(())
}

/// What cannot be seen cannot be stopped: in another namespace of processes or of users, a server would go on when its lease has ended.
async fn sees_server(config: &Config, session: &Session) -> Result<()> {
    let row = session
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .map_err(|error| Error::new(Exit::Query, "could not ask the local server").because(&error))?;
    let pid = row.get(0).and_then(|pid| pid.parse().ok()).unwrap_or_default();
    let data = &config.data_directory;
    if DataDirectory::open(data).is_ok_and(|directory| directory.sees(pid)) {
        return Ok(());
    }
    Err(Error::failed("the processes of the local server cannot be seen from here")
        .detail(format!(
            "Process {pid}, which serves this connection, is not seen to work in \"{}\". The fencer could not stop the server.",
            data.display()
        ))
        .hint("Run the daemon as the user of the server, on its host, and in the same container; and let conninfo lead to this server."))
}

async fn identifier(session: &Session) -> std::result::Result<String, crate::pg::client::SqlError> {
    let row = session.query_one("SELECT system_identifier FROM pg_control_system()", &[]).await?;
    Ok(row.get(0).unwrap_or_default().to_string())
}

/// A witness has a cluster of its own: the keys of the locks are those of the nodes with data.
async fn primary_identifier(context: &Context, rows: &[NodeRow]) -> Result<String> {
    for row in rows.iter().filter(|row| row.node_type != NodeType::Witness) {
        let Ok(conninfo) = crate::pg::conninfo::Conninfo::parse(&row.conninfo) else { continue };
        if let Ok(session) = context.connect(&conninfo).await
            && let Ok(found) = identifier(&session).await
        {
            return Ok(found);
        }
    }
    Err(Error::new(Exit::Connection, "no node with data responds")
        .detail("A witness learns from them which cluster it votes for."))
}

/// Where the WAL of the primary ended when the cluster was looked at last, as the saved topology has it.
fn known_end(context: &Context) -> Option<(u32, u64)> {
    let saved = crate::site::state_directory::saved_topology(context).ok()??;
    let primaries = saved.nodes.iter().filter(|node| node.was_primary == Some(true));
    primaries.filter_map(|node| Some((node.timeline?.0, node.wal_end?.0))).max()
}

/// Gives each node a place, and returns the members before a leader has recorded any.
fn places(rows: &[NodeRow], config: &Config) -> Result<(Vec<Peer>, Members, Node)> {
    let active: Vec<&NodeRow> = rows.iter().filter(|row| record::takes_part(row, config)).collect();
    if active.len() > MOST {
        return Err(Error::failed(format!("the cluster has more than {MOST} nodes"))
            .detail("The daemon handles no more."));
    }
    let rows: Vec<NodeRow> = active.into_iter().cloned().collect();
    let peers = record::peers_of(&rows, config);
    if peers.len() != rows.len() {
        return Err(Error::failed("the conninfo of a node cannot be understood")
            .hint("Run \"pgbaton cluster check\"."));
    }
    let of = |wanted: fn(&NodeRow) -> bool| -> Nodes {
        (0..).zip(&rows).filter(|(_, row)| wanted(row)).map(|(place, _)| place).collect()
    };
    let members = Members {
        data: of(|row| row.node_type != NodeType::Witness),
        voters: of(|_| true),
        ..Members::default()
    };
    let me = (0..).zip(&rows).find(|(_, row)| row.node_id == config.node_id).map(|(place, _)| place);
    Ok((peers, members, me.unwrap_or_default()))
}

/// Says what the local server is at the start.
async fn local_server(context: &Context, config: &Config) -> Server {
    let data = &config.data_directory;
    let signal = data.join(STANDBY_SIGNAL).symlink_metadata().is_ok();
    if running_postmaster(data).is_none() && server::is_empty(data) {
        return Server::Down { signal };
    }
    let asked = async {
        let session = context.connect_local().await.ok()?;
        let row = session.query_one("SELECT pg_is_in_recovery()::text", &[]).await.ok()?;
        row.get(0).map(|text| text == "true")
    };
    match asked.await {
        Some(false) => Server::Primary,
        Some(true) if data.join("promote").symlink_metadata().is_ok() => Server::Promoting,
        Some(true) => Server::Standby,
        // What does not answer may be writing, unless its files say otherwise.
        None if signal => Server::Standby,
        None => Server::Primary,
    }
}
