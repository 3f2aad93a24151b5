//! The far end: pgbaton on another host, spoken to over a local channel and over a real ssh, and left alone in the middle of things.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pgbaton::cli::Global;
use pgbaton::command_line::named_node;
use pgbaton::context::Context;
use pgbaton::error::{Error, Exit};
use pgbaton::facts::server::{self, ServerFacts};
use pgbaton::far_end::checks::{self, ChannelFailure, Expected};
use pgbaton::far_end::protocol::{Call, Frame, Hello, Reply, ResponseLine, Secured, VOID};
use pgbaton::far_end::remote::{Remote, secured};
use pgbaton::journal::{self, EarlierRuns, Header, Journal};
use pgbaton::observe::node_location::{self, NodeLocation};
use pgbaton::operation::live::{FarEnds, Live};
use pgbaton::operation::outcome::{Ended, Outcome};
use pgbaton::operation::run;
use pgbaton::output::Style;
use pgbaton::pg::Conninfo;
use pgbaton::pg::control::Manager;
use pgbaton::pg::control_file::ControlState;
use pgbaton::plan::far_end::{Reached, ServerState};
use pgbaton::plan::{
    Check, FarEnd, FileOp, OnFailure, OnResume, Op, Order, Phase, Plan, Probe, RollbackStep, SignalRequest,
    Step,
};
use pgbaton::registry::{NodeRow, NodeType};
use pgbaton::secret::{Secret, Secrets};
use pgbaton::system::clock;
use pgbaton::system::command::Command;
use pgbaton::system::environment::Environment;
use pgbaton::system::lock::{LocalLock, LocalLockHolder};
use pgbaton::ui::{Level, Ui};
use pgbaton::verb::Verb;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Nodes, Output, Running, SOON, Sshd, StopMode, TestCluster, TestServer, behind_network, can_unshare,
    clean_command, postgres, run_tool, running, search_path, slow, wait_for,
};

const PGBATON: &str = env!("CARGO_BIN_EXE_pgbaton");

// ---- the ground ----------------------------------------------------------------------------------------------------

/// Returns the far ends that serve a node.
fn far_end_processes(server: &TestServer) -> Vec<Pid> {
    running("pgbaton", &format!("far-end -f {}", server.config().display()))
}

fn local(server: &TestServer) -> Reached {
    Reached::Local { program: PGBATON.into(), config_file: server.config().display().to_string() }
}

fn node1(reached: Reached) -> FarEnd {
    FarEnd { node_id: 1, node_name: "node1".into(), reached }
}

/// The coordinator: a node of its own, of which only the configuration is needed.
fn coordinator(cluster: &TestCluster, more: &str) -> TestServer {
    let server = cluster.empty("node2");
    server.node_config(2, more);
    server
}

fn context(server: &TestServer) -> Context {
    context_of(&server.config(), &server.dir)
}

fn context_of(config: &Path, home: &Path) -> Context {
    let path = search_path();
    let environment = Environment::from_pairs([("PATH", path.as_str()), ("HOME", home.to_str().unwrap())]);
    let global = Global { config_file: Some(config.to_path_buf()), ..Global::default() };
    let ui = Ui::new(Level::Error, false, false);
    Context::new(
        global,
        Verb::StandbySwitchover,
        vec![],
        environment,
        ui,
        Style::default(),
        pgbaton::commands::boxed_dispatch,
    )
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn greet(context: &Context, far_end: &FarEnd) -> Result<Hello, ChannelFailure> {
    block_on(Remote::open(context, far_end, SOON)).map(|(_, hello)| hello)
}

fn plan(steps: Vec<Step>, back: Vec<RollbackStep>, far_end: FarEnd) -> Plan {
    Plan {
        phases: vec![Phase {
            title: "work".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage: false,
            steps,
        }],
        rollback: back,
        back_failed: Exit::NoPrimary,
        far_ends: vec![far_end],
        ..Plan::nothing("try the far end")
    }
}

fn step(id: &str, op: Op) -> Step {
    Step::new(id, format!("do {id}"), op, 60, Exit::Switchover)
}

/// Carries a plan out as the commands do, without a journal.
fn carry_out(context: &Context, plan: &Plan, secrets: Secrets) -> Result<Outcome, Error> {
    block_on(async {
        let far_ends = FarEnds::open(context, plan, &EarlierRuns::default(), None).await?;
        let world = Live::new(context, secrets)?.with(far_ends);
        let outcome = run::run(plan, &EarlierRuns::default(), &world).await;
        world.release().await;
        Ok(outcome)
    })
}

// ---- identity ------------------------------------------------------------------------------------------------------

#[test]
fn a_far_end_identifies_itself_locally_and_over_ssh() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let server = cluster.primary("node1");
    let config = server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    let expected = Expected {
        system_identifier: Some(server.system_identifier()),
        data_directory: Some(server.data.clone()),
        restarts: true,
    };
    for reached in [local(&server), sshd.reached("key", &config)] {
        let far_end = node1(reached);
        let answer = greet(&context, &far_end);
        let found = checks::checks(&far_end, &expected, &answer);
        assert!(found.iter().all(|check| !check.stops()), "{found:?}");
        let hello = answer.unwrap();
        assert_eq!((hello.node_id, hello.node_name.as_str()), (1, "node1"));
        assert_eq!(hello.data_directory, server.data);
        assert_eq!(hello.user, hello.owner);
        let control = hello.control.unwrap();
        assert_eq!(control.system_identifier, server.system_identifier());
        assert_eq!(control.state, ControlState::InProduction);
        assert_eq!(hello.postmaster, server.postmaster().map(Pid::as_raw_nonzero).map(i32::from));
        assert_eq!((hello.major.as_deref(), hello.bindir.as_deref()), (Some("15"), Some(&*pg.bindir)));
        assert_eq!((hello.wal_log_hints, hello.checksums), (Some(true), Some(false)));
        let service = hello.service.unwrap();
        assert_eq!((service.starter, service.stopper), (Manager::PgCtl, Manager::PgCtl));
        assert!(service.start.program.ends_with("pg_ctl"), "{:?}", service.start);
        assert_eq!((hello.archive_ready, hello.has_upstream), (Some(0), Some(false)));
        assert_eq!((hello.unfinished, hello.locked_by), (None, None));
    }
    // No process stays behind.
    wait_for("the far ends to end", SOON, || far_end_processes(&server).is_empty());
}

