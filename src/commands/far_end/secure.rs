//! The server here is made certain to be no primary, and not to become one: see [`Call::Secure`](crate::far_end::protocol::Call::Secure).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Served;
use crate::error::{Exit, Result};
use crate::facts::directory::running_postmaster;
use crate::far_end::protocol::Secured;
use crate::far_end::secure;
use crate::plan::far_end::ServerState;
use crate::system::lock::{LocalLock, busy};

/// How long a far end that was ended may take to give the node's lock back, and the pause between two attempts.
const GIVES_BACK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(10));

impl Served<'_> {
    /// Makes certain that the server here is no primary and does not become one. See [`Call::Secure`].
    pub(super) async fn secure(&self, command: String, only_look: bool, only_hold: bool) -> Result<Secured> {
        let data = &self.context.config()?.data_directory;
        if only_look {
            let lacks = self.live.lacks_signal()?;
            let holder = LocalLock::holder(&self.state_directory).ok().flatten();
            if let Some(holder) = holder.filter(|_| self.lock.borrow().is_none()) {
                let others = secure::other_far_ends(self.context, &self.state_directory)?;
                if !others.contains(&holder.pid.cast_signed()) {
                    return Err(busy(&holder));
                }
            }
            let server = secure::server_state(data, secure::LOOKS).await;
            return Ok(Secured {
                wrote_signal: lacks.is_some() && server == ServerState::Down,
                server,
                lacks,
            });
        }
        secure::end_other_far_ends(self.context, &self.state_directory).await?;
        // A process that ends shows no command line any more a moment before it gives its lock back.
        let until = Instant::now() + GIVES_BACK.0;
        while let Err(error) = self.take_lock(command.clone()).await {
            if error.exit != Exit::Busy || Instant::now() >= until {
                return Err(error);
            }
            sleep(GIVES_BACK.1).await;
        }
        self.armed.take();
        let lacks = self.live.lacks_signal()?;
        if only_hold {
            let server = secure::server_state(data, secure::SETTLES).await;
            return Ok(Secured { server, wrote_signal: false, lacks });
        }
        if let Some(lacks) = lacks {
            self.live.write_signal(&lacks, "").await?;
            self.wrote_signal.replace(Some(lacks));
        }
        let server = secure::server_state(data, secure::SETTLES).await;
        if !server.is_secure() {
            self.remove_signal().await?;
        }
        Ok(Secured { server, wrote_signal: self.wrote_signal.borrow().is_some(), lacks: None })
    }

    /// Removes `standby.signal` if this process has written it by itself.
    async fn remove_signal(&self) -> Result<()> {
        let wrote = self.wrote_signal.take();
        match wrote {
            Some(wrote) => self.live.remove_signal(&wrote).await,
            None => Ok(()),
        }
    }

    /// Takes back what [`Served::secure`] has written, as nothing was promoted.
    pub(super) async fn unsecure(&self) -> Result<Option<String>> {
        let config = self.context.config()?;
        if self.wrote_signal.borrow().is_none() {
            return Ok(None);
        }
        if running_postmaster(&config.data_directory).is_some() {
            return Ok(Some(format!(
                "the server of node \"{}\" was started meanwhile, as a standby; standby.signal stays in its data directory",
                config.node_name
            )));
        }
        self.live.may_be_primary(&config.data_directory).await?;
        self.remove_signal().await?;
        Ok(None)
    }
}
