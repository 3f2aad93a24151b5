//! Does conninfo of the configuration lead to the server of this node's data directory? A port or a path of another node is soon copied.

use crate::facts::directory::postmaster;
use crate::facts::host::other_owner;
use crate::observe::node_location;
use crate::pg::client::Session;
use crate::pg::control_file;
use crate::site::Site;

/// Returns how a server shows that it is not the local one, as whole sentences; None where nothing shows it.
pub(crate) async fn is_elsewhere(site: &Site, session: &Session) -> Option<String> {
    let data = &site.config().ok()?.data_directory;
    let shown = data.display();
    // Another user may not see what runs there.
    if other_owner(data).is_some() {
        return None;
    }
    let sql = "SELECT pg_catalog.pg_postmaster_start_time()::text, pg_catalog.current_setting('port'), \
               (pg_catalog.pg_control_system()).system_identifier::text";
    let row = session.query_one(sql, &[]).await.ok()?;
    let (started, port, identifier) = (row.get(0)?, row.get(1)?, row.get(2)?);
    if let Ok(own) = control_file::read(data)
        && own.system_identifier.to_string() != identifier
    {
        return Some(format!(
            "The server that answers has system identifier {identifier}, and \"{shown}\" has {}: it is of another cluster.",
            own.system_identifier
        ));
    }
    let Some(here) = postmaster(data) else {
        // It may run in another container, whose processes are not seen here.
        return (!data.join("postmaster.pid").exists())
            .then(|| format!("A server responds, but none runs on \"{shown}\"."));
    };
    node_location::is_another(data, started, port).then(|| {
        let port_here = here.port.map_or_else(|| "another port".to_string(), |port| format!("port {port}"));
        format!("The server that answers listens on port {port}; the one that runs on \"{shown}\" listens on {port_here}.")
    })
}