/// Returns the one check that stops the operation.
#[track_caller]
fn refusal(context: &Context, far_end: &FarEnd, expected: &Expected) -> Check {
    let found = checks::checks(far_end, expected, &greet(context, far_end));
    let mut stops: Vec<Check> = found.into_iter().filter(Check::stops).collect();
    assert_eq!(stops.len(), 1, "{stops:?}");
    stops.remove(0)
}

#[test]
fn a_program_that_does_not_answer_as_a_far_end_is_an_error_that_says_why() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let server = cluster.primary("node1");
    let config = server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    let expected = Expected::default();
    let changed = |key: &str, change: &dyn Fn(&mut Reached)| {
        let mut reached = sshd.reached(key, &config);
        change(&mut reached);
        node1(reached)
    };
    let says = |check: &Check, exit: Exit, detail: &str, hint: &str| {
        assert_eq!(check.exit, exit, "{check:?}");
        assert!(check.detail.as_deref().unwrap_or_default().contains(detail), "{check:?}");
        assert!(check.hint.as_deref().unwrap_or_default().contains(hint), "{check:?}");
    };

    let hanging = changed("key", &|reached| {
        if let Reached::Ssh { options, .. } = reached {
            options.extend([
                "-o".into(),
                "ProxyCommand=sleep 600".into(),
                "-o".into(),
                "ConnectTimeout=600".into(),
            ]);
        }
    });
    let trouble = block_on(Remote::open(&context, &hanging, Duration::from_secs(1))).unwrap_err();
    assert!(matches!(trouble, ChannelFailure::Silent { seconds: 1, .. }), "{trouble:?}");
    let error = trouble.error(&hanging);
    assert_eq!(error.exit, Exit::Remote);
    assert!(
        error.hint.as_deref().unwrap().contains("'ProxyCommand=sleep 600'")
            || error.text.hint.unwrap().contains("ProxyCommand='sleep 600'")
    );
    wait_for("the hanging ssh to be gone", SOON, || sshd.clients().is_empty());

    let no_key = changed("host_key", &|_| {});
    says(&refusal(&context, &no_key, &expected), Exit::Remote, "Permission denied", "ssh -F none");
    let no_program = changed("key", &|reached| {
        if let Reached::Ssh { program, .. } = reached {
            *program = "/nowhere/pgbaton".into();
        }
    });
    let check = refusal(&context, &no_program, &expected);
    says(&check, Exit::Remote, "/nowhere/pgbaton", "pgbaton_bindir");
    assert_eq!(check.message, "there is no pgbaton on the host of node \"node1\"");
    let no_file = changed("key", &|reached| {
        if let Reached::Ssh { config_file, .. } = reached {
            *config_file = "/nowhere/it's.toml".into();
        }
    });
    says(&refusal(&context, &no_file, &expected), Exit::Remote, "/nowhere/it's.toml", "ssh");
    let noisy = changed("noisy", &|_| {});
    says(&refusal(&context, &noisy, &expected), Exit::Remote, "Welcome to db1", "start-up files");

    let fake = cluster.dir().join("fake");
    let answer = r#"{"number":1,"reply":{"hello":{"protocol":99,"pgbaton":"9.9.9","something":"else"}}}"#;
    std::fs::write(&fake, format!("#!/bin/sh\nread -r line\necho '{answer}'\nsleep 1\n")).unwrap();
    run_tool(Path::new("/bin/chmod"), ["755", fake.to_str().unwrap()]).code(0);
    let other = changed("key", &|reached| {
        if let Reached::Ssh { program, .. } = reached {
            *program = fake.display().to_string();
        }
    });
    says(
        &refusal(&context, &other, &expected),
        Exit::Remote,
        "version 9.9.9 with protocol 99",
        "same version",
    );

    // The version before this one, whose requests are others.
    let before = r#"{"number":1,"reply":{"hello":{"protocol":1,"pgbaton":"0.1.0","node_id":1}}}"#;
    std::fs::write(&fake, format!("#!/bin/sh\nread -r line\necho '{before}'\nsleep 1\n")).unwrap();
    let older = "version 0.1.0 with protocol 1";
    says(&refusal(&context, &other, &expected), Exit::Remote, older, "same version");

    // It answers, and is another than was meant.
    let mine = changed("key", &|reached| {
        if let Reached::Ssh { config_file, .. } = reached {
            *config_file = coordinator.config().display().to_string();
        }
    });
    says(&refusal(&context, &mine, &expected), Exit::Failed, "node \"node2\" (ID 2)", "--force");
    let foreign = Expected { system_identifier: Some("42".into()), ..Expected::default() };
    let check = refusal(&context, &node1(local(&server)), &foreign);
    says(&check, Exit::Failed, "the cluster has 42", "data_directory");
}

// ---- what it does --------------------------------------------------------------------------------------------------

