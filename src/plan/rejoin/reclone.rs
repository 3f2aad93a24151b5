//! The most invasive method: the data directory is moved aside, and the node is cloned again.

use std::path::PathBuf;

use super::{Nodes, RejoinFacts, RejoinOptions, SHORT_S, phase};
use crate::error::Exit;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::plan::{FileOp, OnFailure, OnResume, Op, Plan, Probe, RollbackStep, Step};

/// What a new clone adds to a rejoin.
#[derive(Debug)]
pub struct Reclone {
    /// The plan of the clone.
    pub clone: Plan,
    /// Directories to move aside, the data directory first.
    pub aside: Vec<MovedDirectory>,
    /// Why one of them cannot be moved.
    pub immovable: Option<String>,
    /// Where the node's own configuration is afterwards, and its files; None where it is lost.
    pub configuration: Option<(PathBuf, Vec<PathBuf>)>,
}

/// A directory that is moved aside.
#[derive(Clone, Debug)]
pub struct MovedDirectory {
    /// Where it is.
    pub from: PathBuf,
    /// Where it will be.
    pub to: PathBuf,
    /// The symbolic link in the data directory that leads there, relative to it: with the old data directory goes what belongs to it, and
    /// no server that is started there gets at what the new one has.
    pub link: Option<PathBuf>,
}

/// Completes the plan of a rejoin for which only a new clone works.
pub fn reclone(plan: &mut Plan, facts: &RejoinFacts, options: &RejoinOptions, anew: Reclone) {
    let (Some(local), Some((primary, there))) = (facts.node(), facts.primary()) else { return };
    let nodes = Nodes { facts, options, local, primary, there };
    plan.checks.extend(anew.clone.checks.iter().cloned());
    if let Some(why) = &anew.immovable {
        plan.checks.push(
            crate::plan::Check::fail("move_aside", "the old data directory cannot be moved aside")
                .detail(why.clone())
                .hint("Move its contents elsewhere yourself, and run \"pgbaton standby clone\"."),
        );
    }
    let mut first = nodes.stop_steps();
    if !facts.local.is_half_rewound() {
        // It stays where it is if the clone fails, with standby.signal.
        first.splice(0..0, nodes.future().clear(Exit::Rejoin));
        first.push(nodes.standby_signal());
    }
    plan.phases.push(phase("stop the server", OnFailure::Stop, first));
    let renamed = |id: String, from: &PathBuf, to: &PathBuf, link: Option<PathBuf>| {
        nodes
            .step(
                &id,
                format!("move \"{}\" to \"{}\"", from.display(), to.display()),
                Op::File(FileOp::Rename { from: from.clone(), to: to.clone(), link }),
                SHORT_S,
            )
            .uninterruptible()
    };
    let numbered = || (1..).zip(&anew.aside);
    // The data directory is moved first, in both directions.
    let link = |aside: &MovedDirectory, is_aside: bool| {
        let data = anew.aside.first().map(|data| if is_aside { &data.to } else { &data.from });
        Some(data?.join(aside.link.as_ref()?))
    };
    let moves: Vec<Step> = numbered()
        .map(|(number, aside)| {
            let MovedDirectory { from, to, .. } = aside;
            // A clone may have made the directory again since.
            renamed(format!("move_aside_{number}"), from, to, link(aside, true))
                .requires(Probe::Stopped { data_directory: nodes.data() })
                .on_resume(OnResume::AgainUnless(Probe::Exists { path: to.clone() }))
        })
        .collect();
    plan.phases.push(phase("move the old directories aside", OnFailure::Stop, moves));
    plan.phases.extend(anew.clone.phases);
    plan.always.extend(anew.clone.always);
    plan.rollback.extend(anew.clone.rollback);
    for (number, aside) in numbered() {
        let MovedDirectory { from, to, .. } = aside;
        let made = if number == 1 { "make_data_directory" } else { "base_backup" };
        plan.rollback.push(RollbackStep {
            if_started: vec![made.into()],
            step: nodes
                .step(
                    &format!("remove_new_{number}"),
                    format!("remove the new \"{}\"", from.display()),
                    Op::File(FileOp::RemoveDirectory { path: from.clone() }),
                    SHORT_S,
                )
                .requires(Probe::Exists { path: to.clone() }),
        });
        plan.rollback.push(RollbackStep {
            if_started: vec![format!("move_aside_{number}")],
            step: renamed(format!("move_back_{number}"), to, from, link(aside, false))
                .on_resume(OnResume::AgainUnless(Probe::Not(Box::new(Probe::Exists { path: to.clone() })))),
        });
    }
    let mut steps = Vec::new();
    if let Some((from, files)) = &anew.configuration {
        steps.push(nodes.step(
            "put_back_files",
            "restore the node's own configuration".into(),
            Op::File(FileOp::RestoreFiles {
                from: from.clone(),
                data_directory: nodes.data(),
                files: files.clone(),
            }),
            SHORT_S,
        ));
        steps.push(nodes.point_at_primary());
    }
    let signal = nodes.data().join(STANDBY_SIGNAL);
    steps.push(
        Step { exit: Exit::Rejoin, ..nodes.standby_signal_as("standby_signal_again") }
            .requires(Probe::Exists { path: signal }),
    );
    plan.phases.push(phase("configure it", OnFailure::Stop, steps));
    nodes.start_and_verify(plan);
}
