//! As libpq does it: `tests/libpq.rs` compares the two.

use std::io::Write;

use super::*;
use crate::pg::failure::Kind;

fn environment() -> Environment {
    Environment::from_pairs([("USER", "os"), ("HOME", "/nonexistent")])
}

/// Makes it the environment of a user whose own string this is.
fn saying(environment: Environment, text: &str) -> Environment {
    environment.say(|said| said.conninfos.push(text.to_string()));
    environment
}

fn resolved(text: &str) -> Result<Resolved> {
    resolve(&Conninfo::parse(text).unwrap(), &saying(environment(), text))
}

fn error(text: &str) -> String {
    resolved(text).unwrap_err().text.message
}

fn tcp(name: Option<&str>, address: Option<&str>) -> Host {
    Host::Tcp { name: name.map(str::to_string), address: address.map(|text| text.parse().unwrap()) }
}

#[test]
fn lists_of_hosts_expand_as_in_libpq() {
    let hosts = |text| -> Vec<(Host, u16)> {
        resolved(text).unwrap().targets.into_iter().map(|target| (target.host, target.port)).collect()
    };
    let socket = || Host::Socket(targets::default_socket_directory());
    assert_eq!(hosts(""), [(socket(), 5432)]);
    assert_eq!(hosts("host=a,b port=1"), [(tcp(Some("a"), None), 1), (tcp(Some("b"), None), 1)]);
    assert_eq!(
        hosts("host=a,,/s port=1,2,"),
        [(tcp(Some("a"), None), 1), (socket(), 2), (Host::Socket("/s".into()), 5432)]
    );
    assert_eq!(
        hosts("host=a,b hostaddr=10.0.0.1,"),
        [(tcp(Some("a"), Some("10.0.0.1")), 5432), (tcp(Some("b"), None), 5432)]
    );
    assert_eq!(hosts("hostaddr=::1"), [(tcp(None, Some("::1")), 5432)]);
    assert_eq!(error("host=a,b hostaddr=10.0.0.1"), "could not match 2 host names to 1 hostaddr values");
    assert_eq!(error("host=a,b port=1,2,3"), "could not match 3 port numbers to 2 hosts");
    assert_eq!(error("hostaddr=name"), "could not parse network address \"name\"");
    assert_eq!(error("port=0"), "invalid port number: \"0\"");
    assert!(!error("postgres://u:secret/x@host/db").contains("secret"));
}

#[test]
fn the_string_wins_over_the_service_over_the_environment_over_defaults() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "[s]\ndbname=of_service\nport=2\nuser=of_service\n").unwrap();
    let path = file.path().to_str().unwrap();
    let environment = Environment::from_pairs([
        ("PGSERVICEFILE", path),
        ("PGSERVICE", "s"),
        ("PGUSER", "of_environment"),
        ("PGHOST", "of_environment"),
        ("PGAPPNAME", "of_environment"),
        ("USER", "os"),
    ]);
    let resolved = resolve(&Conninfo::parse("dbname=of_string").unwrap(), &environment).unwrap();
    assert_eq!(resolved.dbname, "of_string");
    assert_eq!(resolved.user, "of_service");
    assert_eq!(resolved.targets[0].port, 2);
    assert_eq!(resolved.targets[0].host, tcp(Some("of_environment"), None));
    assert_eq!(resolved.application_name.as_deref(), Some("of_environment"));
    let environment = saying(environment, "service=t");
    let missing = resolve(&Conninfo::parse("service=t").unwrap(), &environment).unwrap_err();
    assert_eq!(missing.message, "definition of service \"t\" not found");
}

#[test]
fn a_row_does_not_choose_the_settings_of_the_session() {
    let row = Conninfo::parse("host=other options='-c role=postgres'").unwrap();
    let own = "host=own options='-c geqo=off'";
    let options = |environment: Environment| resolve(&row, &saying(environment, own)).unwrap().options;
    assert_eq!(options(environment()), None);
    let by_variable = Environment::from_pairs([("USER", "os"), ("PGOPTIONS", "-c geqo=on")]);
    assert_eq!(options(by_variable).as_deref(), Some("-c geqo=on"));
    assert_eq!(resolved(own).unwrap().options.as_deref(), Some("-c geqo=off"));
}

#[test]
fn defaults_are_those_of_libpq() {
    let resolved = resolved("").unwrap();
    assert_eq!((resolved.user.as_str(), resolved.dbname.as_str()), ("os", "os"));
    assert_eq!(resolved.connect_timeout, None);
    assert_eq!(resolved.tls.mode, SslMode::Prefer);
    assert_eq!(resolved.tls.key, Some("/nonexistent/.postgresql/postgresql.key".into()));
}