#[test]
fn steps_and_queries_for_another_node_run_there() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let server = cluster.primary("node1");
    let config = server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    let file = server.dir.join("secret");
    let secrets = BTreeMap::from([("a secret".to_string(), Secret::new("geheim"))]);
    for reached in [local(&server), sshd.reached("key", &config)] {
        let parent = server.dir.join("ancestry");
        let look = format!(
            "/usr/bin/tr '\\0' ' ' </proc/$PPID/cmdline >{}; /usr/bin/env >{}.env",
            parent.display(),
            parent.display()
        );
        let write =
            Op::File(FileOp::WriteSecretFile { path: file.clone(), secret: "a secret".into(), mode: 0o600 });
        let at = |probe| Probe::At { node_id: 1, probe: Box::new(probe) };
        let steps = vec![
            step("write", write).at(1),
            step("look", Op::Run(Command::new("/bin/sh", ["-c", &look]))).at(1),
            step("see", Op::Wait(at(Probe::Exists { path: file.clone() }))),
            step(
                "up",
                Op::Wait(Probe::Not(Box::new(at(Probe::Stopped { data_directory: server.data.clone() })))),
            ),
        ];
        let outcome = carry_out(&context, &plan(steps, vec![], node1(reached)), secrets.clone()).unwrap();
        assert_eq!(outcome.ended, Ended::Done, "{:?}", outcome.failures);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "geheim");
        std::fs::remove_file(&file).unwrap();
        let by = std::fs::read_to_string(&parent).unwrap();
        assert!(by.contains("far-end -f") && !by.contains("geheim"), "{by}");
        let environment = std::fs::read_to_string(parent.with_extension("env")).unwrap();
        assert!(!environment.contains("geheim"), "{environment}");
    }
    // A failure there is the step's failure here.
    let steps = vec![step("fail", Op::Run(Command::new("/bin/sh", ["-c", "echo no >&2; exit 3"]))).at(1)];
    let outcome = carry_out(&context, &plan(steps, vec![], node1(local(&server))), Secrets::new()).unwrap();
    assert_eq!((outcome.ended, outcome.exit), (Ended::WentBack, Exit::Switchover));
    let detail = outcome.failures[0].error.detail.clone().unwrap();
    assert!(detail.contains("It exited with status 3: no"), "{detail}");
    // A step that takes too long is ended there.
    let mark = server.dir.join("too long");
    let script = format!("echo $$ >'{}'; sleep 600", mark.display());
    let mut long = step("long", Op::Run(Command::new("/bin/sh", ["-c", &script]))).at(1);
    long.timeout_s = 1;
    let outcome =
        carry_out(&context, &plan(vec![long], vec![], node1(local(&server))), Secrets::new()).unwrap();
    assert_eq!(outcome.exit, Exit::Switchover);
    let pid = std::fs::read_to_string(&mark).unwrap();
    wait_for("the shell to be ended", SOON, || {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
            .map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn only_files_that_configure_the_server_are_handed_over() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    block_on(async {
        let (remote, _) = Remote::open(&context, &node1(local(&server)), SOON).await.unwrap();
        for path in [server.data.join("postgresql.conf"), server.dir.join("server.conf")] {
            let file = remote.configuration_file(path.to_str().unwrap()).await.unwrap();
            assert_eq!(file.contents.reveal(), std::fs::read_to_string(&path).unwrap());
            assert_eq!(file.mode, path.metadata().unwrap().permissions().mode() & 0o777);
            assert!(!format!("{file:?}").contains("port"), "{file:?}");
        }
        let spelled = server.data.join("../server.conf").display().to_string();
        for path in ["/etc/passwd", "", server.config().to_str().unwrap(), &spelled] {
            let error = remote.configuration_file(path).await.unwrap_err();
            assert!(error.message.contains("does not read its configuration from"), "{error}");
        }
        server.stop(StopMode::Fast);
        let error = remote.configuration_file("/etc/passwd").await.unwrap_err();
        assert_eq!(error.exit, Exit::Connection, "{error}");
    });
}

#[test]
fn a_far_end_is_locked_only_while_an_operation_runs() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    let plan = plan(vec![], vec![], node1(local(&server)));
    let state = server.dir.join("state");
    block_on(async {
        let past = EarlierRuns::default();
        let first = FarEnds::open(&context, &plan, &past, None).await.unwrap();
        let error = FarEnds::open(&context, &plan, &past, None).await.unwrap_err();
        assert_eq!(error.exit, Exit::Busy);
        let detail = error.text.detail.unwrap();
        assert!(detail.contains("\"pgbaton standby switchover\""), "{detail}");
        server.pgbaton(["node", "reload", "--json"]).run().code(30);
        first.release().await;
        // At once, although its channel is open still.
        assert_eq!(LocalLock::holder(&state).unwrap(), None);
        FarEnds::open(&context, &plan, &past, None).await.unwrap();
    });
    // Without a word to it.
    wait_for("the lock to be given back", SOON, || LocalLock::holder(&state).unwrap().is_none());
}

#[test]
fn signals_do_not_interrupt_what_a_far_end_has_started() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    let (go, begun) = (server.dir.join("go"), server.dir.join("begun"));
    let script = format!("touch {}; while [ ! -e {} ]; do sleep 0.05; done", begun.display(), go.display());
    let steps = vec![step("slow", Op::Run(Command::new("/bin/sh", ["-c", &script]))).at(1)];
    let plan = plan(steps, vec![], node1(local(&server)));
    let signals = std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            wait_for("the step to begin", SOON, || begun.exists());
            let pids = far_end_processes(&server);
            for pid in &pids {
                for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::PIPE] {
                    kill_process(*pid, signal).unwrap();
                }
            }
            std::fs::write(&go, "").unwrap();
            pids.len()
        });
        let outcome = carry_out(&context, &plan, Secrets::new()).unwrap();
        assert_eq!(outcome.ended, Ended::Done, "{:?}", outcome.failures);
        sent.join().unwrap()
    });
    assert_eq!(signals, 1);
}

// ---- requests that come too late ------------------------------------------------------------------------------------

/// A far end that the test speaks to by itself, a line at a time.
struct Spoken {
    child: std::process::Child,
    answers: std::io::BufReader<std::process::ChildStdout>,
    number: u64,
}

