//! A server to connect to, and the upstream of a standby, as values that name their secrets and do not hold them.

use serde::{Deserialize, Serialize};

use crate::pg::conninfo::Conninfo;
use crate::secret::{Secret, Secrets};

/// A server to ask or to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// How to name it to people.
    pub name: String,
    /// How to reach it, without a password.
    pub conninfo: String,
    /// The name of the whole conninfo, password included, that the world holds for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Whom a standby is to follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// How to name it to people.
    pub name: String,
    /// The conninfo for a standby that has none, without a password. What it says of the way is put into one that is there.
    pub conninfo: String,
    /// The name of the password for a standby that has no conninfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The slot; None for no slot.
    pub slot: Option<String>,
}

/// Names a server as a place to run statements; a password in its conninfo is kept under a name.
pub fn endpoint_to(conninfo: &Conninfo, name: String, secret: &str, secrets: &mut Secrets) -> Endpoint {
    let plain = conninfo.without_secrets().to_string();
    let secret = (plain != conninfo.to_string()).then(|| {
        secrets.insert(secret.to_string(), Secret::new(conninfo.to_string()));
        secret.to_string()
    });
    Endpoint { name, conninfo: plain, secret }
}
