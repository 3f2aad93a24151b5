//! The effects of [`KeepDown`], on the host of the server: it is kept from starting as a primary, and that is taken back.

use std::path::Path;

use super::Live;
use crate::assess::start::Asker;
use crate::error::{Error, Exit};
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::far_end::secure;
use crate::observe::{next_start, peers};
use crate::plan::FileOp;
use crate::plan::far_end::ServerState;
use crate::plan::keep_down::{AsStandby, KeepDown};
use crate::plan::parts::standby;
use crate::system::files;

impl Live<'_> {
    /// Returns what has to be written so that the next start of the local server is that of a standby; None where `standby.signal` is there.
    pub(crate) fn lacks_signal(&self) -> Result<Option<AsStandby>, Error> {
        let config = self.context.config()?;
        let data = &config.data_directory;
        if data.join(STANDBY_SIGNAL).symlink_metadata().is_ok() {
            return Ok(None);
        }
        let next = next_start::inspect_next_start(data, self.context.config_directory(config).as_deref());
        Ok(Some(AsStandby {
            data_directory: data.clone(),
            file_mode: next.file_mode,
            clear: standby::clear_recovery_end(data, &next),
            unclear: standby::restore_recovery_end(data, &next, &[]),
        }))
    }

    /// Writes `standby.signal` with these contents.
    pub(crate) async fn write_signal(&self, as_standby: &AsStandby, contents: &str) -> Result<(), Error> {
        // With the signal and a target, a server that is started now would promote itself.
        if let Some(clear) = &as_standby.clear {
            self.file_op(clear).await?;
        }
        let (path, mode) = (as_standby.signal(), as_standby.file_mode);
        self.file_op(&FileOp::WriteFile { path, contents: contents.to_string(), mode }).await
    }

    /// Removes `standby.signal`, and puts back what was cleared with it.
    pub(crate) async fn remove_signal(&self, as_standby: &AsStandby) -> Result<(), Error> {
        self.file_op(&FileOp::RemoveFile { path: as_standby.signal() }).await?;
        match &as_standby.unclear {
            Some(unclear) => self.file_op(unclear).await,
            None => Ok(()),
        }
    }

    /// Writes `standby.signal` where it is missing, and looks at the server last: a start that was begun before reads the file, or is seen.
    pub(super) async fn keep_down(&self, keep: &KeepDown) -> Result<(), Error> {
        let (as_standby, name) = (&keep.as_standby, &keep.host.node_name);
        let mut wrote = false;
        if let Some(now) = self.lacks_signal()? {
            if now != *as_standby {
                return Err(Error::new(
                    Exit::LocalCommand,
                    format!("the data directory or the settings of node \"{name}\" have changed meanwhile"),
                )
                .detail("The plan was made before that: its rollback would restore other settings.")
                .hint("Run the command again."));
            }
            // An empty file takes no space. That of a former primary may be why another node is promoted; whose the file is can then not be told.
            if self.write_signal(as_standby, &keep.mark).await.is_err() {
                self.write_signal(as_standby, "").await?;
            }
            wrote = true;
        }
        let server = secure::server_state(&as_standby.data_directory, secure::SETTLES).await;
        let Some(why) = server.objection() else { return Ok(()) };
        if wrote || is_of(&as_standby.signal(), &keep.mark) {
            self.remove_signal(as_standby).await?;
        }
        Err(Error::new(
            Exit::SecondPrimary,
            format!("the server of node \"{name}\" runs, and may be a primary"),
        )
        .detail(why)
        .hint("Run \"pgbaton cluster show\". If that server is the primary, there is nothing to promote."))
    }

    /// Takes back what [`Self::keep_down`] has written, as nothing was promoted. Returns what there is to say where it stays.
    pub(super) async fn let_start(&self, keep: &KeepDown) -> Result<Option<String>, Error> {
        let (as_standby, name) = (&keep.as_standby, &keep.host.node_name);
        let (data, signal) = (&as_standby.data_directory, as_standby.signal());
        let is_there = signal.symlink_metadata().is_ok();
        if is_there && !is_of(&signal, &keep.mark) {
            return Ok(Some(format!(
                "standby.signal stays in the data directory of node \"{name}\": it does not say that this operation has written it"
            )));
        }
        match secure::server_state(data, secure::SETTLES).await {
            ServerState::Down => {}
            // The file would make its next start that of a standby.
            ServerState::Running(_) if is_there => {}
            ServerState::Standby | ServerState::Unclear(_) if is_there => {
                return Ok(Some(format!(
                    "the server of node \"{name}\" was started meanwhile; standby.signal stays in its data directory"
                )));
            }
            _ => return Ok(None),
        }
        if is_there {
            let judged =
                peers::judge_local_server(self.context, Asker::Rollback, super::roles::ASKING).await?;
            if !judged.judgement.may.is_yes() {
                return Ok(Some(format!(
                    "standby.signal stays in the data directory of node \"{name}\", because another node is ahead of it: {}",
                    judged.judgement.evidence()
                )));
            }
        }
        self.remove_signal(as_standby).await.map(|()| None)
    }
}

/// Says whether the file is the one that was written with this mark.
fn is_of(signal: &Path, mark: &str) -> bool {
    files::text(signal).is_ok_and(|text| text == mark)
}
