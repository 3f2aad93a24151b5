use super::*;
use crate::error::Error;
use crate::journal::{Flush, Record};
use crate::operation::conclusion::conclude;
use crate::operation::outcome::{Ended, Narration, Outcome};
use crate::operation::run::Signal;
use crate::operation::scripted::commands::{NOTHING, Node2, PROMOTE, SWITCHOVER};
use crate::operation::scripted::servers::{Servers, State};
use crate::operation::scripted::{Moment, ScriptedWorld, Trouble};
use crate::plan::Step;
use crate::verb::Verb;

const TROUBLES: [Trouble; 6] = [
    Trouble::Fails,
    Trouble::FailsAfterEffect,
    Trouble::Hangs,
    Trouble::HangsAfterEffect,
    Trouble::Sent(Signal::Int, Moment::AfterStarted),
    Trouble::Sent(Signal::Int, Moment::AfterEffect),
];

fn begin(verb: Verb) -> (Node2, Plan) {
    let world = if verb == SWITCHOVER {
        ScriptedWorld::healthy()
    } else {
        ScriptedWorld::without_primary(State::Down)
    };
    let node2 = Node2::new(world, verb);
    let plan = node2.planned(NOTHING).unwrap();
    assert_eq!(plan.defect(), None);
    (node2, plan)
}

