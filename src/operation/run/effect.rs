//! The effect of a step, and what it requires immediately before.

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{SETTLE, seconds};
use crate::error::{Error, PermanentError};
use crate::operation::outcome::World;
use crate::operation::wait::{answer_probe, poll};
use crate::plan::{OnResume, Op, Probe, Step, could_not, did_not};

/// Returns what a step requires, wherever it is carried out.
pub(super) fn questions(step: &Step, resumed: bool) -> impl Iterator<Item = &Probe> {
    step.requires.iter().chain(step.requires_on_resume.iter().filter(move |_| resumed))
}

/// Asks what a step requires.
pub(super) async fn required<'a, W: World>(
    world: &W,
    step: &Step,
    probes: impl Iterator<Item = &'a Probe>,
) -> Result<(), Error> {
    // All at once: in an outage each round trip counts, and the state of one host does not depend on that of another.
    let asked =
        join_all(probes.map(async |probe| {
            (probe, answer_probe(world, probe, SETTLE.min(seconds(step.timeout_s))).await)
        }));
    for (probe, answer) in asked.await {
        let refusal = || Error::new(step.exit, did_not(&step.title));
        match answer {
            Ok(true) => {}
            Ok(false) => return Err(refusal().detail(format!("Precondition not met: {probe}."))),
            Err(cause) => return Err(unanswered(step, did_not(&step.title), cause)),
        }
    }
    Ok(())
}

/// Returns the error of a step whose question could not be answered.
pub(super) fn unanswered(step: &Step, primary: String, cause: anyhow::Error) -> Error {
    match cause.downcast::<PermanentError>() {
        Ok(PermanentError(error)) => Error { exit: step.exit, ..error },
        Err(cause) => Error::from_cause(step.exit, primary, &cause),
    }
}

/// Performs the effect of a step, within its time.
pub(super) async fn effect<W: World>(world: &W, step: &Step) -> Result<Option<String>, Error> {
    let bound = seconds(step.timeout_s);
    if let Op::Wait(probe) = &step.op {
        let waited = poll(world, probe, step.gives_up_if.as_ref(), bound, |answer| *answer).await;
        return waited.map(|_| None).map_err(|cause| unanswered(step, could_not(&step.title), cause));
    }
    match timeout(bound, world.perform(step)).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!("It did not finish within {} s.", step.timeout_s);
            Err(Error::new(step.exit, could_not(&step.title)).detail(detail))
        }
    }
}

/// Carries out one step by itself, unless its purpose is already achieved: the rollback of a far end that has lost its coordinator.
///
/// Returns None if there was nothing to do.
///
/// # Errors
/// Those of the step, and if what it requires does not hold.
pub async fn run_single_step<W: World>(world: &W, step: &Step) -> Option<Result<Option<String>, Error>> {
    if let OnResume::AgainUnless(probe) = &step.on_resume
        && matches!(timeout(SETTLE, world.holds(probe)).await, Ok(Ok(true)))
    {
        return None;
    }
    if let Err(error) = required(world, step, questions(step, true)).await {
        return Some(Err(error));
    }
    Some(effect(world, step).await)
}
