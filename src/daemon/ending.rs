//! The end of the daemon by a signal: what it does first where its server is down for good, or the host is going down.

use std::path::Path;
use std::time::Duration;

use pgbaton_lease::{Ask, Flag, Server};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::lease::{Told, now};
use super::snapshot::Snapshot;
use crate::context::Context;
use crate::facts::directory::running_postmaster;
use crate::observe::daemons::random_op;
use crate::observe::server_log::is_stopping;
use crate::pg::control_file::{self, ControlState};
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::process::{self, ChildContext};
use crate::ui::Level;

/// How long a hand-over at the end may take: a service manager waits a little longer than that.
const HAND_OVER: Duration = Duration::from_secs(8);

/// How long a server that is being stopped may take.
const STOPS: Duration = Duration::from_secs(5);

/// How long what happens on a host takes to be known to the lease's thread, with what the other nodes have.
const LEARNS: Duration = Duration::from_secs(3);

/// How often one looks.
const LOOK: Duration = Duration::from_millis(20);

/// How long systemd may take to say what the host does.
const ASKS: Duration = Duration::from_secs(1);

/// Why a daemon that ends hands over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The server was stopped.
    Stopped,
    /// The host is going down.
    HostEnds,
}

/// Says whether to hand over before the end, and to which node. A server that is being stopped at the same time is waited for.
pub async fn heir(context: &Context, snapshot: &watch::Receiver<Option<Snapshot>>) -> Option<(u32, Why)> {
    let data = &context.config().ok()?.data_directory;
    let known = || snapshot.borrow().clone();
    if !may_hand_over(&known()?) {
        return None;
    }
    let begun = Instant::now();
    let why = loop {
        if is_stopping(data) && begun.elapsed() < STOPS {
            sleep(LOOK).await;
            continue;
        }
        break match running_postmaster(data) {
            None if was_stopped(data) => Why::Stopped,
            // What has crashed is started again by the next daemon, in time, or is fenced.
            _ if !host_ends(context).await => return None,
            _ => Why::HostEnds,
        };
    };
    // The lease's thread learns of the stop, and of the other nodes' positions, a moment later.
    let begun = Instant::now();
    while begun.elapsed() < LEARNS {
        let known = known()?;
        if !may_hand_over(&known) {
            return None;
        }
        let has_seen = why == Why::HostEnds || matches!(known.state.server, Server::Down { .. });
        if let Some(heir) = known.heir.filter(|_| has_seen) {
            return Some((heir, why));
        }
        sleep(LOOK).await;
    }
    None
}

fn may_hand_over(known: &Snapshot) -> bool {
    known.state.flag == Flag::Active && known.state.leads(now()) && known.state.hand_over.is_none()
}

fn was_stopped(data: &Path) -> bool {
    control_file::read(data).is_ok_and(|control| control.state == ControlState::ShutDown)
}

/// Says whether systemd is stopping the host. Asked only where it has started this process.
async fn host_ends(context: &Context) -> bool {
    if context.environment.non_empty("INVOCATION_ID").is_none() {
        return false;
    }
    let command = Command::new("systemctl", ["is-system-running"]);
    let around =
        ChildContext { environment: Some(&context.environment), secrets: Secrets::new(), inherit_pg: false };
    // Its exit status is not 0 then.
    let said = timeout(ASKS, process::run(&command, &around)).await;
    said.is_ok_and(|ended| ended.is_ok_and(|ended| ended.stdout.trim() == "stopping"))
}

/// Hands over; ends when another node leads, when it was given up, or after a while. The executor goes on meanwhile.
pub async fn hand_over(
    context: &Context,
    (heir, why): (u32, Why),
    told: &mpsc::UnboundedSender<Told>,
    mut snapshot: watch::Receiver<Option<Snapshot>>,
) {
    let reason = match why {
        Why::Stopped => "the server was stopped",
        Why::HostEnds => "the host is going down",
    };
    context.ui.say(Level::Notice, &format!("{reason}: handing over to node {heir} before the daemon ends"));
    let place = snapshot
        .borrow()
        .as_ref()
        .and_then(|known| known.ids.iter().find(|(_, id)| **id == heir).map(|(place, _)| *place));
    let Some(place) = place else { return };
    let asked = now();
    let _ended = told.send(Told::Ask(random_op(), Ask::HandOver(place)));
    let watched = async {
        let mut has_begun = false;
        loop {
            let (leads, at_it, is_fresh) = match &*snapshot.borrow_and_update() {
                Some(known) => (
                    known.leader == Some(heir),
                    known.state.hand_over.is_some(),
                    known.at.since(asked) > 1000,
                ),
                None => return false,
            };
            has_begun |= at_it;
            if leads {
                return true;
            }
            // It was refused, or has turned back.
            if !at_it && (has_begun || is_fresh) {
                return false;
            }
            if timeout(Duration::from_millis(100), snapshot.changed()).await.is_ok_and(|seen| seen.is_err()) {
                return false;
            }
        }
    };
    let text = match timeout(HAND_OVER, watched).await {
        Ok(true) => format!("node {heir} leads"),
        Ok(false) => format!("node {heir} has not taken the role"),
        Err(_) => format!("node {heir} has not taken the role within {} s", HAND_OVER.as_secs()),
    };
    context.ui.say(Level::Notice, &text);
    // What it wrote last is shown to the heir with the next answer of its server.
    sleep(Duration::from_millis(50)).await;
}