/// Holds what was said against what is.
fn compare(world: &ScriptedWorld<Servers>, plan: &Plan, outcome: &mut Outcome, history: &str) {
    let all_well = matches!(outcome.ended, Ended::Done | Ended::NothingToDo);
    if all_well {
        assert_eq!(outcome.last_state, None, "{history}");
        return;
    }
    let last = outcome.last_state.clone().unwrap_or_else(|| panic!("{history}: nothing was asked"));
    assert_eq!(last.servers.len(), 3, "{history}");
    for server in &last.servers {
        let id = server.name.chars().find_map(|c| c.to_digit(10)).unwrap();
        let is = match world.server(id.try_into().unwrap()).state {
            State::Primary => Some(true),
            State::Standby => Some(false),
            State::Down | State::Hung => None,
        };
        assert_eq!(server.is_primary, is, "{history}: {}", server.name);
    }
    for directory in last.directories.iter().filter(|directory| directory.elsewhere) {
        let old = world.server(1);
        let running = match old.state {
            State::Down => Running::Down,
            State::Standby => Running::Standby,
            State::Primary | State::Hung => Running::Other,
        };
        assert_eq!((directory.running, directory.signal), (Some(running), Some(old.signal)), "{history}");
    }
    let outage_s = outcome.outage_s;
    let detail = conclude(plan, "X", outcome).unwrap_err().text.detail.unwrap();
    for id in 1..=3 {
        let claim = format!("ode \"node{id}\" is the primary and accepts writes.");
        assert_eq!(detail.contains(&claim), world.primaries() == [id], "{history}: {detail}");
    }
    assert_eq!(
        detail.contains("No node is known to accept writes"),
        world.primaries().is_empty(),
        "{detail}"
    );
    if world.server(1).state == State::Down && !last.directories.is_empty() {
        let as_standby = detail.contains("down and can start only as a standby");
        assert_eq!(as_standby, world.server(1).signal, "{history}: {detail}");
        assert_eq!(detail.contains("down and would start as a primary"), !world.server(1).signal, "{detail}");
    }
    assert_eq!(detail.contains("Clients could not write for "), outage_s.is_some(), "{history}: {detail}");
    if outage_s.is_some() {
        assert_eq!(world.primaries(), [1], "{history}: {detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_last_is_true_whichever_step_fails_hangs_or_is_interrupted() {
    let mut said_outage = 0;
    for verb in [SWITCHOVER, PROMOTE] {
        let (_, plan) = begin(verb);
        for step in plan.steps() {
            for trouble in TROUBLES {
                let (node2, plan) = begin(verb);
                node2.add_trouble(&step.id, trouble);
                let mut outcome = node2.run(&plan).await.unwrap();
                said_outage += usize::from(outcome.outage_s.is_some());
                compare(&node2, &plan, &mut outcome, &format!("{verb}, {}, {trouble:?}", step.id));
            }
        }
    }
    assert!(said_outage > 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_true_of_a_rollback_that_fails_too() {
    let (_, plan) = begin(SWITCHOVER);
    for back in &plan.rollback {
        for trouble in TROUBLES {
            let (node2, plan) = begin(SWITCHOVER);
            node2.add_trouble("wait_until_received", Trouble::Sent(Signal::Int, Moment::AfterStarted));
            node2.add_trouble(&back.step.id, trouble);
            let mut outcome = node2.run(&plan).await.unwrap();
            assert_ne!(outcome.ended, Ended::Done);
            compare(&node2, &plan, &mut outcome, &format!("back: {}, {trouble:?}", back.step.id));
        }
    }
}

/// A world in which no question is answered; a signal comes after this time.
struct Frozen(Option<Duration>);

impl World for Frozen {
    async fn perform(&self, _: &Step) -> Result<Option<String>, Error> {
        std::future::pending().await
    }

    async fn holds(&self, _: &Probe) -> anyhow::Result<bool> {
        std::future::pending().await
    }

    async fn record(&self, _: &Record, _: Flush) -> anyhow::Result<()> {
        Ok(())
    }

    async fn interrupted(&self) -> Signal {
        match self.0 {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
        Signal::Int
    }

    fn narrate(&self, _: Narration<'_>) {}
}

#[tokio::test(start_paused = true)]
async fn nodes_that_do_not_answer_delay_the_end_by_one_deadline_and_a_signal_ends_it() {
    let (_, plan) = begin(SWITCHOVER);
    for (signal, within, takes) in [
        (None, ASKING, ASKING),
        (None, HASTE, HASTE),
        (Some(Duration::from_millis(100)), ASKING, Duration::from_millis(100)),
    ] {
        let begun = tokio::time::Instant::now();
        let last = LastState::ask(&Frozen(signal), &plan, within).await;
        let took = begun.elapsed();
        assert!(took >= takes && took < takes + Duration::from_millis(10), "{took:?}");
        assert!(!last.has_primary());
        assert_eq!(
            last.sentences(false),
            [
                "No node is known to accept writes: the roles of node \"node1\", node \"node2\" and node \"node3\" are not known.",
                "It is not known whether the server of node \"node1\" is running, or as what it would start.",
            ]
        );
    }
}

#[test]
fn each_state_has_its_sentence() {
    let server = |name: &str, is_primary| Server { name: format!("node \"{name}\""), is_primary };
    let directory = |running, signal, half_rewound| Directory {
        name: "node \"n1\"".into(),
        elsewhere: true,
        running,
        signal,
        half_rewound,
    };
    let said = |servers: &[Server], directory: Option<Directory>| {
        let state = LastState { servers: servers.to_vec(), directories: directory.into_iter().collect() };
        state.sentences(false).join(" ")
    };
    let primary = [server("n1", Some(true)), server("n2", Some(false))];
    assert_eq!(said(&primary, None), "Node \"n1\" is the primary and accepts writes.");
    assert_eq!(
        said(&primary, Some(directory(Some(Running::Other), Some(true), false))),
        "Node \"n1\" is the primary and accepts writes. The server of node \"n1\" would next start as a standby only: standby.signal is in \
         its data directory."
    );
    let down = [server("n1", None), server("n2", Some(false)), server("n3", None)];
    let none =
        "No node is known to accept writes: node \"n2\" is a standby; the role of node \"n3\" is not known.";
    assert_eq!(
        said(&down, Some(directory(Some(Running::Down), Some(false), false))),
        format!("{none} The server of node \"n1\" is down and would start as a primary.")
    );
    assert_eq!(
        said(&down, Some(directory(Some(Running::Other), Some(false), false))),
        format!("{none} The server of node \"n1\" is running, but is not known to accept writes.")
    );
    assert_eq!(
        said(&down, Some(directory(Some(Running::Down), Some(true), true))),
        format!(
            "{none} The server of node \"n1\" is down and cannot start: pg_rewind has not completed on its data directory."
        )
    );
    assert_eq!(
        said(&[server("n1", Some(true)), server("n2", Some(true))], None),
        "Split brain: node \"n1\" and node \"n2\" accept writes."
    );
    assert_eq!(said(&[], None), "No node is known to accept writes.");
    let own = Directory {
        name: "\"/data\"".into(),
        elsewhere: false,
        ..directory(Some(Running::Down), Some(true), false)
    };
    let state = LastState { servers: primary.to_vec(), directories: vec![own] };
    assert_eq!(state.sentences(true)[1], "The server on \"/data\" is down.");
    assert_eq!(
        state.sentences(false)[1],
        "The server on \"/data\" is down and can start only as a standby: standby.signal is in its data directory."
    );
}
