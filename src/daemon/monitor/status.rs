//! Lines that say what is monitored, every `log_status_interval`, in repmgrd's words.

use std::time::Duration;

use pgbaton_lease::Flag;
use tokio::time::{Instant, sleep};

use super::links::Link;
use super::{Monitor, Role, named};
use crate::ui::Level;

/// How often is looked whether a line is due: the interval may be another one by then.
const LOOK: Duration = Duration::from_secs(1);

/// Says how a node is monitored.
fn state(links: &[Link]) -> &'static str {
    if links.iter().any(Link::is_degraded) {
        "in degraded state"
    } else if links.iter().all(Link::answers) {
        "in normal state"
    } else {
        "and trying to reconnect"
    }
}

impl Monitor<'_> {
    /// Says whether automatic failover is paused.
    pub(super) fn is_paused(&self) -> bool {
        let known = self.snapshot.borrow();
        self.is_automatic && known.as_ref().is_some_and(|known| known.state.flag == Flag::Full)
    }

    /// Writes status lines, for ever.
    pub(super) async fn write_status(&self) {
        let mut last = Instant::now();
        loop {
            sleep(LOOK).await;
            let interval = self.config().log_status_interval;
            if !interval.is_zero() && last.elapsed() >= interval {
                last = Instant::now();
                let (line, detail) = self.status_line();
                self.context.ui.message(Level::Info, &line, detail.as_deref(), None);
            }
        }
    }

    fn status_line(&self) -> (String, Option<String>) {
        let config = self.config();
        let own = format!("\"{}\" (ID: {})", config.node_name, config.node_id);
        let seen = self.seen.borrow();
        let upstream = seen.upstream.and_then(|(id, link)| Some((self.row(id)?, link)));
        let mut links = vec![seen.local];
        links.extend(upstream.as_ref().map(|(_, link)| *link));
        let state = state(&links);
        let line = match (seen.role, &upstream) {
            (Some(Role::Primary), _) => format!("monitoring primary node {own} {state}"),
            (Some(Role::Witness), Some((row, _))) => {
                format!("witness node {own} monitoring primary node {} {state}", named(row))
            }
            (_, Some((row, _))) => format!("node {own} monitoring upstream node {} {state}", named(row)),
            (_, None) => format!("node {own} has no upstream to monitor"),
        };
        let mut details = Vec::new();
        if upstream.as_ref().is_some_and(|(_, link)| link.is_degraded()) {
            details.push("Waiting for the upstream or another primary to reappear.".to_string());
        }
        if let Some((attached, all)) = seen.children.filter(|(_, all)| *all > 0) {
            details.push(format!("{attached} of {all} child nodes are connected."));
        }
        if let Some(at) = seen.recorded.filter(|_| config.monitoring_history) {
            details.push(format!(
                "Last monitoring statistics update was {} seconds ago.",
                at.elapsed().as_secs()
            ));
        }
        let line = if self.is_paused() { format!("{line} (paused)") } else { line };
        (line, (!details.is_empty()).then(|| details.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_that_of_the_worst_connection() {
        let good = Link::default();
        assert_eq!(state(&[good, good]), "in normal state");
        let mut lost = Link::default();
        lost.checked(false, Instant::now(), Duration::ZERO);
        assert_eq!(state(&[good, lost]), "and trying to reconnect");
        lost.checked(false, Instant::now(), Duration::ZERO);
        assert_eq!(state(&[lost, good]), "in degraded state");
    }
}