impl Spoken {
    fn to(server: &TestServer) -> Self {
        let mut command = clean_command(Path::new(PGBATON));
        command.args(["far-end", "-f"]).arg(server.config());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut spoken = Self { child, answers, number: 0 };
        spoken.say(&Call::Hello);
        assert!(matches!(spoken.hear(), Reply::Hello(_)));
        spoken
    }

    fn say(&mut self, call: &Call) {
        self.number += 1;
        let frame = serde_json::to_string(&Frame::Call { number: self.number, call: call.clone() }).unwrap();
        writeln!(self.child.stdin.as_mut().unwrap(), "{frame}").unwrap();
    }

    fn hear(&mut self) -> Reply {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str::<ResponseLine<Reply>>(&line).unwrap().reply
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn a_request_after_a_silence_is_void_and_so_are_later_ones() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let file = server.dir.join("written");
    let write = Op::File(FileOp::WriteFile { path: file.clone(), contents: String::new(), mode: 0o600 });
    let perform = Call::Perform { step: Box::new(step("write", write)), secrets: BTreeMap::new() };
    let exists = Probe::Exists { path: file.clone() };
    let ask = Call::Holds { probe: Box::new(exists), secrets: BTreeMap::new() };
    // The coordinator says nothing; or the far end is stopped, and what was said in time is read too late.
    for stopped in [false, true] {
        let mut far_end = Spoken::to(&server);
        if stopped {
            far_end.signal(Signal::STOP);
            far_end.say(&perform);
        }
        std::thread::sleep(VOID + Duration::from_millis(100));
        if stopped {
            far_end.signal(Signal::CONT);
        } else {
            far_end.say(&perform);
        }
        assert!(matches!(far_end.hear(), Reply::Void));
        // A question has its answer still, and nothing is changed any more.
        far_end.say(&ask);
        assert!(matches!(far_end.hear(), Reply::Holds(false)));
        far_end.say(&perform);
        assert!(matches!(far_end.hear(), Reply::Void));
        assert!(!file.exists());
    }
    let mut far_end = Spoken::to(&server);
    far_end.say(&perform);
    assert!(matches!(far_end.hear(), Reply::Done { .. }));
    assert!(file.exists());
}

// ---- the second channel --------------------------------------------------------------------------------------------

#[test]
fn the_second_channel_terminates_the_other_far_ends_and_leaves_a_standby_or_nothing() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let (server, other) = (cluster.primary("node1"), cluster.primary("node3"));
    let config = server.node_config(1, "");
    other.node_config(3, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    let signal = server.data.join("standby.signal");
    let there = node1(local(&server));
    let lock = Call::Lock { command: "standby switchover".into() };

    // One that is stopped and holds the lock, under another spelling of the file; one that serves another node; a process that only has
    // the same words.
    std::os::unix::fs::symlink(&config, server.dir.join("link.toml")).unwrap();
    let mut holder = Spoken::to(&server);
    holder.say(&lock);
    assert!(matches!(holder.hear(), Reply::Done { .. }));
    holder.signal(Signal::STOP);
    let mut linked = clean_command(Path::new(PGBATON));
    linked.args(["far-end", "-f"]).arg(server.dir.join("link.toml")).stdin(Stdio::piped());
    let mut linked = linked.spawn().unwrap();
    let mut elsewhere = Spoken::to(&other);
    let mut decoy = clean_command(Path::new("/bin/sh"));
    decoy.args(["-c", "sleep 600", "far-end", "-f"]).arg(&config).stdin(Stdio::piped());
    let mut decoy = decoy.spawn().unwrap();

    block_on(async {
        // Only to look changes nothing.
        let (remote, _) = Remote::open(&context, &there, SOON).await.unwrap();
        let secured = remote.secure(true).await.unwrap();
        assert!(matches!(secured.server, ServerState::Running(_)), "{secured:?}");
        assert!(holder.child.try_wait().unwrap().is_none());
        drop(remote);
        // A primary that runs is left as it is.
        let (remote, secured) = secured_at(&context, &there).await;
        assert!(
            matches!(&secured.server, ServerState::Running(why) if why.contains("as a primary")),
            "{secured:?}"
        );
        assert!(!secured.wrote_signal && !signal.exists());
        assert!(holder.child.try_wait().unwrap().is_some());
        wait_for("the far end to be ended", SOON, || linked.try_wait().unwrap().is_some());
        assert!(elsewhere.child.try_wait().unwrap().is_none());
        assert!(decoy.try_wait().unwrap().is_none());
        let holder = LocalLock::holder(&server.dir.join("state")).unwrap().unwrap();
        assert_eq!(holder.command, "standby switchover");
        drop(remote);
    });
    decoy.kill().unwrap();
    decoy.wait().unwrap();
    elsewhere.say(&Call::Ping);
    assert!(matches!(elsewhere.hear(), Reply::Done { .. }));
    wait_for("the lock to be given back", SOON, || {
        LocalLock::holder(&server.dir.join("state")).unwrap().is_none()
    });

    // Another operation runs there.
    let me =
        LocalLockHolder { pid: std::process::id(), command: "node start".into(), started_at: clock::now() };
    let taken = block_on(LocalLock::acquire(&server.dir.join("state"), &me)).unwrap();
    server.stop(StopMode::Immediate);
    let refused = block_on(secured(&context, &there, SOON)).unwrap_err();
    assert_eq!(refused.exit, Exit::Busy);
    assert!(!signal.exists());
    drop(taken);

    // It is down: started now, it comes up as a standby. With nothing promoted, that is undone.
    block_on(async {
        let (remote, secured) = secured_at(&context, &there).await;
        assert_eq!(secured, Secured { server: ServerState::Down, wrote_signal: true, lacks: None });
        assert!(signal.exists());
        remote.unsecure().await.unwrap();
        assert!(!signal.exists());
        // What was there before stays.
        std::fs::write(&signal, "").unwrap();
        let again = remote.secure(false).await.unwrap();
        assert_eq!(again, Secured { server: ServerState::Down, wrote_signal: false, lacks: None });
        remote.unsecure().await.unwrap();
        assert!(signal.exists());
        drop(remote);
    });
    server.start();
    block_on(async {
        let (_remote, secured) = secured_at(&context, &there).await;
        assert_eq!(secured, Secured { server: ServerState::Standby, wrote_signal: false, lacks: None });
    });
}

async fn secured_at(context: &Context, far_end: &FarEnd) -> (Remote, Secured) {
    secured(context, far_end, SOON).await.unwrap()
}

// ---- left alone ----------------------------------------------------------------------------------------------------

/// Not a test: the coordinator of the tests below, in a process of its own that can be killed.
#[test]
#[ignore = "started by other tests"]
fn driver() {
    let Some(config) = std::env::var_os("FAR_END_CONFIG").map(PathBuf::from) else { return };
    let context = context_of(&config, config.parent().unwrap());
    if let Ok(plan) = std::env::var("FAR_END_PLAN") {
        let plan: Plan = serde_json::from_str(&std::fs::read_to_string(plan).unwrap()).unwrap();
        let outcome = carry_out(&context, &plan, Secrets::new()).unwrap();
        std::process::exit(i32::from(outcome.exit.code()));
    }
    let far_end: FarEnd = serde_json::from_str(&std::env::var("FAR_END").unwrap()).unwrap();
    let words: Vec<String> = std::env::var("FAR_END_WORDS").unwrap().split(' ').map(str::to_string).collect();
    let code = match block_on(named_node::run_on_host(&context, &far_end, &words)) {
        Ok(report) => report.exit.code(),
        Err(error) => {
            eprintln!("{error}");
            error.exit.code()
        }
    };
    std::process::exit(i32::from(code));
}

fn drive(coordinator: &TestServer, variables: &[(&str, &str)]) -> Running {
    let mut command = clean_command(&std::env::current_exe().unwrap());
    command.args(["--exact", "far_end::driver", "--ignored", "--nocapture"]);
    command.env("FAR_END_CONFIG", coordinator.config()).envs(variables.iter().copied());
    Running::start(command)
}

/// A switchover that is stopped in its middle: node1 has been asked to stop, and after `more` the coordinator times out.
fn stopped_plan(server: &TestServer, reached: Reached, more: Vec<Step>) -> Plan {
    let data = server.data.clone();
    let signal = data.join("standby.signal");
    let pg_ctl = server.pg.tool("pg_ctl").display().to_string();
    let log = server.dir.join("log/back.log");
    let start = Command {
        log: Some(log.clone()),
        ..Command::new(pg_ctl, ["start", "-w", "-D", data.to_str().unwrap(), "-l", log.to_str().unwrap()])
    };
    let back = |id: &str, op: Op, if_started: &str| RollbackStep {
        if_started: vec![if_started.to_string()],
        step: step(id, op).at(1),
    };
    let no_arguments: [&str; 0] = [];
    let mut steps = vec![
        step(
            "demote",
            Op::File(FileOp::WriteFile { path: signal.clone(), contents: String::new(), mode: 0o600 }),
        )
        .at(1),
        step("stop", Op::Signal { data_directory: data.clone(), request: SignalRequest::FastShutdown }).at(1),
    ];
    steps.extend(more);
    steps.push(step("never", Op::Wait(Probe::Exists { path: server.dir.join("never") })));
    steps.push(step("later", Op::Run(Command::new("/bin/true", no_arguments))));
    let rollback = vec![
        back("not_needed", Op::File(FileOp::RemoveFile { path: "/nowhere/x".into() }), "later"),
        back("revive", Op::RestartAsPrimary { data_directory: data, start }, "demote"),
    ];
    plan(steps, rollback, node1(reached))
}

/// Adds a step that is tried although it fails, before the one that counts.
fn with_failure(mut plan: Plan) -> Plan {
    let no_arguments: [&str; 0] = [];
    let fails = step("fails", Op::Run(Command::new("/bin/false", no_arguments))).at(1);
    plan.rollback.insert(0, RollbackStep { if_started: vec!["stop".into()], step: fails });
    plan
}

/// Lets the coordinator wait no longer than this.
fn waiting(mut plan: Plan, timeout_s: u32) -> Plan {
    let never = plan.phases[0].steps.iter_mut().find(|step| step.id == "never").unwrap();
    never.timeout_s = timeout_s;
    plan
}

fn begin(coordinator: &TestServer, plan: &Plan) -> Running {
    let path = coordinator.dir.join("plan.json");
    std::fs::write(&path, serde_json::to_string(plan).unwrap()).unwrap();
    drive(coordinator, &[("FAR_END_PLAN", path.to_str().unwrap())])
}

fn is_primary(server: &TestServer) -> bool {
    let said = server.try_psql_as("postgres", "postgres", "SELECT pg_is_in_recovery()");
    said.stdout.trim() == "f"
}

fn log(server: &TestServer) -> String {
    std::fs::read_to_string(server.dir.join("state/far-end.log")).unwrap_or_default()
}

/// Waits until the far end has ended, and says whether its server runs.
#[track_caller]
fn runs_after_the_end(server: &TestServer) -> bool {
    wait_for("the far end to end", SOON, || far_end_processes(server).is_empty());
    assert_eq!(LocalLock::holder(&server.dir.join("state")).unwrap(), None);
    server.is_running()
}

#[track_caller]
fn went_back(server: &TestServer) {
    wait_for("the server to be a primary again", SOON, || is_primary(server));
    assert!(!server.data.join("standby.signal").exists());
    assert!(runs_after_the_end(server));
    let log = log(server);
    for line in ["done: do revive", "the rollback has ended"] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    assert!(!log.contains("not_needed"), "{log}");
}

#[test]
fn a_far_end_disconnected_before_it_reports_the_shutdown_rolls_back_by_itself() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let server = cluster.primary("node1");
    let config = server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    for reached in [local(&server), sshd.reached("key", &config)] {
        let before = server.postmaster();
        let running = begin(&coordinator, &with_failure(stopped_plan(&server, reached, vec![])));
        wait_for("the server to be stopped", SOON, || !server.is_running());
        running.signal(Signal::KILL);
        went_back(&server);
        assert_ne!(server.postmaster(), before);
        let log = log(&server);
        assert!(log.contains("could not do fails"), "{log}");
        std::fs::remove_file(server.dir.join("state/far-end.log")).unwrap();
    }
}

