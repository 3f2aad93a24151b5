//! Who says where a connection leads, and what that is worth.
//!
//! A connection string of the configuration or of the command line is the user's own: as with libpq, a password may be sent wherever the user
//! likes. All others come out of the metadata, a file that keeps what was in it, or a plan made of it: data, which any role that may write the
//! table has written. Such a string may name a place. It may not choose the files of this host that are used, and a password that it does
//! not bring along goes there only in ways that do not give it away.
//!
//! It is recognised here, by what it says, when a connection is made. So nothing has to be carried along that could be forgotten, and a
//! string that went through a plan, a journal or another process is judged like any other.

use std::path::Path;

use super::conninfo::{Conninfo, KEYWORDS};
use super::failure::ConnectError;
use crate::system::environment::Environment;

/// Keywords that do not decide where a connection leads, or who may listen on the way.
const INDIFFERENT: [&str; 17] = [
    "user",
    "password",
    "dbname",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "replication",
    "target_session_attrs",
    "load_balance_hosts",
    "sslsni",
];

/// Keywords that name files and settings of this host. gsslib and the rest of GSSAPI and OAuth pgbaton does not have.
const OF_THIS_HOST: [&str; 8] =
    ["service", "passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "sslkeylogfile"];

/// Where the password for a server was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordFrom {
    /// In the connection string itself.
    TheString,
    /// In a password file, under the host and the role.
    PasswordFile,
    /// In the environment, a service file, or from a person.
    Elsewhere,
}

/// When a password is sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleartext {
    /// Whenever the server asks for it.
    Always,
    /// Where only the right server can read it: TLS with a certificate that was checked, or a socket of this very user or of root.
    Protected,
    /// Never.
    Never,
}

/// The ways in which a password may be proved to a server, apart from SCRAM, which does not reveal it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proofs {
    /// As it is.
    pub cleartext: Cleartext,
    /// Its MD5 hash, which is as good as the password, and easily guessed from.
    pub md5: bool,
}

impl Proofs {
    /// Of a string of the user's own.
    pub const ALL: Self = Self { cleartext: Cleartext::Always, md5: true };
}

/// What is known of a connection string's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The configuration or the command line leads to the same place.
    own: bool,
    /// They name the same role, there or elsewhere.
    own_role: bool,
    /// The string names an address in addition to or instead of a host.
    has_address: bool,
    /// The configuration permits cleartext passwords.
    cleartext_allowed: bool,
}

impl Provenance {
    /// Finds out where a connection string comes from.
    ///
    /// # Errors
    /// If it is not the user's own, and names what belongs to this host.
    pub fn of(conninfo: &Conninfo, environment: &Environment) -> Result<Self, ConnectError> {
        let said = environment.said();
        let own: Vec<Conninfo> =
            said.conninfos.iter().filter_map(|text| Conninfo::parse(text).ok()).collect();
        let role = |conninfo: &Conninfo| {
            let named = conninfo.get("user").or_else(|| environment.get("PGUSER"));
            named.map(str::to_string).or_else(|| environment.user.clone())
        };
        let found = Self {
            own: own.iter().any(|own| destination(own) == destination(conninfo)),
            own_role: own.iter().any(|own| role(own) == role(conninfo)),
            has_address: conninfo.get("hostaddr").is_some_and(|text| !text.is_empty()),
            cleartext_allowed: said.cleartext_passwords,
        };
        if !found.own {
            refuse(conninfo, &own, said.passfile.as_deref(), environment)?;
        }
        Ok(found)
    }

    /// Says whether it is the user's own.
    pub fn is_own(self) -> bool {
        self.own
    }

    /// Says whether a password that is of no particular host, from the environment or a service file, is used at all: it is that of the own
    /// role, and by an address alone any server could ask for its proof, from which a weak one can be guessed.
    pub fn takes_password_of_any_host(self) -> bool {
        self.own || self.own_role && !self.has_address
    }

