//! The server that is to be copied: how it is reached, and connecting to it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Request;
use crate::error::{Error, Result};
use crate::pg::client::Session;
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::Kind;
use crate::site::{Site, not_connected};

/// Returns how the server that is to be copied is reached.
pub fn source_conninfo(site: &Site, request: &Request) -> Result<Conninfo> {
    let mut given = site.given_conninfo()?.unwrap_or_default();
    if let Some(host) = &request.source_host {
        if given.get("host").is_some() {
            return Err(Error::failed("the source was given twice")
                .hint("Give it with -h or as the first argument, not both."));
        }
        given.set("host", host);
    }
    if given.get("host").is_none() && given.get("hostaddr").is_none() && given.get("service").is_none() {
        return Err(Error::failed("no source server was given")
            .hint("Give it: pgbaton standby clone -h HOST -U repmgr -d repmgr"));
    }
    site.with_own_role(given)
}

/// Seconds that a server may need to come up before it can be copied.
const STARTING_UP_S: u64 = 60;

/// Connects to the source; one that still starts up is waited for.
pub async fn connect(site: &Site, given: &Conninfo) -> Result<Session> {
    let seconds = site.options.timeout.map_or(STARTING_UP_S, u64::from);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut reported = false;
    loop {
        match site.connect(given).await {
            Ok(session) => return Ok(session),
            Err(error) if error.kind == Kind::StartingUp && Instant::now() < until => {
                if !reported {
                    site.notice(&format!(
                        "the source is still starting up; waiting at most {seconds} seconds"
                    ));
                    reported = true;
                }
                sleep(Duration::from_millis(250)).await;
            }
            Err(error) => {
                let error = not_connected("the source server", error);
                return Err(if reported {
                    error.detail(format!("Waited {seconds} seconds for it."))
                } else {
                    error
                });
            }
        }
    }
}