#[test]
fn a_lost_connection_is_reopened_for_the_rollback() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let server = cluster.primary("node1");
    let config = server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let plan = waiting(stopped_plan(&server, sshd.reached("key", &config), vec![]), 2);
    let running = begin(&coordinator, &plan);
    wait_for("the server to be stopped", SOON, || !server.is_running());
    for pid in sshd.clients() {
        kill_process(pid, Signal::KILL).unwrap();
    }
    // The coordinator finds the state that it needs.
    running.wait(SOON).code(i32::from(Exit::Switchover.code()));
    went_back(&server);

    // After its report the far end has done nothing, and what has to be done is done over the second connection.
    let is_down = Probe::ShutDown { data_directory: server.data.clone() };
    let down = step("down", Op::Wait(Probe::At { node_id: 1, probe: Box::new(is_down) }));
    std::fs::remove_file(server.dir.join("state/far-end.log")).unwrap();
    let informed = coordinator.dir.join("informed");
    let mark = step(
        "informed",
        Op::File(FileOp::WriteFile { path: informed.clone(), contents: String::new(), mode: 0o600 }),
    );
    let plan = stopped_plan(&server, sshd.reached("key", &config), vec![down, mark]);
    let running = begin(&coordinator, &waiting(plan, 3));
    wait_for("the coordinator to have been informed", SOON, || informed.exists());
    for pid in sshd.clients() {
        kill_process(pid, Signal::KILL).unwrap();
    }
    running.wait(SOON).code(i32::from(Exit::Switchover.code()));
    assert!(is_primary(&server));
    assert!(runs_after_the_end(&server));
    assert_eq!(log(&server), "");
}