#[test]
fn timeouts_have_the_units_of_libpq() {
    let timeout = |text| resolved(text).unwrap().connect_timeout;
    assert_eq!(timeout("connect_timeout=1"), Some(Duration::from_secs(2)));
    assert_eq!(timeout("connect_timeout=' 5 '"), Some(Duration::from_secs(5)));
    assert_eq!(timeout("connect_timeout=-1"), Some(Duration::ZERO));
    assert_eq!(resolved("tcp_user_timeout=10000").unwrap().tcp_user_timeout_ms, Some(10_000));
    assert_eq!(resolved("keepalives_idle=0").unwrap().keepalives.idle_s, None);
}

#[test]
fn a_connection_that_has_fallen_silent_is_given_up_unless_the_conninfo_says_otherwise() {
    let silence = |text| {
        let resolved = resolved(text).unwrap();
        (resolved.keepalives.idle_s, resolved.keepalives.interval_s, resolved.tcp_user_timeout_ms)
    };
    assert_eq!(silence(""), (Some(PROBE_S), Some(PROBE_S), Some(SILENCE_MS)));
    assert_eq!(silence("keepalives_idle=60 tcp_user_timeout=0"), (Some(60), Some(PROBE_S), None));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (text, keyword) in [
        ("gssencmode=require", "gssencmode"),
        ("require_auth=gss,sspi", "require_auth"),
        ("oauth_issuer=https://x", "oauth_issuer"),
        ("replication=database", "replication"),
        ("min_protocol_version=3.2", "min_protocol_version"),
        ("sslkey=engine:x", "sslkey"),
        ("sslcertmode=require", "sslcertmode"),
    ] {
        let error = resolved(text).unwrap_err();
        assert_eq!(error.kind, Kind::NotSupported(keyword.into()), "{text}");
        assert!(error.message.contains(keyword));
    }
}

#[test]
fn what_pg_basebackup_writes_is_accepted() {
    resolved(
        "user=postgres passfile='/var/lib/postgresql/.pgpass' channel_binding=prefer host=127.0.0.1 port=56001 \
         application_name=node2 sslmode=prefer sslnegotiation=postgres sslcompression=0 sslcertmode=allow sslsni=1 \
         ssl_min_protocol_version=TLSv1.2 gssencmode=prefer krbsrvname=postgres gssdelegation=0 \
         target_session_attrs=any load_balance_hosts=disable dbname=postgres",
    )
    .unwrap();
}

#[test]
fn invalid_values_are_named() {
    assert_eq!(error("sslmode=always"), "invalid sslmode value: \"always\"");
    assert_eq!(error("sslmode=''"), "invalid sslmode value: \"\"");
    assert_eq!(error("ssl_min_protocol_version=SSLv3"), "invalid ssl_min_protocol_version value: \"SSLv3\"");
    assert_eq!(
        error("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2"),
        "invalid SSL protocol version range"
    );
    assert_eq!(
        error("sslnegotiation=direct"),
        "weak sslmode \"prefer\" may not be used with sslnegotiation=direct"
    );
    assert_eq!(
        error("connect_timeout=soon"),
        "invalid integer value \"soon\" for connection option \"connect_timeout\""
    );
    let typo = resolved("hots=a").unwrap_err();
    assert_eq!(typo.message, "invalid connection option \"hots\"");
    assert_eq!(typo.hint.as_deref(), Some("Did you mean \"host\"?"));
}

#[test]
fn require_auth_is_a_list_of_what_is_or_is_not_agreed_to() {
    let methods = |text| resolved(text).unwrap().methods;
    let scram = Methods { none: false, password: false, md5: false, scram: true };
    assert_eq!(methods("require_auth=scram-sha-256"), scram);
    assert_eq!(methods("require_auth=!password,!none"), Methods { md5: true, ..scram });
    assert!(error("require_auth=md5,!none").contains("cannot be mixed"));
    assert!(error("require_auth=md5,md5").contains("more than once"));
    assert!(error("require_auth=magic").contains("invalid require_auth value"));
}

#[test]
fn a_password_of_the_file_is_found_for_each_host() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "a:5432:*:*:of_a\n10.0.0.1:*:*:*:of_address\nlocalhost:*:*:*:of_socket").unwrap();
    let text = format!("passfile={} ", file.path().display());
    let password = |rest: &str| {
        let mut targets = resolved(&format!("{text}{rest}")).unwrap().targets;
        targets.pop().unwrap().password.map(|secret| secret.reveal().to_string())
    };
    assert_eq!(password("host=a").as_deref(), Some("of_a"));
    assert_eq!(password("host=a port=1"), None);
    assert_eq!(password("hostaddr=10.0.0.1").as_deref(), Some("of_address"));
    assert_eq!(password("").as_deref(), Some("of_socket"));
    assert_eq!(password("password=own").as_deref(), Some("own"));
    assert_eq!(password("host=a password=''").as_deref(), Some("of_a"));
}
