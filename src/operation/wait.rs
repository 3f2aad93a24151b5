//! Waiting: questions that are asked until they are answered.

use std::cell::RefCell;
use std::future::pending;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::{Instant, sleep, timeout};

use crate::error::PermanentError;
use crate::operation::outcome::World;
use crate::plan::probe::Probe;

/// The shortest and the longest pause between two questions; between them it is a sixteenth of the time that has passed, so that a wait
/// takes little longer than what is waited for.
pub(crate) const POLL: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(250));

/// How long a wait goes on before it asks whether it is hopeless. What comes soon is not delayed by a second question.
pub(crate) const DOUBT: Duration = Duration::from_millis(200);

/// Polls a question, with pauses that grow from 4 ms to 250 ms, until the answer is yes.
///
/// # Errors
/// Fails when `within` has passed, naming the question and the last error; at once if that is [`PermanentError`].
pub async fn wait<W: World>(world: &W, probe: &Probe, within: Duration) -> anyhow::Result<()> {
    poll(world, probe, None, within, |answer| *answer).await.map(|_| ())
}

/// Asks a question until there is an answer, yes or no.
///
/// # Errors
/// As [`wait`].
pub async fn answer_probe<W: World>(world: &W, probe: &Probe, within: Duration) -> anyhow::Result<bool> {
    poll(world, probe, None, within, |_| true).await
}

/// Polls a question until the answer is enough, or one of the reasons for which it never will be holds. The two are asked side by side: a
/// question that hangs hides no reason.
pub(crate) async fn poll<W: World>(
    world: &W,
    probe: &Probe,
    hopeless: Option<&Probe>,
    within: Duration,
    enough: impl Fn(&bool) -> bool,
) -> anyhow::Result<bool> {
    let last = RefCell::new(None);
    let asking = async {
        let begun = Instant::now();
        loop {
            match world.holds(probe).await {
                Ok(answer) if enough(&answer) => return Ok(answer),
                Ok(_) => *last.borrow_mut() = None,
                Err(error) if error.is::<PermanentError>() => return Err(error),
                Err(error) => *last.borrow_mut() = Some(error),
            }
            sleep((begun.elapsed() / 16).clamp(POLL.0, POLL.1)).await;
        }
    };
    let doubting = async {
        let Some(hopeless) = hopeless else { return pending().await };
        sleep(DOUBT).await;
        let reason = one_that_holds(world, hopeless).await;
        Err(anyhow::anyhow!("this can no longer become true: {probe}; the reason: {reason}"))
    };
    let answered = timeout(within, async {
        tokio::select! {
            biased;
            answered = asking => answered,
            given_up = doubting => given_up,
        }
    });
    if let Ok(answered) = answered.await {
        return answered;
    }
    let message = format!("timed out after {} s; waited for this: {probe}", within.as_secs());
    Err(match last.into_inner() {
        Some(cause) => cause.context(message),
        None => anyhow::anyhow!(message),
    })
}

/// Returns the first question of several that holds, and asks each of them until then.
async fn one_that_holds<'a, W: World>(world: &W, probe: &'a Probe) -> &'a Probe {
    let each = match probe {
        Probe::Any(probes) => probes.as_slice(),
        one => std::slice::from_ref(one),
    };
    let asked = each.iter().map(|one| {
        Box::pin(async move {
            while !matches!(world.holds(one).await, Ok(true)) {
                sleep(POLL.1).await;
            }
            one
        })
    });
    select_all(asked).await.0
}