#[test]
fn a_silent_coordinator_counts_as_gone() {
    let Some(pg) = postgres(15) else { return };
    if !slow() {
        return;
    }
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let running = begin(&coordinator, &stopped_plan(&server, local(&server), vec![]));
    wait_for("the server to be stopped", SOON, || !server.is_running());
    // Its end of the pipe stays open.
    running.signal(Signal::STOP);
    went_back(&server);
}

#[test]
fn after_reporting_the_shutdown_a_far_end_does_nothing_unasked() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let server = cluster.primary("node1");
    let config = server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let informed = coordinator.dir.join("informed");
    let mark = || {
        step(
            "informed",
            Op::File(FileOp::WriteFile { path: informed.clone(), contents: String::new(), mode: 0o600 }),
        )
    };
    let data = server.data.clone();
    let at = |probe| Op::Wait(Probe::At { node_id: 1, probe: Box::new(probe) });
    let shut_down = || step("down", at(Probe::ShutDown { data_directory: data.clone() }));
    // In the same breath as the promotion: it is abandoned here for lack of anything to promote, and says no more than that it is past.
    let committed = || {
        step(
            "commit",
            Op::File(FileOp::WriteFile { path: informed.clone(), contents: String::new(), mode: 0o600 }),
        )
        .no_return()
        .on_resume(OnResume::AgainUnless(Probe::Exists { path: informed.clone() }))
    };
    let gone = || step("stopped", at(Probe::Stopped { data_directory: data.clone() }));
    for (reached, more) in [
        (local(&server), vec![shut_down(), mark()]),
        (sshd.reached("key", &config), vec![shut_down(), mark()]),
        // Not reported, but lost before the point of no return.
        (local(&server), vec![gone(), committed()]),
    ] {
        let running = begin(&coordinator, &stopped_plan(&server, reached, more));
        wait_for("the coordinator to have been informed", SOON, || informed.exists());
        running.signal(Signal::KILL);
        assert!(!runs_after_the_end(&server), "{}", log(&server));
        assert_eq!(log(&server), "");
        std::fs::remove_file(&informed).unwrap();
        std::fs::remove_file(server.data.join("standby.signal")).unwrap();
        server.start();
    }
}

#[test]
fn a_disconnected_far_end_does_not_start_a_second_primary() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (server, promoted) = (nodes.node(1), nodes.node(2));
    let coordinator = nodes.cluster.empty("node3");
    coordinator.node_config(3, "");
    let running = begin(&coordinator, &stopped_plan(server, local(server), vec![]));
    wait_for("the server to be stopped", SOON, || !server.is_running());
    // Meanwhile, by an operator who sees no primary.
    promoted.psql("SELECT pg_promote()");
    running.signal(Signal::KILL);
    assert!(!runs_after_the_end(server), "{}", log(server));
    assert!(server.data.join("standby.signal").exists());
    let log = log(server);
    assert!(log.contains("was not made a primary again") && log.contains("node2"), "{log}");
    assert_eq!(nodes.primaries(), ["node2"]);

    // The same where the coordinator itself asks for it.
    let plan = waiting(stopped_plan(server, local(server), vec![]), 1);
    server.start();
    let outcome = carry_out(&context(&coordinator), &plan, Secrets::new()).unwrap();
    assert_eq!((outcome.ended, outcome.exit), (Ended::BackFailed, Exit::NoPrimary), "{:?}", outcome.failures);
    assert!(!server.is_running() && server.data.join("standby.signal").exists());
    assert_eq!(nodes.primaries(), ["node2"]);
}

