//! `daemon run`: the daemon of this node, in the foreground.

use crate::context::Context;
use crate::daemon;
use crate::error::Result;
use crate::output::{Data, Report};

/// Runs the daemon until it is asked to end.
///
/// # Errors
/// Those of [`daemon::run`].
pub async fn run(context: &Context) -> Result<Report> {
    daemon::run(context).await?;
    Ok(Report::new(Data::Nothing))
}
