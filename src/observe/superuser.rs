//! `-S`: another role on a server, for what PostgreSQL allows to no lesser one.

use crate::error::{Error, Exit, Result, sentence};
use crate::pg::client::Session;
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::{Endpoint, endpoint_to};
use crate::secret::Secrets;
use crate::site::{Site, not_connected};

/// A superuser's way to a server.
pub struct Superuser {
    /// A session.
    pub session: Session,
    /// The same as a place to run statements.
    pub on: Endpoint,
}

/// Connects as the superuser that was named, to where a conninfo leads; None where none was named.
///
/// # Errors
/// Exit code 6 without a connection, 1 if the role is not a superuser.
pub async fn connect(
    site: &Site,
    conninfo: &Conninfo,
    server: &str,
    secrets: &mut Secrets,
) -> Result<Option<Superuser>> {
    let Some(name) = &site.options.superuser else { return Ok(None) };
    let mut conninfo = conninfo.clone();
    if conninfo.get("user") != Some(name) {
        // The password that stands there is another role's.
        conninfo.remove("password");
        conninfo.set("user", name);
    }
    let whom = format!("{server} as \"{name}\"");
    let session = site.connect(&conninfo).await.map_err(|error| not_connected(&whom, error))?;
    let row = session
        .query_one("SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user", &[])
        .await
        .map_err(|error| {
            Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
        })?;
    if row.get(0) != Some("true") {
        return Err(Error::failed(format!("role \"{name}\" is not a superuser"))
            .detail(format!("It was named with -S, and {server} requires it. Nothing was changed."))
            .hint("Name a superuser, or leave out -S."));
    }
    let secret = format!("conninfo of the superuser on {server}");
    let on = endpoint_to(&conninfo, whom, &secret, secrets);
    Ok(Some(Superuser { session, on }))
}