    /// Says how a password may be proved.
    pub fn proofs(self, from: PasswordFrom) -> Proofs {
        let cleartext = if self.cleartext_allowed { Cleartext::Always } else { Cleartext::Protected };
        match from {
            _ if self.own => Proofs::ALL,
            PasswordFrom::TheString => Proofs { cleartext, md5: true },
            // The file says which host may have it: that means nothing if the connection goes to an address. And a role whose password was not
            // given is most likely a more powerful one.
            PasswordFrom::PasswordFile if self.own_role && !self.has_address => {
                Proofs { cleartext, md5: true }
            }
            PasswordFrom::PasswordFile | PasswordFrom::Elsewhere => {
                Proofs { cleartext: Cleartext::Never, md5: false }
            }
        }
    }
}

/// Returns a connection string without what a row must not make the server do: `options` are settings of the session, of which the
/// configuration, the command line and the environment decide.
pub fn without_options(conninfo: &Conninfo, environment: &Environment) -> Conninfo {
    let mut kept = conninfo.clone();
    let said = environment.said();
    let mut own = said.conninfos.iter().filter_map(|text| Conninfo::parse(text).ok());
    let is_own = own.any(|own| {
        destination(&own) == destination(conninfo) || own.get("options") == conninfo.get("options")
    });
    if !is_own {
        kept.remove("options");
    }
    kept
}

/// Makes a program of PostgreSQL keep to the same when it connects to where its arguments lead; returns a variable for it.
pub fn pin_destination(args: &mut [String], environment: &Environment) -> Option<(String, String)> {
    for arg in args.iter_mut() {
        let found = ["--dbname=", "--source-server="]
            .iter()
            .find_map(|option| Some((*option, Conninfo::parse(arg.strip_prefix(option)?).ok()?)));
        if let Some((option, conninfo)) = found.filter(|(_, conninfo)| conninfo.get("options").is_some()) {
            *arg = format!("{option}{}", without_options(&conninfo, environment));
        }
    }
    for_a_program(args, environment)
}

/// Returns the variable that makes a program of PostgreSQL keep to the same when it connects to where its arguments lead.
///
/// It takes a libpq of 16 or later; earlier ones know no such thing. They get to a server only after pgbaton itself has been there.
fn for_a_program(args: &[String], environment: &Environment) -> Option<(String, String)> {
    const VARIABLE: &str = "PGREQUIREAUTH";
    let leads = |arg: &String| {
        ["--dbname=", "--source-server="]
            .iter()
            .find_map(|option| Conninfo::parse(arg.strip_prefix(option)?).ok())
    };
    let conninfo = args.iter().find_map(leads)?;
    // What the user requires may be more, and is the user's affair.
    if environment.get(VARIABLE).is_some() || conninfo.get("require_auth").is_some() {
        return None;
    }
    let verified = matches!(conninfo.get("sslmode"), Some("verify-ca" | "verify-full"));
    let from = match (conninfo.get("password"), environment.get("PGPASSWORD")) {
        (None, Some(_)) => PasswordFrom::Elsewhere,
        // The role of a replication connection may well be another one; which file it is, the configuration of that server says.
        _ => PasswordFrom::TheString,
    };
    let refused = match Provenance::of(&conninfo, environment).map(|provenance| provenance.proofs(from)) {
        Ok(Proofs { cleartext: Cleartext::Always, .. }) => return None,
        Ok(Proofs { md5: false, .. }) => "!password,!md5",
        _ if verified => return None,
        _ => "!password",
    };
    Some((VARIABLE.to_string(), refused.to_string()))
}

/// Returns what decides where a connection leads.
fn destination(conninfo: &Conninfo) -> Vec<(&str, &str)> {
    let mut pairs: Vec<_> = conninfo.iter().filter(|(keyword, _)| !INDIFFERENT.contains(keyword)).collect();
    pairs.sort_unstable();
    pairs
}

