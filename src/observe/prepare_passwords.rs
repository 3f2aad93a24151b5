//! The passwords of our roles: found where libpq finds them, made, or asked for.

use std::collections::BTreeMap;

use crate::error::{Error, Exit, Result};
use crate::observe::prepare::Request;
use crate::pg::conninfo::Conninfo;
use crate::pg::passfile::{self, PasswordFor};
use crate::pg::verifier;
use crate::plan::prepare::{FileNow, Password, PrepareRequest};
use crate::secret::Secret;
use crate::site::Site;

/// Finds the passwords of all roles.
///
/// PGPASSWORD counts only where no other connection was described on the command line: then it belongs to that one.
///
/// # Errors
/// Exit code 1 if the system has no random numbers.
pub(crate) fn find(
    site: &Site,
    request: &Request,
    wanted: &PrepareRequest,
    files: &[FileNow],
) -> Result<BTreeMap<String, Password>> {
    let own = site.local_conninfo()?;
    let others = site.given_conninfo()?.is_some() || site.options.superuser.is_some();
    let by_variable = site.environment.non_empty("PGPASSWORD").filter(|_| !others).map(Secret::new);
    let in_conninfo =
        |conninfo: &Conninfo| conninfo.get("password").filter(|text| !text.is_empty()).map(Secret::new);
    let mut out = BTreeMap::new();
    for (role, dbname) in
        [(&wanted.role, wanted.database.as_str()), (&wanted.replication_role, "replication")]
    {
        let is_own = *role == wanted.role;
        let given = in_conninfo(&own).or_else(|| by_variable.clone()).filter(|_| is_own);
        let found = given.or_else(|| in_files(files, wanted, role, dbname));
        let password = match found {
            _ if request.no_password => Password::Unwanted,
            Some(password) => Password::Known(password),
            None if request.generate_password => {
                Password::Generated(verifier::generate().map_err(|error| {
                    Error::from_cause(Exit::Failed, "could not generate a password", &error)
                        .detail("Nothing was changed.")
                })?)
            }
            None => Password::Missing,
        };
        out.entry(role.clone()).or_insert(password);
    }
    Ok(out)
}

/// Asks for what is missing. `ask` puts a question; None where no one is there to answer it.
pub(crate) fn ask_missing_passwords(ask: &dyn Fn(&str) -> Option<Secret>, wanted: &mut PrepareRequest) {
    for (role, password) in &mut wanted.passwords {
        if matches!(password, Password::Missing)
            && let Some(typed) = ask(&format!("Password of role \"{role}\""))
        {
            *password = Password::Known(typed);
        }
    }
}

/// Looks into the password files, for this node first and then for the others: all nodes have the same roles.
fn in_files(files: &[FileNow], wanted: &PrepareRequest, role: &str, dbname: &str) -> Option<Secret> {
    let entries = wanted.nodes.iter().flat_map(|node| [(node, dbname), (node, "replication")]);
    entries.flat_map(|(node, dbname)| files.iter().map(move |file| (node, dbname, file))).find_map(
        |(node, dbname, file)| {
            let place = PasswordFor { host: &node.host, port: &node.port, dbname, user: role };
            passfile::find(file.text.as_deref()?, place).filter(|found| !found.reveal().is_empty())
        },
    )
}