#[test]
fn a_start_whose_far_end_is_terminated_before_it_begins_results_in_a_standby() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    let (begun, go) = (server.dir.join("starting"), server.dir.join("go"));
    let mut plan = stopped_plan(&server, local(&server), vec![]);
    let revive = plan.rollback.iter_mut().find(|back| back.step.id == "revive").unwrap();
    let Op::RestartAsPrimary { start, .. } = &mut revive.step.op else { panic!() };
    let line = format!(
        "touch {}; until [ -e {} ]; do sleep 0.05; done; exec {start}",
        begun.display(),
        go.display()
    );
    *start = Command { log: start.log.clone(), ..Command::new("/bin/sh", ["-c", &line]) };
    let running = begin(&coordinator, &plan);
    wait_for("the server to be stopped", SOON, || !server.is_running());
    running.signal(Signal::KILL);
    wait_for("the start to begin", SOON, || begun.exists());
    assert!(!server.data.join("standby.signal").exists());
    block_on(async {
        let (_remote, secured) = secured_at(&context, &node1(local(&server))).await;
        assert_eq!(secured, Secured { server: ServerState::Down, wrote_signal: true, lacks: None });
        std::fs::write(&go, "").unwrap();
        wait_for("the server to be up", SOON, || server.is_running());
        server.wait_until("SELECT pg_is_in_recovery()", "t", SOON);
    });
    assert!(far_end_processes(&server).is_empty() || runs_after_the_end(&server));
    assert!(!is_primary(&server));
}

#[test]
fn a_coordinator_that_rolls_back_itself_leaves_nothing_to_the_far_end() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let plan = waiting(stopped_plan(&server, local(&server), vec![]), 1);
    let outcome = carry_out(&context(&coordinator), &plan, Secrets::new()).unwrap();
    assert_eq!((outcome.ended, outcome.exit), (Ended::WentBack, Exit::Switchover), "{:?}", outcome.failures);
    assert!(is_primary(&server));
    assert!(runs_after_the_end(&server));
    assert_eq!(log(&server), "");
}

#[test]
fn a_resumed_operation_opens_its_channels_again() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let file = server.dir.join("resumed");
    let begun = |id: &str, reached: Reached| {
        let write = Op::File(FileOp::WriteFile { path: file.clone(), contents: String::new(), mode: 0o600 });
        let header = Header {
            format: journal::FORMAT,
            pgbaton: "0.1.0".into(),
            operation_id: id.into(),
            command: "standby switchover".into(),
            command_line: vec![],
            started_at: clock::now(),
            node_id: 2,
            node_name: "node2".into(),
            system_identifier: None,
            pid: 1,
            plan: plan(
                vec![step("begin", Op::File(FileOp::RemoveFile { path: server.dir.join("nothing") }))],
                vec![RollbackStep { if_started: vec!["begin".into()], step: step("write", write).at(1) }],
                node1(reached),
            ),
        };
        // Interrupted during its rollback, which is continued.
        let mut journal = Journal::create(&coordinator.dir.join("state"), &header).unwrap();
        let (stage, mark, at) = (journal::Stage::Forward, journal::Mark::Started, clock::now());
        let started = journal::Record::Mark { step: "begin".into(), stage, mark, at };
        journal.append(&started, journal::Flush::Now).unwrap();
        let back = journal::Record::GoingBack { exit: Exit::Switchover, at };
        journal.append(&back, journal::Flush::Now).unwrap();
        coordinator.dir.join(format!("state/operations/{id}.jsonl"))
    };
    let gone = Reached::Local { program: "/nowhere/pgbaton".into(), config_file: String::new() };
    let path = begun("1", gone);
    let before = std::fs::read_to_string(&path).unwrap();
    let refused = coordinator.pgbaton(["operation", "resume", "--json"]).run();
    refused.code(12).says("/nowhere/pgbaton").says("Nothing was changed.");
    assert_eq!(refused.json()["changed"], false);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    // What is at work there may start the server as a primary, so that it is not passed over in silence.
    let refused = coordinator.pgbaton(["operation", "abandon"]).run();
    refused.code(12).says("was not abandoned").says("Nothing was changed.").says("--force");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    let given_up = coordinator.pgbaton(["operation", "abandon", "--force", "--json"]).run();
    given_up.code(0).says("overridden by --force");

    // A process works there, perhaps the far end of the earlier run in its rollback: nothing is done without the lock.
    let path = begun("2", local(&server));
    std::fs::create_dir(server.dir.join("state")).unwrap();
    let before = std::fs::read_to_string(&path).unwrap();
    let me = LocalLockHolder {
        pid: std::process::id(),
        command: "standby switchover".into(),
        started_at: clock::now(),
    };
    let lock = block_on(LocalLock::acquire(&server.dir.join("state"), &me)).unwrap();
    for verb in ["resume", "abandon"] {
        let refused = coordinator.pgbaton(["operation", verb]).run();
        refused.code(30).says("is running").says("Nothing was changed.");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    }
    drop(lock);
    coordinator.pgbaton(["operation", "resume", "--json"]).run().code(18);
    assert!(file.exists());
}

// ---- where a node is -----------------------------------------------------------------------------------------------

fn row(server: &TestServer, conninfo: String) -> NodeRow {
    NodeRow {
        node_id: 1,
        upstream_node_id: None,
        active: true,
        node_name: "node1".into(),
        node_type: NodeType::Primary,
        location: "default".into(),
        priority: 100,
        conninfo,
        repluser: "repmgr".into(),
        slot_name: None,
        config_file: server.config().display().to_string(),
    }
}

fn facts(context: &Context, server: &TestServer) -> ServerFacts {
    block_on(async {
        let session = context.connect(&Conninfo::parse(&server.conninfo()).unwrap()).await.unwrap();
        server::query_server_facts(&session).await.unwrap()
    })
}

