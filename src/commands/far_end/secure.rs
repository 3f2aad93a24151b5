//! The server here is made certain to be no primary, and not to become one: see [`Call::Secure`](crate::far_end::protocol::Call::Secure).

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Served;
use crate::error::{Exit, Result};
use crate::facts::directory::running_postmaster;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::far_end::protocol::Secured;
use crate::far_end::secure;
use crate::observe::next_start;
use crate::plan::FileOp;
use crate::plan::far_end::Standing;
use crate::plan::parts::standby;
use crate::system::lock::{LocalLock, busy};

/// How long a far end that was ended may take to give the node's lock back, and the pause between two attempts.
const GIVES_BACK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(10));

impl Served<'_> {
    /// Makes certain that the server here is no primary and does not become one. See [`Call::Secure`].
    pub(super) async fn secure(&self, command: String, only_look: bool) -> Result<Secured> {
        let data = &self.context.config()?.data_directory;
        let signal = data.join(STANDBY_SIGNAL);
        let is_there = signal.symlink_metadata().is_ok();
        if only_look {
            let holder = LocalLock::holder(&self.state_directory).ok().flatten();
            if let Some(holder) = holder.filter(|_| self.lock.borrow().is_none()) {
                let others = secure::other_far_ends(self.context, &self.state_directory)?;
                if !others.contains(&holder.pid.cast_signed()) {
                    return Err(busy(&holder));
                }
            }
            let server = secure::standing(data, secure::LOOKS).await;
            return Ok(Secured { wrote_signal: !is_there && server == Standing::Down, server });
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
        if signal.symlink_metadata().is_err() {
            self.write_signal(signal).await?;
        }
        let server = secure::standing(data, secure::SETTLES).await;
        if !server.is_secure() {
            self.remove_signal().await?;
        }
        Ok(Secured { server, wrote_signal: self.wrote_signal.get() })
    }

    async fn write_signal(&self, path: PathBuf) -> Result<()> {
        let config = self.context.config()?;
        let data = &config.data_directory;
        let next = next_start::look(data, self.context.config_directory(config).as_deref());
        // With the signal and a target, a server that is started now would promote itself.
        if let Some(clear) = standby::clear(data, &next) {
            self.live.file_op(&clear).await?;
        }
        self.had_targets.replace(standby::unclear(data, &next, &[]));
        let step = FileOp::WriteFile { path, contents: String::new(), mode: next.file_mode };
        self.live.file_op(&step).await?;
        self.wrote_signal.set(true);
        Ok(())
    }

    /// Removes `standby.signal` if this process has written it.
    async fn remove_signal(&self) -> Result<()> {
        if self.wrote_signal.take() {
            let path = self.context.config()?.data_directory.join(STANDBY_SIGNAL);
            self.live.file_op(&FileOp::RemoveFile { path }).await?;
            let settings = self.had_targets.take();
            if let Some(step) = settings {
                self.live.file_op(&step).await?;
            }
        }
        Ok(())
    }

    /// Takes back what [`Served::secure`] has written, as nothing was promoted.
    pub(super) async fn unsecure(&self) -> Result<Option<String>> {
        let config = self.context.config()?;
        if !self.wrote_signal.get() {
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
