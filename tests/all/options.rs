//! The options that say where: every command acts on the node that is named, or does nothing.

use pgbaton::verb::{NodeOption, OptionGroup, Verb};

use crate::support::{Nodes, Output, postgres};

/// Words that a command takes at least, and those that keep it from changing anything.
fn words(verb: Verb) -> Vec<&'static str> {
    let mut words: Vec<&str> = verb.words().split(' ').collect();
    match verb.words() {
        "completions" => words.push("bash"),
        "node service" => words.push("--action=stop"),
        "operation cleanup" => words.push("--newest=100"),
        _ => {}
    }
    if verb.has(OptionGroup::DryRun) {
        words.push("--dry-run");
    }
    words
}

/// A command that answers by its exit code has a code of its own for everything else.
fn refusal(verb: Verb) -> i32 {
    if ["cluster check", "node guard"].contains(&verb.words()) { 3 } else { 1 }
}

#[test]
fn every_command_acts_on_the_node_that_is_named_or_on_none() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    // So that "operation show" has one.
    two.pgbaton(["standby", "register", "--force"]).run().code(0);
    let servers = || (one.postmaster(), two.postmaster());
    let before = servers();
    let there = format!("-f {}", two.config().display());
    for verb in Verb::ALL {
        let run = |more: &[&str]| -> Output { one.pgbaton(words(verb)).args(more).args(["-v"]).run() };
        for more in [["--node-id", "2"], ["--node-name", "node2"]] {
            let output = run(&more);
            match verb.traits().node {
                NodeOption::HandedOver => {
                    assert!(output.stderr.contains(&there), "{verb:?} was not handed over: {output:?}");
                    assert!(!output.stderr.contains("cannot be used"), "{verb:?}: {output:?}");
                }
                NodeOption::Subject => {
                    let said = format!("{}{}", output.stdout, output.stderr);
                    assert!(!said.contains("cannot be used"), "{verb:?}: {output:?}");
                    let other =
                        said.contains("\"node1\" (ID 1) is") || said.contains("unregister node \"node1\"");
                    assert!(!other, "{verb:?}: {output:?}");
                }
                NodeOption::Local => {
                    output.code(refusal(verb)).says("acts on the local node only");
                }
                NodeOption::Meaningless => {
                    output.code(refusal(verb)).says("cannot be used with");
                }
            }
        }
        for more in [["--node-id", "9"], ["--node-name", "nobody"]] {
            let output = run(&more);
            match (verb.traits().node, verb.words()) {
                // Events and monitoring records of a node that is gone are still there.
                (NodeOption::Subject, "cluster event" | "cluster cleanup") => {
                    let shown = output.stdout.contains("node1") || output.stdout.contains("node2");
                    assert!(!shown, "{verb:?}: {output:?}");
                }
                (NodeOption::HandedOver | NodeOption::Subject, _) => {
                    output.code(1).says("is not registered");
                }
                _ => {
                    output.code(refusal(verb));
                }
            }
        }
        // The local node may be named, too. The daemon would begin its work.
        if verb != Verb::DaemonRun && verb.traits().node != NodeOption::Meaningless {
            let output = run(&["--node-id", "1", "--node-name", "node1"]);
            for said in ["cannot be used", "acts on the local", "is not registered", &there] {
                assert!(!output.stderr.contains(said), "{verb:?}: {output:?}");
            }
        }
        // A server elsewhere: what does not connect there refuses.
        if !verb.has(OptionGroup::Connection) {
            let output = run(&["-h", "127.0.0.1", "-p", &two.port.to_string()]);
            output.code(refusal(verb)).says("cannot be used with");
        }
        assert_eq!(servers(), before, "{verb:?}");
    }
    assert_eq!(nodes.primaries(), ["node1"]);

    // And really.
    let run = |words: &[&str], code| {
        one.pgbaton(words).run().code(code);
    };
    run(&["node", "stop", "--node-id", "2"], 0);
    assert!(one.is_running() && !two.is_running());
    run(&["node", "start", "--node-name", "node2"], 0);
    assert!(two.is_running());
    run(&["node", "restart", "--node-id", "2"], 0);
    let after = servers();
    assert_eq!(after.0, before.0, "node1 was restarted");
    assert_ne!(after.1, before.1);
    run(&["node", "service", "--action=stop", "--node-id=2"], 0);
    assert!(one.is_running() && !two.is_running());
    run(&["node", "stop", "--node-id", "1", "--node-name", "node2"], 1);
    assert!(one.is_running());
    run(&["node", "start", "--node-id", "2"], 0);
}