#[test]
fn a_node_is_local_only_if_that_is_proven() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "ssh_options = \"-p 2222\"\npgbaton_bindir = \"/opt/pgbaton\"");
    let context = context(&coordinator);
    let known = facts(&context, &server);
    let identifier = server.system_identifier();
    let there = row(&server, server.conninfo());
    let location = |row, server, identifier, ssh_host| {
        let known = NodeLocation { row, server, system_identifier: identifier, ssh_host };
        block_on(node_location::far_end(&context, &known))
    };
    let is_local = |found: Result<FarEnd, Error>| matches!(found.unwrap().reached, Reached::Local { .. });
    assert!(is_local(location(&there, Some(&known), None, None)));
    // Another server of the same cluster answers under that name: what lies here is a copy.
    let later = ServerFacts { started_at: "2037-01-01 10:00:00.5+02".into(), ..known.clone() };
    let found = location(&there, Some(&later), None, None).unwrap();
    let ssh = |destination: &str| Reached::Ssh {
        destination: destination.into(),
        options: vec!["-p".into(), "2222".into()],
        program: "/opt/pgbaton/pgbaton".into(),
        config_file: there.config_file.clone(),
    };
    assert_eq!(found.reached, ssh("127.0.0.1"));
    let foreign = ServerFacts { system_identifier: "42".into(), ..known.clone() };
    assert!(!is_local(location(&there, Some(&foreign), None, None)));

    server.stop(StopMode::Fast);
    assert!(!is_local(location(&there, Some(&known), None, None)));
    assert!(is_local(location(&there, None, Some(&identifier), None)));
    assert!(!is_local(location(&there, None, Some("42"), None)));
    // RFC 5737: an address that is never assigned.
    let elsewhere = row(&server, "host=192.0.2.1 user=repmgr".into());
    assert_eq!(location(&elsewhere, None, Some(&identifier), None).unwrap().reached, ssh("192.0.2.1"));
    let by_row = location(&elsewhere, None, Some(&identifier), Some("postgres@db1")).unwrap();
    assert_eq!(by_row.reached, ssh("postgres@db1"));
    let other_id = NodeRow { node_id: 7, ..there.clone() };
    assert!(!is_local(location(&other_id, None, Some(&identifier), None)));
    let nowhere = NodeRow { config_file: "/nowhere".into(), ..row(&server, "host=/tmp".into()) };
    let error = location(&nowhere, None, Some(&identifier), None).unwrap_err();
    assert!(error.text.hint.unwrap().contains("INSERT INTO pgbaton.node"));
}

/// Two containers that share the file system and the processes: what is started from here would run in the wrong network.
#[test]
fn a_node_whose_server_runs_in_another_network_is_not_local() {
    let Some(pg) = postgres(15) else { return };
    if !can_unshare() {
        return;
    }
    let cluster = TestCluster::new(&pg);
    let server = cluster.primary("node1");
    server.node_config(1, "");
    let coordinator = coordinator(&cluster, "");
    let context = context(&coordinator);
    let there = row(&server, server.conninfo());
    let identifier = server.system_identifier();
    let known = facts(&context, &server);
    // As it says itself, were it asked through a socket in the directory that both see.
    let now = || {
        let text = std::fs::read_to_string(server.data.join("postmaster.pid")).unwrap();
        let started = text.lines().nth(2).unwrap().parse().unwrap();
        let started_at = jiff::Timestamp::from_second(started).unwrap().to_string();
        ServerFacts { started_at, ..known.clone() }
    };
    let is_local = |server: Option<&ServerFacts>| {
        let known =
            NodeLocation { row: &there, server, system_identifier: Some(&identifier), ssh_host: None };
        let found = block_on(node_location::far_end(&context, &known)).unwrap();
        matches!(found.reached, Reached::Local { .. })
    };
    assert!(is_local(Some(&now())) && is_local(None));
    server.stop(StopMode::Fast);
    let mut start = clean_command(&pg.tool("pg_ctl"));
    start.args(["-w", "-t", "60", "-D"]).arg(&server.data).arg("-l").arg(server.dir.join("log/apart.log"));
    start.arg("start");
    // Nothing waits for its output, which the server keeps open.
    let mut start = behind_network(&start, "ip link set lo up");
    start.stdout(Stdio::null()).stderr(Stdio::null());
    let status = start.status().unwrap();
    assert!(status.success() && server.is_running());
    assert!(!is_local(Some(&now())));
    assert!(!is_local(None));
    server.stop(StopMode::Fast);
    server.start();
    assert!(is_local(Some(&now())));
}

#[test]
fn a_command_is_handed_over_with_its_answer_and_its_exit_code() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let server = cluster.primary("node1");
    let config = server.node_config(1, "");
    server.pgbaton(["primary", "register"]).run().code(0);
    let coordinator = coordinator(&cluster, "");
    let hand_over = |reached: Reached, words: &str| -> Output {
        let far_end = serde_json::to_string(&node1(reached)).unwrap();
        drive(&coordinator, &[("FAR_END", &far_end), ("FAR_END_WORDS", words)]).wait(SOON)
    };
    let documents = |output: &Output| -> Vec<serde_json::Value> {
        let lines = output.stdout.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for reached in [local(&server), sshd.reached("key", &config)] {
        let output = hand_over(reached.clone(), "node status --json --node-id 1 -f /elsewhere --node-name=x");
        output.code(0);
        let [document] = &documents(&output)[..] else { panic!("{output:?}") };
        assert_eq!((&document["command"], &document["exit_code"]), (&"node status".into(), &0.into()));
        let output = hand_over(reached.clone(), "operation resume --json");
        output.code(1).says("no operation is unfinished on this node");
        assert_eq!(documents(&output).len(), 1);
        let output = hand_over(reached, "node status");
        output.code(0);
        assert!(output.stdout.contains("node1"), "{output:?}");
    }
    let output = hand_over(sshd.reached("host_key", &config), "node status --json");
    output.code(12).says("cannot be reached");
    assert_eq!(documents(&output).len(), 0, "it is for the caller to report");
    let output = hand_over(local(&server), "node rejoin -d password=********");
    output.code(1).says("cannot be handed");
}