/// Refuses what a string that is not the user's own must not choose.
fn refuse(
    conninfo: &Conninfo,
    own: &[Conninfo],
    passfile: Option<&Path>,
    environment: &Environment,
) -> Result<(), ConnectError> {
    for (keyword, value) in conninfo.iter() {
        let variable = KEYWORDS.iter().find(|known| known.name == keyword).and_then(|known| known.variable);
        let said = own.iter().any(|own| own.get(keyword) == Some(value))
            || variable.and_then(|variable| environment.get(variable)) == Some(value)
            || (keyword == "passfile" && passfile == Some(Path::new(value)));
        let of_this_host = match keyword {
            "sslrootcert" if value == "system" => false,
            "gssdelegation" => value == "1",
            // It may demand the strongest, and must not permit what the user does not.
            "require_auth" => !matches!(value, "" | "scram-sha-256"),
            keyword => OF_THIS_HOST.contains(&keyword) && !value.is_empty(),
        };
        if of_this_host && !said {
            let error =
                ConnectError::not_supported(keyword, "it comes from the metadata, not from this host");
            return Err(error
                .detail(format!(
                    "The registered conninfo sets it to \"{value}\". A row of the metadata does not choose files and services of this host."
                ))
                .hint(format!(
                    "If it is right here too, write \"{keyword}={value}\" into conninfo of this host's configuration."
                )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "host=node1 port=5433 user=repmgr dbname=repmgr sslmode=verify-full sslrootcert=/ca";

    fn environment(cleartext: bool) -> Environment {
        let environment = Environment::from_pairs([("USER", "os"), ("PGSSLCRL", "/crl")]);
        environment.say(|said| {
            said.conninfos.push(OWN.into());
            said.passfile = Some("/pass".into());
            said.cleartext_passwords = cleartext;
        });
        environment
    }

    fn of(text: &str) -> Result<Provenance, ConnectError> {
        Provenance::of(&Conninfo::parse(text).unwrap(), &environment(false))
    }

    #[test]
    fn the_users_own_place_is_recognised_in_any_form() {
        for own in [
            OWN,
            "port=5433 sslrootcert=/ca host=node1 sslmode=verify-full user=postgres dbname=x password=p connect_timeout=9",
            "postgresql://other@node1:5433/db?sslmode=verify-full&sslrootcert=/ca&application_name=x",
        ] {
            assert!(of(own).unwrap().is_own(), "{own}");
            assert_eq!(of(own).unwrap().proofs(PasswordFrom::Elsewhere), Proofs::ALL);
        }
        for row in [
            "host=node2 port=5433 user=repmgr sslmode=verify-full sslrootcert=/ca",
            "host=node1 port=5434 user=repmgr sslmode=verify-full sslrootcert=/ca",
            "host=node1 port=5433 user=repmgr sslrootcert=/ca",
            "host=node1 port=5433 user=repmgr sslmode=disable sslrootcert=/ca",
            "host=node1 hostaddr=10.0.0.9 port=5433 user=repmgr sslmode=verify-full sslrootcert=/ca",
            "host=node1,evil port=5433 user=repmgr sslmode=verify-full sslrootcert=/ca",
            "",
        ] {
            assert!(!of(row).unwrap().is_own(), "{row}");
        }
    }

    #[test]
    fn by_a_row_a_password_goes_only_where_it_is_not_given_away() {
        let only_scram = Proofs { cleartext: Cleartext::Never, md5: false };
        let careful = Proofs { cleartext: Cleartext::Protected, md5: true };
        for (row, from_file) in [
            ("host=node2 user=repmgr", careful),
            ("host=node2 hostaddr=10.0.0.9 user=repmgr", only_scram),
            ("hostaddr=10.0.0.9 user=repmgr", only_scram),
            ("host=node2 user=postgres", only_scram),
            // The operating system's user is another role than the one that was named.
            ("host=node2", only_scram),
        ] {
            let row = of(row).unwrap();
            assert_eq!(row.proofs(PasswordFrom::PasswordFile), from_file);
            assert_eq!(row.proofs(PasswordFrom::Elsewhere), only_scram);
            assert_eq!(row.proofs(PasswordFrom::TheString), careful);
        }
        let row = Conninfo::parse("host=node2 user=repmgr").unwrap();
        let allowed = Provenance::of(&row, &environment(true)).unwrap();
        assert_eq!(allowed.proofs(PasswordFrom::PasswordFile), Proofs::ALL);
        assert_eq!(allowed.proofs(PasswordFrom::Elsewhere), only_scram);
        // Where nothing was given, nothing is the user's own.
        let unset = Provenance::of(&row, &Environment::from_pairs([("USER", "repmgr")])).unwrap();
        assert_eq!(unset.proofs(PasswordFrom::PasswordFile), only_scram);
    }

    #[test]
    fn a_program_of_postgresql_is_held_to_the_same() {
        let required = |arg: &str, environment: &Environment| {
            let args = ["-X".to_string(), arg.to_string()];
            for_a_program(&args, environment).map(|(_, value)| value)
        };
        let strict = environment(false);
        assert_eq!(required(&format!("--dbname={OWN} replication=true"), &strict), None);
        assert_eq!(required("--source-server=host=node2 user=repmgr", &strict).as_deref(), Some("!password"));
        assert_eq!(
            required("--dbname=host=node2 passfile=/server/pass", &strict).as_deref(),
            Some("!password")
        );
        assert_eq!(required("--dbname=host=node2 sslmode=verify-full", &strict), None);
        assert_eq!(required("--dbname=host=node2", &environment(true)), None);
        assert_eq!(required("--command=host=node2", &strict), None);
        let entered = Environment::from_pairs([("PGPASSWORD", "p")]);
        entered.say(|said| said.conninfos.push(OWN.into()));
        assert_eq!(required("--dbname=host=node2", &entered).as_deref(), Some("!password,!md5"));
        assert_eq!(required(&format!("--dbname={OWN}"), &entered), None);
        assert_eq!(
            required("--dbname=host=node2", &Environment::from_pairs([("PGREQUIREAUTH", "md5")])),
            None
        );
    }

    #[test]
    fn the_settings_of_the_sessions_of_a_server_are_not_chosen_by_a_row() {
        let environment = environment(false);
        environment.say(|said| said.conninfos.push("host=node9 options='-c geqo=off'".into()));
        let kept = |text: &str| {
            let kept = without_options(&Conninfo::parse(text).unwrap(), &environment);
            kept.get("options").map(str::to_string)
        };
        assert_eq!(kept("host=node2 options='-c role=postgres'"), None);
        assert_eq!(kept("host=node2 options='-c geqo=off'").as_deref(), Some("-c geqo=off"));
        let own = format!("{OWN} options='-c search_path=x'");
        assert_eq!(kept(&own).as_deref(), Some("-c search_path=x"));
        let mut args =
            vec!["-X".to_string(), "--dbname=host=node2 options='-c role=postgres' replication=true".into()];
        pin_destination(&mut args, &environment);
        assert_eq!(args, ["-X", "--dbname=host=node2 replication=true"]);
        let mut args = vec!["--dbname=host=node2 user=repmgr".to_string()];
        pin_destination(&mut args, &environment);
        assert_eq!(args, ["--dbname=host=node2 user=repmgr"]);
    }

    #[test]
    fn files_of_this_host_are_not_chosen_by_a_row() {
        for good in [
            "sslrootcert=/ca",
            "sslrootcert=system",
            "sslcrl=/crl",
            "passfile=/pass",
            "gssdelegation=0",
            "require_auth=scram-sha-256",
            "sslcert=''",
        ] {
            assert!(of(&format!("host=node2 {good}")).is_ok(), "{good}");
        }
        for bad in [
            "sslrootcert=/tmp/ca",
            "sslcert=/ca",
            "sslkey=/etc/key",
            "sslcrl=/tmp/crl",
            "sslcrldir=/tmp",
            "passfile=/root/.pgpass",
            "service=production",
            "require_auth=password",
            "gssdelegation=1",
            "sslkeylogfile=/etc/passwd",
        ] {
            let error = of(&format!("host=node2 {bad}")).unwrap_err();
            assert!(error.text.hint.unwrap().contains(bad), "{bad}");
        }
    }
}
