//! Connections to real servers: psql says what should happen, and we do the same, within the deadline.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgbaton::pg::client::SqlErrorKind;
use pgbaton::pg::failure::Kind;
use pgbaton::pg::statement::Statement;
use pgbaton::pg::{Answered, ConnectError, ConnectOptions, Conninfo, Session, connect};
use pgbaton::secret::Secret;
use pgbaton::system::environment::Environment;

use crate::support::{
    self, Attack, Fault, Hostile, Pg, Proxy, Running, SOON, TestCluster, TestServer, clean_command, postgres,
    run_tool, versions,
};

/// Over the deadline a test may be this late before that is taken for a hang: the machine may be busy.
const MARGIN: Duration = Duration::from_secs(4);

/// Runs something with a runtime like the program's. Ends it like the program does: without waiting for the resolver.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Where both sides are run from: a home directory and variables.
struct Desk {
    psql: PathBuf,
    home: PathBuf,
    variables: Vec<(String, String)>,
}

impl Desk {
    fn new(cluster: &TestCluster, pg: &Pg) -> Self {
        // Older ones do not know everything that we do: half of the target_session_attrs, addresses in certificates.
        let judge = if pg.major >= 15 { pg.clone() } else { postgres(15).unwrap() };
        Self { psql: judge.tool("psql"), home: cluster.dir().join("home"), variables: Vec::new() }
    }

    fn with(&self, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self { psql: self.psql.clone(), home: self.home.clone(), variables }
    }

    fn environment(&self) -> Environment {
        let home = self.home.to_str().unwrap();
        let user = Environment::of_process().user.unwrap();
        let pairs = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Environment::from_pairs(pairs.chain([("HOME", home), ("USER", user.as_str())]))
    }

    fn psql(&self, conninfo: &str) -> Result<(), String> {
        let mut command = clean_command(&self.psql);
        command.env("HOME", &self.home).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(["-X", "-w", "-At", "-c", "SELECT 1", "-d", conninfo]);
        let output = Running::start(command).wait(SOON);
        if output.status.success() { Ok(()) } else { Err(output.stderr) }
    }

    async fn connect(&self, conninfo: &str) -> Result<Session, ConnectError> {
        // As if it stood in the configuration: that is where pgbaton does as psql does.
        let environment = self.environment();
        environment.say(|said| said.conninfos.push(conninfo.to_string()));
        let conninfo = Conninfo::parse(conninfo).unwrap();
        connect(&conninfo, &environment, &ConnectOptions::default()).await
    }

    /// Fails unless psql and we both connect, or both do not.
    #[track_caller]
    fn agree(&self, connects: bool, conninfo: &str) {
        let theirs = self.psql(conninfo);
        let ours = run(async {
            let session = self.connect(conninfo).await?;
            session.query_one("SELECT 'one'", &[]).await.unwrap();
            Ok::<(), ConnectError>(())
        });
        assert!(
            theirs.is_ok() == connects && ours.is_ok() == connects,
            "{conninfo}\n{:?}\nexpected to connect: {connects}\npsql: {theirs:?}\nours: {ours:?}",
            self.variables
        );
    }

    #[track_caller]
    fn fails(&self, conninfo: &str) -> ConnectError {
        run(async { self.connect(conninfo).await }).expect_err(conninfo)
    }
}

/// A port with a listener that is no PostgreSQL server.
struct Impostor {
    port: u16,
}

impl Impostor {
    /// Never accepts; the kernel does.
    fn silent() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (Self { port: listener.local_addr().unwrap().port() }, listener)
    }

    /// Reads a packet, says something, and hangs up.
    fn saying(text: &'static [u8]) -> Self {
        let (this, listener) = Self::silent();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut packet = [0; 8];
                let _ = stream.read_exact(&mut packet);
                let _ = stream.write_all(text);
            }
        });
        this
    }
}

const ROLES: &str = "
    SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD 'secret';
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE scram LOGIN PASSWORD 'secret'; CREATE ROLE clear LOGIN PASSWORD 'secret';
    CREATE ROLE tls_only LOGIN PASSWORD 'secret'; CREATE ROLE clear_only LOGIN PASSWORD 'secret';
    CREATE ROLE denied LOGIN; CREATE ROLE certified LOGIN; CREATE ROLE free LOGIN";

const HBA: &str = "
    local all scram scram-sha-256
    local all all trust
    host all scram 127.0.0.1/32 scram-sha-256
    host all hashed 127.0.0.1/32 md5
    host all clear 127.0.0.1/32 password
    hostssl all tls_only 127.0.0.1/32 scram-sha-256
    hostnossl all clear_only 127.0.0.1/32 scram-sha-256
    hostssl all certified 127.0.0.1/32 cert
    host all denied 127.0.0.1/32 reject
    host all free,postgres,repmgr 127.0.0.1/32 trust
    host replication all 127.0.0.1/32 trust";

/// Makes a certificate authority, certificates of every kind, and revocation lists, with the openssl program.
fn certificates(dir: &Path) {
    let script = r#"
        set -eu
        cd "$1"
        new() { openssl req -new -newkey rsa:2048 -nodes -keyout "$1.key" -subj "$2" -out "$1.csr" 2>/dev/null; }
        sign() { openssl x509 -req -in "$1.csr" -CA root.crt -CAkey root.key -CAcreateserial -days 30 \
            -extfile "$1.ext" -out "$1.crt" 2>/dev/null; }
        openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.crt -days 30 -subj /CN=root 2>/dev/null
        openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.crt -days 30 -subj /CN=other 2>/dev/null
        echo 'subjectAltName=DNS:localhost,IP:127.0.0.1' >server.ext; new server /CN=server; sign server
        echo 'subjectAltName=DNS:elsewhere' >named.ext; new named /CN=localhost; sign named
        : >bare.ext; new bare /CN=localhost; sign bare
        : >client.ext; new client /CN=certified; sign client
        openssl rsa -in client.key -aes128 -passout pass:phrase -out locked.key 2>/dev/null
        printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=30\n' >ca.conf
        : >index
        openssl ca -config ca.conf -cert root.crt -keyfile root.key -gencrl -out clean.crl 2>/dev/null
        openssl ca -config ca.conf -cert root.crt -keyfile root.key -revoke server.crt 2>/dev/null
        openssl ca -config ca.conf -cert root.crt -keyfile root.key -gencrl -out revoked.crl 2>/dev/null
        mkdir revoked; cp revoked.crl "revoked/$(openssl crl -hash -noout -in revoked.crl).r0"
        chmod 600 ./*.key; cp client.key open.key; chmod 644 open.key
    "#;
    std::fs::create_dir(dir).unwrap();
    run_tool(Path::new("/bin/sh"), ["-c", script, "sh", dir.to_str().unwrap()]).code(0);
}

/// Makes a server present a certificate, or none.
fn present(server: &TestServer, certificates: &Path, name: Option<&str>) {
    let setting = match name {
        Some(name) => format!(
            "ssl = on\nssl_cert_file = '{0}/{name}.crt'\nssl_key_file = '{0}/{name}.key'\nssl_ca_file = '{0}/root.crt'\n",
            certificates.display()
        ),
        None => "ssl = off\n".into(),
    };
    server.append_conf(&setting);
    server.reload();
    let shown = name.map_or("off".to_string(), |name| format!("{}/{name}.crt", certificates.display()));
    let question = if name.is_some() { "SHOW ssl_cert_file" } else { "SHOW ssl" };
    // A new session is started by a postmaster that has read the new settings, or else it is asked again.
    server.wait_until(question, &shown, SOON);
}

fn prepared(cluster: &TestCluster) -> TestServer {
    let node1 = cluster.primary("node1");
    node1.psql(ROLES);
    node1.set_hba(HBA);
    node1.reload();
    node1
}

#[test]
fn passwords_sockets_and_methods_as_psql() {
    for pg in versions() {
        let cluster = TestCluster::new(&pg);
        let node1 = prepared(&cluster);
        let desk = Desk::new(&cluster, &pg);
        let tcp = format!("host=127.0.0.1 port={} dbname=postgres", node1.port);
        let socket = format!("host={} port={} dbname=postgres", node1.socket_dir.display(), node1.port);
        node1.wait_until("SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'reject'", "1", SOON);

        for user in ["scram", "hashed", "clear", "clear_only"] {
            desk.agree(true, &format!("{tcp} user={user} password=secret"));
            desk.agree(false, &format!("{tcp} user={user} password=wrong"));
            desk.agree(false, &format!("{tcp} user={user}"));
        }
        desk.agree(true, &format!("{tcp} user=free"));
        desk.agree(false, &format!("{tcp} user=denied"));
        desk.agree(false, &format!("{tcp} user=tls_only password=secret"));
        desk.agree(false, &format!("{tcp} user=nobody_of_that_name"));
        desk.agree(false, &format!("{tcp} user=free dbname=missing"));
        desk.agree(
            true,
            &format!("postgresql://scram:secret@127.0.0.1:{}/postgres?sslmode=prefer", node1.port),
        );
        desk.agree(true, &format!("hostaddr=127.0.0.1 port={} user=free dbname=postgres", node1.port));
        desk.agree(false, &format!("{tcp} user=free options='-c nonsense=1'"));
        desk.agree(true, &format!("{tcp} user=free options='-c statement_timeout=1s -c search_path=x'"));

        // No TLS on this server, so: clear text, or nothing.
        for (mode, connects) in [("disable", true), ("allow", true), ("prefer", true), ("require", false)] {
            desk.agree(connects, &format!("{tcp} user=free sslmode={mode}"));
        }
        desk.agree(true, &format!("{socket} user=free"));
        desk.agree(true, &format!("{socket} user=free sslmode=require"));
        desk.agree(false, &format!("{socket} user=scram"));
        desk.agree(true, &format!("{socket} user=scram password=secret"));
        let owner = Environment::of_process().user.unwrap();
        desk.agree(true, &format!("{socket} user=free requirepeer={owner}"));
        desk.agree(false, &format!("{socket} user=free requirepeer=root"));
        desk.agree(false, &format!("{tcp} user=scram password=secret channel_binding=require"));
        desk.agree(false, "host=/nonexistent user=free dbname=postgres");
        desk.agree(false, &format!("{tcp} user=free gssencmode=require"));
        desk.agree(true, &format!("{tcp} user=free gssencmode=disable"));

        // Environment, service and password file.
        let port = node1.port.to_string();
        let place =
            [("PGHOST", "127.0.0.1"), ("PGPORT", &*port), ("PGDATABASE", "postgres"), ("PGUSER", "scram")];
        desk.with(&[&place[..], &[("PGPASSWORD", "secret")]].concat()).agree(true, "");
        desk.with(&place).agree(false, "");
        desk.with(&place).agree(true, "user=free");
        let services = desk.home.join(".pg_service.conf");
        std::fs::write(
            &services,
            format!("[mine]\nhost=127.0.0.1\nport={port}\nuser=free\ndbname=postgres\n"),
        )
        .unwrap();
        desk.agree(true, "service=mine");
        desk.agree(false, "service=yours");
        desk.with(&[("PGSERVICE", "mine")]).agree(true, "");
        let passwords = desk.home.join(".pgpass");
        std::fs::write(&passwords, format!("127.0.0.1:{port}:*:scram:secret\n")).unwrap();
        std::fs::set_permissions(&passwords, PermissionsExt::from_mode(0o600)).unwrap();
        desk.with(&place).agree(true, "");
        desk.agree(true, "service=mine user=scram");
        std::fs::set_permissions(&passwords, PermissionsExt::from_mode(0o644)).unwrap();
        desk.agree(false, "service=mine user=scram");
        let error = desk.fails("service=mine user=scram");
        assert_eq!(error.kind, Kind::PasswordMissing);
        assert!(error.text.detail.unwrap().contains("group or world access"));
    }
}

#[test]
fn lists_of_hosts_and_kinds_of_servers_as_psql() {
    for pg in versions() {
        let cluster = TestCluster::new(&pg);
        let node1 = prepared(&cluster);
        let node2 = cluster.standby("node2", &node1);
        let desk = Desk::new(&cluster, &pg);
        let (p1, p2) = (node1.port, node2.port);
        let nowhere = cluster.empty("nowhere");
        let closed = nowhere.port;
        let (silent, _listener) = Impostor::silent();
        let closing = Impostor::saying(b"");
        let http = Impostor::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let list = |ports: &[u16], rest: &str| {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            let hosts = vec!["127.0.0.1"; ports.len()].join(",");
            format!(
                "host={hosts} port={} dbname=postgres user=free connect_timeout=2 {rest}",
                ports.join(",")
            )
        };
        desk.agree(true, &list(&[closed, p1], ""));
        desk.agree(true, &list(&[silent.port, p1], ""));
        desk.agree(false, &list(&[closed, silent.port], ""));
        // Only a server that is not there, or cannot take connections yet, sends libpq on to the next one.
        desk.agree(false, &list(&[closing.port, p1], ""));
        desk.agree(false, &list(&[http.port, p1], ""));
        desk.agree(false, &list(&[p1, p2], "user=scram password=wrong"));
        desk.agree(false, &list(&[p1, p2], "dbname=missing"));
        desk.agree(false, &list(&[p1, p2], "user=denied"));
        desk.agree(true, &format!("host=127.0.0.1,127.0.0.1 port={p1} dbname=postgres user=free"));
        desk.agree(false, &format!("host=127.0.0.1,127.0.0.1 port={p1},{p2},1 dbname=postgres user=free"));
        desk.agree(true, &format!("host=no.such.host.invalid,127.0.0.1 port={p1} dbname=postgres user=free"));
        desk.agree(
            true,
            &format!("host=a,b hostaddr=127.0.0.1,127.0.0.1 port={closed},{p1} dbname=postgres user=free"),
        );

        for (attributes, alone1, alone2) in [
            ("any", true, true),
            ("read-write", true, false),
            ("read-only", false, true),
            ("primary", true, false),
            ("standby", false, true),
            ("prefer-standby", true, true),
        ] {
            let rest = format!("target_session_attrs={attributes}");
            desk.agree(alone1, &list(&[p1], &rest));
            desk.agree(alone2, &list(&[p2], &rest));
            desk.agree(true, &list(&[p1, p2], &rest));
            let port = run(async {
                let session = desk.connect(&list(&[p1, p2], &rest)).await.unwrap();
                let row = session.query_one("SELECT current_setting('port')", &[]).await.unwrap();
                row.get(0).unwrap().to_string()
            });
            let expected = if alone1 && attributes != "prefer-standby" { p1 } else { p2 };
            assert_eq!(port, expected.to_string(), "{attributes}");
        }
        let error = desk.fails(&list(&[p2], "target_session_attrs=read-write"));
        assert_eq!((error.kind, error.answered), (Kind::WrongTarget, Answered::Spoke));
        if pg.major >= 16 {
            desk.agree(true, &list(&[p1, p2], "load_balance_hosts=random target_session_attrs=standby"));
        }
        // A session with a read-only default is not read-write, not even on the primary.
        node1.psql("ALTER ROLE free SET default_transaction_read_only = on");
        desk.agree(false, &list(&[p1], "target_session_attrs=read-write"));
        desk.agree(true, &list(&[p1], "target_session_attrs=primary"));
        // A standby that takes no connections: the next server is tried.
        node2.append_conf("hot_standby = off");
        node2.stop(support::StopMode::Fast);
        let ctl = pg.tool("pg_ctl");
        let data = node2.data.to_str().unwrap();
        let log = node2.dir.join("start.log");
        run_tool(&ctl, ["start", "-W", "-D", data, "-l", log.to_str().unwrap()]).code(0);
        let begun = Instant::now();
        let mut error = desk.fails(&list(&[p2], ""));
        while error.kind == Kind::Refused && begun.elapsed() < SOON {
            error = desk.fails(&list(&[p2], ""));
        }
        assert_eq!((error.kind, error.answered), (Kind::StartingUp, Answered::Spoke));
        desk.agree(true, &list(&[p2, p1], ""));
    }
}

#[test]
fn tls_as_psql() {
    for pg in versions() {
        let cluster = TestCluster::new(&pg);
        let node1 = prepared(&cluster);
        let desk = Desk::new(&cluster, &pg);
        let dir = cluster.dir().join("certificates");
        certificates(&dir);
        present(&node1, &dir, Some("server"));
        let file = |name: &str| format!("{}/{name}", dir.display());
        let root = format!("sslrootcert={}", file("root.crt"));
        let other = format!("sslrootcert={}", file("other.crt"));
        let base = format!("port={} dbname=postgres connect_timeout=5", node1.port);
        let tcp = format!("{base} host=127.0.0.1");
        // The name is wrong, and the address right.
        let misnamed = format!("{base} host=wrong.name hostaddr=127.0.0.1");

        for (mode, connects) in [("disable", false), ("allow", true), ("prefer", true), ("require", true)] {
            desk.agree(connects, &format!("{tcp} user=tls_only password=secret sslmode={mode}"));
        }
        for (mode, connects) in [("disable", true), ("allow", true), ("prefer", true), ("require", false)] {
            desk.agree(connects, &format!("{tcp} user=clear_only password=secret sslmode={mode}"));
            desk.agree(false, &format!("{tcp} user=clear_only password=wrong sslmode={mode}"));
        }
        for mode in ["prefer", "allow"] {
            let error = desk.fails(&format!("{tcp} user=tls_only password=wrong sslmode={mode}"));
            assert_eq!(error.kind, Kind::Authentication, "{mode}: {error}");
            let error = desk.fails(&format!("{tcp} user=clear_only password=wrong sslmode={mode}"));
            assert_eq!(error.kind, Kind::Authentication, "{mode}: {error}");
        }
        // Verification.
        desk.agree(true, &format!("{tcp} user=free sslmode=verify-full {root}"));
        desk.agree(
            true,
            &format!("{base} host=localhost user=free sslmode=verify-full {root} hostaddr=127.0.0.1"),
        );
        desk.agree(false, &format!("{misnamed} user=free sslmode=verify-full {root}"));
        desk.agree(true, &format!("{misnamed} user=free sslmode=verify-ca {root}"));
        desk.agree(false, &format!("{base} hostaddr=127.0.0.1 user=free sslmode=verify-full {root}"));
        desk.agree(true, &format!("{base} hostaddr=127.0.0.1 user=free sslmode=require"));
        desk.agree(false, &format!("{tcp} user=free sslmode=verify-ca {other}"));
        desk.agree(false, &format!("{tcp} user=free sslmode=verify-ca"));
        desk.agree(false, &format!("{tcp} user=free sslmode=verify-ca sslrootcert=/nonexistent"));
        desk.agree(true, &format!("{tcp} user=free sslmode=require sslrootcert=/nonexistent"));
        desk.agree(false, &format!("{tcp} user=free sslmode=require {other}"));
        desk.agree(true, &format!("{tcp} user=free sslmode=prefer {other}"));
        desk.agree(false, &format!("{tcp} user=tls_only password=secret sslmode=prefer {other}"));
        // Versions, channel binding, server name.
        desk.agree(true, &format!("{tcp} user=free sslmode=require ssl_max_protocol_version=TLSv1.2"));
        desk.agree(
            true,
            &format!("{tcp} user=free sslmode=require ssl_min_protocol_version=tlsv1.3 sslsni=0"),
        );
        desk.agree(
            true,
            &format!("{tcp} user=tls_only password=secret sslmode=require channel_binding=require"),
        );
        desk.agree(false, &format!("{tcp} user=free sslmode=require channel_binding=require"));
        desk.agree(
            false,
            &format!("{tcp} user=hashed password=secret sslmode=require channel_binding=require"),
        );
        desk.agree(
            true,
            &format!("{tcp} user=tls_only password=secret sslmode=require channel_binding=disable"),
        );
        // Client certificates.
        let identity =
            |key: &str| format!("sslmode=require sslcert={} sslkey={}", file("client.crt"), file(key));
        desk.agree(true, &format!("{tcp} user=certified {}", identity("client.key")));
        desk.agree(false, &format!("{tcp} user=certified sslmode=require"));
        desk.agree(false, &format!("{tcp} user=certified {}", identity("open.key")));
        desk.agree(false, &format!("{tcp} user=certified {}", identity("server.key")));
        desk.agree(false, &format!("{tcp} user=certified {}", identity("missing.key")));
        desk.agree(true, &format!("{tcp} user=certified {} sslpassword=phrase", identity("locked.key")));
        desk.agree(false, &format!("{tcp} user=certified {} sslpassword=wrong", identity("locked.key")));
        desk.agree(false, &format!("{tcp} user=certified {}", identity("locked.key")));
        let error = desk.fails(&format!("{tcp} user=certified {}", identity("locked.key")));
        assert!(error.message.ends_with("it is encrypted, and there is no sslpassword"), "{error}");
        // Where libpq looks by itself.
        let home = desk.home.join(".postgresql");
        std::fs::create_dir(&home).unwrap();
        std::fs::copy(file("root.crt"), home.join("root.crt")).unwrap();
        std::fs::copy(file("client.crt"), home.join("postgresql.crt")).unwrap();
        std::fs::copy(file("client.key"), home.join("postgresql.key")).unwrap();
        desk.agree(true, &format!("{tcp} user=certified sslmode=verify-full"));
        desk.with(&[("PGSSLMODE", "verify-full")]).agree(true, &format!("{tcp} user=certified"));
        // Revoked certificates.
        desk.agree(true, &format!("{tcp} user=free sslmode=verify-ca sslcrl={}", file("clean.crl")));
        desk.agree(false, &format!("{tcp} user=free sslmode=verify-ca sslcrl={}", file("revoked.crl")));
        desk.agree(false, &format!("{tcp} user=free sslmode=verify-ca sslcrldir={}", file("revoked")));
        std::fs::copy(file("revoked.crl"), home.join("root.crl")).unwrap();
        desk.agree(false, &format!("{tcp} user=free sslmode=require"));
        desk.agree(true, &format!("{tcp} user=free sslmode=prefer"));
        std::fs::remove_file(home.join("root.crl")).unwrap();
        // The one place where we are stricter: a list that cannot be read is not a list of nothing.
        let missing = format!("{tcp} user=free sslmode=verify-ca sslcrl=/nonexistent");
        assert_eq!(desk.psql(&missing), Ok(()));
        assert_eq!(desk.fails(&missing).kind, Kind::Tls);
        // Names: the common name counts only where there is no alternative name.
        present(&node1, &dir, Some("bare"));
        desk.agree(true, &format!("{base} host=localhost hostaddr=127.0.0.1 user=free sslmode=verify-full"));
        present(&node1, &dir, Some("named"));
        desk.agree(false, &format!("{base} host=localhost hostaddr=127.0.0.1 user=free sslmode=verify-full"));
        // A certificate of its own making, as in PostgreSQL's manual.
        present(&node1, &dir, Some("other"));
        desk.agree(true, &format!("{tcp} user=free sslmode=verify-ca {other}"));
        if pg.major >= 17 {
            desk.agree(true, &format!("{tcp} user=free sslmode=require sslnegotiation=direct {other}"));
            desk.agree(false, &format!("{tcp} user=free sslmode=prefer sslnegotiation=direct {other}"));
            desk.agree(false, &format!("{tcp} user=free sslrootcert=system"));
            desk.agree(true, &format!("{tcp} user=scram password=secret {other} require_auth=scram-sha-256"));
            desk.agree(
                false,
                &format!("{tcp} user=clear password=secret {other} require_auth=scram-sha-256"),
            );
            desk.agree(false, &format!("{tcp} user=free {other} require_auth=!none"));
        }
        let error =
            desk.fails(&format!("{tcp} user=clear password=secret {other} require_auth=scram-sha-256"));
        assert_eq!(error.kind, Kind::Authentication);
    }
}

#[test]
fn failures_say_what_is_wrong_and_whether_the_server_responded() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = prepared(&cluster);
    let desk = Desk::new(&cluster, &pg);
    let tcp = format!("host=127.0.0.1 port={} dbname=postgres", node1.port);
    node1.wait_until("SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'reject'", "1", SOON);
    let check = |conninfo: &str, kind: Kind, answered: Answered| {
        let error = desk.fails(conninfo);
        assert_eq!((&error.kind, error.answered), (&kind, answered), "{conninfo}: {error:?}");
        let all = format!("{} {:?} {:?}", error.message, error.detail, error.hint);
        assert!(!all.contains("secret") && !error.message.contains('\n'), "{all}");
        error
    };
    use Answered::{Nothing, Silent, Spoke};
    check(&format!("{tcp} user=scram password=secret1"), Kind::Authentication, Spoke);
    check(&format!("{tcp} user=scram"), Kind::PasswordMissing, Spoke);
    check(&format!("{tcp} user=free dbname=missing"), Kind::DatabaseMissing, Spoke);
    let error = check(&format!("{tcp} user=tls_only password=secret"), Kind::NoHbaEntry, Spoke);
    assert_eq!(
        error.text.hint.unwrap(),
        "Add the line \"host postgres tls_only 127.0.0.1/32 scram-sha-256\" to pg_hba.conf and reload the server."
    );
    check(&format!("{tcp} user=free sslmode=require"), Kind::Tls, Spoke);
    check(&format!("{tcp} user=free sslmode=sometimes"), Kind::Invalid, Silent);
    check(&format!("{tcp} hots=x"), Kind::Invalid, Silent);
    check(&format!("{tcp} gssencmode=require"), Kind::NotSupported("gssencmode".into()), Silent);
    let nowhere = cluster.empty("nowhere");
    let closed = nowhere.port;
    let error = check(&format!("host=127.0.0.1 port={closed} user=u"), Kind::Refused, Nothing);
    assert_eq!(
        error.message,
        format!("connection to server at \"127.0.0.1\", port {closed} failed: connection refused")
    );
    check("host=/nonexistent user=u", Kind::Refused, Nothing);
    check("host=no.such.host.invalid user=u", Kind::Resolve, Nothing);
    let closing = Impostor::saying(b"");
    check(&format!("host=127.0.0.1 port={} user=u", closing.port), Kind::Closed, Silent);
    let http = Impostor::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    check(&format!("host=127.0.0.1 port={} user=u", http.port), Kind::Closed, Silent);
    check(&format!("host=127.0.0.1 port={} user=u sslmode=disable", http.port), Kind::Closed, Silent);
    let error = check(
        &format!(
            "host=127.0.0.1,127.0.0.1 port={closed},{} user=scram password=secret1 dbname=postgres",
            node1.port
        ),
        Kind::Authentication,
        Spoke,
    );
    assert_eq!(error.message, "could not connect to any of 2 addresses");
    assert!(
        error
            .text
            .detail
            .unwrap()
            .contains(&format!("Server at \"127.0.0.1\", port {closed}: connection refused."))
    );

    node1.psql("ALTER ROLE free CONNECTION LIMIT 0");
    check(&format!("{tcp} user=free"), Kind::TooManyConnections, Spoke);
    node1.psql("ALTER ROLE free CONNECTION LIMIT -1");
    // A server that is being shut down, held up by a session.
    run(async {
        let session = desk.connect(&format!("{tcp} user=free")).await.unwrap();
        node1.postmaster().map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        let mut seen = None;
        let begun = Instant::now();
        while seen.is_none() && begun.elapsed() < SOON {
            seen = desk
                .connect(&format!("{tcp} user=free"))
                .await
                .err()
                .map(|error| (error.kind, error.answered));
        }
        assert_eq!(seen, Some((Kind::ShuttingDown, Spoke)));
        drop(session);
    });
}

/// A home with a password for every host, and a configuration that leads to `node1`.
fn tempted(own: &str) -> (tempfile::TempDir, Environment) {
    let home = tempfile::tempdir().unwrap();
    let pgpass = home.path().join(".pgpass");
    std::fs::write(&pgpass, "*:*:*:*:SUPERSECRET\n").unwrap();
    std::fs::set_permissions(&pgpass, std::fs::Permissions::from_mode(0o600)).unwrap();
    let environment = Environment::from_pairs([("HOME", home.path().to_str().unwrap()), ("USER", "os")]);
    environment.say(|said| said.conninfos.push(own.into()));
    (home, environment)
}

#[test]
fn a_row_cannot_obtain_a_password() {
    use Attack::{Clear, ClearBehindNotice, Md5, Scram};
    let own = "host=node1 user=repmgr dbname=repmgr";
    let (_home, environment) = tempted(own);
    let allowing = tempted(own);
    allowing.1.say(|said| said.cleartext_passwords = true);
    // The row, whether the configuration allows cleartext, the attack, and whether anything is sent.
    for (row, allowed, attack, sent) in [
        // The case of a row by which a powerful role's password went to another address.
        ("host=node1 hostaddr=127.0.0.1 user=postgres", false, Clear, false),
        ("host=node1 hostaddr=127.0.0.1 user=postgres", true, Clear, false),
        ("host=node1 hostaddr=127.0.0.1 user=postgres", true, Md5, false),
        ("host=node1 hostaddr=127.0.0.1 user=postgres", false, Scram, true),
        ("host=127.0.0.1 user=postgres", true, Clear, false),
        ("host=127.0.0.1 user=postgres", false, Md5, false),
        ("hostaddr=127.0.0.1 user=repmgr", false, Md5, false),
        ("host=127.0.0.1 user=repmgr", false, Clear, false),
        ("host=127.0.0.1 user=repmgr", false, ClearBehindNotice, false),
        ("host=127.0.0.1 user=repmgr sslmode=allow", false, Clear, false),
        ("host=127.0.0.1 user=repmgr", true, Clear, true),
        ("host=127.0.0.1 user=repmgr", false, Md5, true),
        ("host=127.0.0.1 user=repmgr", false, Scram, true),
        // Its own password is no secret of ours, and is not shouted across the network all the same.
        ("host=127.0.0.1 user=repmgr password=OF_THE_ROW", false, Clear, false),
        ("host=127.0.0.1 user=repmgr password=OF_THE_ROW", false, Md5, true),
    ] {
        let server = Hostile::at("127.0.0.1", attack);
        let conninfo = Conninfo::parse(&format!("{row} port={}", server.port)).unwrap();
        let environment = if allowed { &allowing.1 } else { &environment };
        let error = run(connect(&conninfo, environment, &ConnectOptions::default())).unwrap_err();
        assert_eq!(server.heard().is_empty(), !sent, "{row} {allowed} {attack:?}: {:?}", server.heard());
        assert_eq!(error.answered, Answered::Spoke, "it is there all the same");
        assert_eq!(error.kind, Kind::Authentication, "{row} {attack:?}: {error:?}");
        assert_eq!(error.message.contains("known only from the metadata"), !sent, "{error:?}");
        if matches!(attack, Scram) {
            assert!(!server.heard().concat().contains("SUPERSECRET"));
        }
    }
    // What a person has entered is worth more than what a file has for this host: it is never given away.
    for (attack, sent) in [(Clear, false), (Md5, false), (Scram, true)] {
        let server = Hostile::at("127.0.0.1", attack);
        let row = Conninfo::parse(&format!("host=127.0.0.1 user=repmgr port={}", server.port)).unwrap();
        let options = ConnectOptions { password: Some(Secret::new("ENTERED")), ..ConnectOptions::default() };
        run(connect(&row, &allowing.1, &options)).unwrap_err();
        assert_eq!(!server.heard().is_empty(), sent, "{attack:?}");
        let home = environment.get("HOME").unwrap();
        let by_variable =
            Environment::from_pairs([("HOME", home), ("USER", "os"), ("PGPASSWORD", "ENTERED")]);
        by_variable.say(|said| said.conninfos.push(own.into()));
        let before = server.heard().len();
        run(connect(&row, &by_variable, &ConnectOptions::default())).unwrap_err();
        assert_eq!(server.heard().len() > before, sent, "{attack:?}");
    }
    // One of the environment is of no host, so an address alone, or another role, gets not even the proof of it.
    for row in ["hostaddr=127.0.0.1 user=repmgr", "host=127.0.0.1 user=postgres"] {
        let server = Hostile::at("127.0.0.1", Scram);
        let row = Conninfo::parse(&format!("{row} port={}", server.port)).unwrap();
        let by_variable = Environment::from_pairs([("USER", "os"), ("PGPASSWORD", "ENTERED")]);
        by_variable.say(|said| said.conninfos.push(own.into()));
        let error = run(connect(&row, &by_variable, &ConnectOptions::default())).unwrap_err();
        assert_eq!((&error.kind, server.heard().len()), (&Kind::PasswordMissing, 0), "{error:?}");
    }
    // The user's own may go wherever the user says, as with libpq.
    for (attack, heard) in [(Clear, "SUPERSECRET\0"), (Md5, "md5")] {
        let server = Hostile::at("127.0.0.1", attack);
        let text = format!("host=127.0.0.1 port={} user=repmgr sslmode=disable", server.port);
        let (_home, environment) = tempted(&text);
        run(connect(&Conninfo::parse(&text).unwrap(), &environment, &ConnectOptions::default())).unwrap_err();
        assert!(server.heard().concat().starts_with(heard), "{:?}", server.heard());
    }
}

#[test]
fn a_server_can_neither_fill_the_memory_nor_cause_an_endless_loop() {
    // The attack, and what is said of it.
    for (attack, said) in [
        (Attack::Huge, "a message of 2147483647 bytes"),
        (Attack::Flood, "more than 1048576 bytes"),
        (Attack::Work, "4000000000 iterations of SCRAM"),
        (Attack::Silent, "timeout expired"),
    ] {
        let server = Hostile::at("127.0.0.1", attack);
        let text = format!("host=127.0.0.1 port={} user=repmgr", server.port);
        let (_home, environment) = tempted(&text);
        let begun = Instant::now();
        let options = ConnectOptions { deadline: Duration::from_secs(3), ..ConnectOptions::default() };
        let error = run(connect(&Conninfo::parse(&text).unwrap(), &environment, &options)).unwrap_err();
        assert!(begun.elapsed() < options.deadline + MARGIN, "{attack:?}");
        assert!(error.message.contains(said), "{attack:?}: {error:?}");
        // All of them have answered the request for TLS.
        assert_eq!(error.answered, Answered::Spoke, "{attack:?}");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 500_000, "{peak} kB");
}

#[test]
fn nothing_that_hangs_outlasts_the_deadline() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = prepared(&cluster);
    let desk = Desk::new(&cluster, &pg);
    let options = ConnectOptions { deadline: Duration::from_secs(3), ..ConnectOptions::default() };
    let timed = |conninfo: &str, options: &ConnectOptions| {
        let conninfo = Conninfo::parse(conninfo).unwrap();
        let begun = Instant::now();
        let error = run(connect(&conninfo, &desk.environment(), options)).unwrap_err();
        assert!(begun.elapsed() < options.deadline + MARGIN, "{conninfo}: {:?}", begun.elapsed());
        (error.kind, error.answered)
    };
    let (silent, _listener) = Impostor::silent();
    let silence = format!("host=127.0.0.1 port={} user=u", silent.port);
    assert_eq!(timed(&silence, &options), (Kind::TimedOut, Answered::Silent));
    assert_eq!(timed(&format!("{silence} connect_timeout=0"), &options), (Kind::TimedOut, Answered::Silent));
    assert_eq!(timed(&format!("{silence} connect_timeout=60"), &options), (Kind::TimedOut, Answered::Silent));
    let many = format!("host=127.0.0.1{} port={} user=u", ",127.0.0.1".repeat(9), silent.port);
    assert_eq!(timed(&many, &options), (Kind::TimedOut, Answered::Silent));

    // A listener with a full queue drops the first packet, as a dead host does.
    let full =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&full, &"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let listener = TcpListener::from(full);
    let address = listener.local_addr().unwrap();
    let wait = Duration::from_millis(300);
    let fillers: Vec<_> =
        std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, wait).ok()).take(64).collect();
    assert!(fillers.len() < 64, "the queue does not fill");
    let hole = format!("host=127.0.0.1 port={} user=u", address.port());
    assert_eq!(timed(&hole, &options), (Kind::TimedOut, Answered::Nothing));

    // Of two such hosts the first takes all the time, so about the second one nothing can be said.
    let two = format!("host=127.0.0.1,127.0.0.1 port={} user=u connect_timeout=60", address.port());
    assert_eq!(timed(&two, &options), (Kind::TimedOut, Answered::Silent));

    // A resolver that never answers; the next host is tried all the same.
    let hanging = ConnectOptions {
        resolver: |_, _| Box::pin(std::future::pending()),
        ..ConnectOptions { ..options.clone() }
    };
    assert_eq!(timed("host=db.example user=u", &hanging), (Kind::Resolve, Answered::Nothing));
    let second =
        format!("host=db.example,db2 hostaddr=,127.0.0.1 port={} dbname=postgres user=free", node1.port);
    let begun = Instant::now();
    run(connect(&Conninfo::parse(&second).unwrap(), &desk.environment(), &hanging)).unwrap();
    assert!(begun.elapsed() < options.deadline + MARGIN);
    // And one that hangs in a thread, as getaddrinfo does: the runtime does not wait for it.
    let blocking = ConnectOptions {
        resolver: |_, _| {
            Box::pin(async {
                tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(20))).await.ok();
                Ok(Vec::new())
            })
        },
        ..options.clone()
    };
    assert_eq!(timed("host=db.example user=u", &blocking), (Kind::Resolve, Answered::Nothing));

    let tcp = format!("host=127.0.0.1 port={} dbname=postgres user=free", node1.port);
    let proxy = Proxy::to(node1.port);
    run(async {
        let through = format!("host=127.0.0.1 port={} dbname=postgres user=free", proxy.port);
        let session = desk.connect(&through).await.unwrap();
        proxy.set(Fault::BlackHole);
        let begun = Instant::now();
        let error = session.within(Duration::from_secs(1)).query_one("SELECT 'x'", &[]).await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(1) + MARGIN);
        proxy.set(Fault::Refuse);
        wait_for_close(&session).await;
        assert_eq!(session.query_one("SELECT 'x'", &[]).await.unwrap_err().kind, SqlErrorKind::Closed);
    });
    node1.freeze_postmaster();
    assert_eq!(timed(&tcp, &options), (Kind::TimedOut, Answered::Silent));
    let socket = format!("host={} port={} dbname=postgres user=free", node1.socket_dir.display(), node1.port);
    assert_eq!(timed(&socket, &options), (Kind::TimedOut, Answered::Silent));
    node1.thaw();
    run(async { desk.connect(&tcp).await }).unwrap();
}

async fn wait_for_close(session: &Session) {
    let begun = Instant::now();
    while !session.is_closed() {
        assert!(begun.elapsed() < SOON, "the session does not notice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn sessions_have_their_settings_and_keep_their_deadlines() {
    for pg in versions() {
        let cluster = TestCluster::new(&pg);
        let node1 = prepared(&cluster);
        let desk = Desk::new(&cluster, &pg);
        node1.psql("ALTER ROLE repmgr SET DateStyle = 'German'; ALTER ROLE repmgr SET search_path = public");
        if pg.major >= 14 {
            node1.psql("ALTER ROLE repmgr SET idle_session_timeout = '1h'");
        }
        let text = format!(
            "host=127.0.0.1 port={} dbname=repmgr user=repmgr options='-c synchronous_commit=remote_apply'",
            node1.port
        );
        run(async {
            let conninfo = Conninfo::parse(&text).unwrap();
            let options = ConnectOptions {
                settings: vec![("lock_timeout".into(), "123ms".into())],
                password: Some(Secret::new("not asked for")),
                ..ConnectOptions::default()
            };
            let session = connect(&conninfo, &desk.environment(), &options).await.unwrap();
            for (name, value) in [
                ("synchronous_commit", "local"),
                ("search_path", "pg_catalog,pg_temp"),
                ("DateStyle", "ISO, MDY"),
                ("statement_timeout", "9s"),
                ("lock_timeout", "123ms"),
                ("application_name", "pgbaton"),
            ] {
                let row = session.query_one("SELECT current_setting($1)", &[Some(name)]).await.unwrap();
                assert_eq!(row.get(0), Some(value), "{name}");
            }
            let idle =
                session.query_one("SELECT current_setting('idle_session_timeout', true)", &[]).await.unwrap();
            assert_eq!(idle.get(0), (pg.major >= 14).then_some("0"));
            let version = session.query_one("SHOW server_version_num", &[]).await.unwrap();
            assert_eq!(version.get(0), Some(&*session.server_version_num().to_string()));
            assert_eq!(session.server_name(), format!("server at \"127.0.0.1\", port {}", node1.port));

            // Parameters and columns are text, NULL is NULL, and what is not text is reported.
            let rows = session.query("SELECT ($1::int + 1)::text, $2", &[Some("41"), None]).await.unwrap();
            assert_eq!((rows[0].get(0), rows[0].get(1), rows[0].get(2)), (Some("42"), None, None));
            let error = session.query("SELECT length($1) AS n", &[Some("x")]).await.unwrap_err();
            assert_eq!(error.message, "column \"n\" of the result is of type int4, not text");
            // Without parameters the server writes everything as text.
            let rows =
                session.query("SELECT i, i > 1, NULL FROM generate_series(1, 2) i", &[]).await.unwrap();
            assert_eq!((rows[0].get(0), rows[1].get(1), rows[1].get(2)), (Some("1"), Some("t"), None));
            let list: Vec<u8> = session
                .query_json("SELECT json_agg(i)::text FROM generate_series(1, 3) i", &[])
                .await
                .unwrap();
            assert_eq!(list, [1, 2, 3]);
            assert!(session.query_one("SELECT 'x' WHERE false", &[]).await.is_err());
            let error = session.query("SELECT no_such_function()", &[]).await.unwrap_err();
            assert_eq!((error.sqlstate.as_deref(), error.kind), (Some("42883"), SqlErrorKind::Server));

            // A transaction is all or nothing, and the session is usable after both.
            session.batch("CREATE TABLE public.t (i int PRIMARY KEY)").await.unwrap();
            let insert = |i: i32| Statement::new("INSERT INTO public.t VALUES ($1::int)").bind(i);
            let many: Vec<Statement> = (0..50).map(insert).collect();
            session.transaction(&many).await.unwrap();
            let error = session.transaction(&[insert(100), insert(1), insert(101)]).await.unwrap_err();
            assert_eq!(error.sqlstate.as_deref(), Some("23505"));
            let count = session.query_one("SELECT count(*)::text FROM public.t", &[]).await.unwrap();
            assert_eq!(count.get(0), Some("50"));
            assert_eq!(
                session.execute("DELETE FROM public.t WHERE i < $1::int", &[Some("10")]).await,
                Ok(10)
            );

            // The deadline of one call: over after a second, the server has stopped too, the next call is well.
            let begun = Instant::now();
            let error = session
                .within(Duration::from_secs(1))
                .query("SELECT pg_sleep(30)::text", &[])
                .await
                .unwrap_err();
            assert_eq!(error.kind, SqlErrorKind::TimedOut, "{error}");
            assert!(begun.elapsed() < Duration::from_secs(1) + MARGIN);
            let row = session.query_one("SELECT current_setting('statement_timeout')", &[]).await.unwrap();
            assert_eq!(row.get(0), Some("9s"));
            // Cancelled from outside.
            let (ended, ()) = tokio::join!(session.query("SELECT pg_sleep(8)::text", &[]), async {
                let other = connect(&conninfo, &desk.environment(), &options).await.unwrap();
                let cancel =
                    "SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(8)%'
                    AND state = 'active' AND pid <> pg_backend_pid()";
                while other.query_one(cancel, &[]).await.unwrap().get(0) != Some("1") {}
            });
            let error = ended.unwrap_err();
            assert_eq!((error.sqlstate.as_deref(), error.kind), (Some("57014"), SqlErrorKind::Server));

            node1.stop(support::StopMode::Immediate);
            wait_for_close(&session).await;
            assert_eq!(session.batch("SELECT 1").await.unwrap_err().kind, SqlErrorKind::Closed);
        });
    }
}

/// Defaults of the server, the database and the role that would change what our statements do.
#[test]
fn defaults_of_a_server_do_not_affect_the_sessions() {
    let every: Vec<Pg> = versions();
    for pg in every {
        let nodes = support::Nodes::new(&pg, 2);
        let (one, two) = (nodes.node(1), nodes.node(2));
        let hostile = [
            "default_transaction_read_only = on",
            "default_transaction_isolation = 'serializable'",
            "default_transaction_deferrable = on",
            "search_path = 'pg_temp'",
            "lock_timeout = '1ms'",
            "idle_in_transaction_session_timeout = '1ms'",
            "row_security = off",
            "exit_on_error = on",
            "DateStyle = 'German'",
            "IntervalStyle = 'sql_standard'",
            "bytea_output = 'escape'",
            "standard_conforming_strings = off",
            "extra_float_digits = -15",
            "transform_null_equals = on",
            "quote_all_identifiers = on",
            "synchronous_commit = 'remote_apply'",
            "TimeZone = 'Asia/Kathmandu'",
            "client_encoding = 'LATIN1'",
            "statement_timeout = '1ms'",
        ];
        // Long enough for the statement that ends it, which is on its way when the session begins.
        let newer: &[&str] = match pg.major {
            ..14 => &[],
            14..17 => &["idle_session_timeout = '1s'"],
            _ => &["idle_session_timeout = '1s'", "transaction_timeout = '1s'"],
        };
        one.psql("CREATE ROLE other");
        let mut statements = vec!["SET lock_timeout = 0".to_string()];
        for setting in hostile.iter().chain(newer) {
            statements.push(format!("ALTER ROLE repmgr SET {setting}"));
            statements.push(format!("ALTER DATABASE repmgr SET {setting}"));
        }
        statements.push("GRANT other TO repmgr".into());
        statements.push("ALTER ROLE repmgr SET role = 'other'".into());
        statements.iter().for_each(|statement| drop(one.psql(statement)));
        two.wait_for_replay_of(one);
        one.psql("ALTER SYSTEM SET default_transaction_read_only = on");
        two.psql("ALTER SYSTEM SET default_transaction_read_only = on");
        for server in [one, two] {
            server.reload();
            server.wait_until("SHOW default_transaction_read_only", "on", SOON);
        }
        let run = |server: &TestServer, words: &[&str], code: i32| {
            let output = server.pgbaton(words).run();
            output.code(code);
            output
        };
        run(one, &["cluster", "show"], 0);
        run(two, &["node", "status"], 0);
        run(one, &["primary", "register", "--force"], 0);
        run(two, &["standby", "register", "--force"], 0);
        let dry = run(two, &["standby", "switchover", "--dry-run"], 0);
        dry.says("clients will not be able to write on node \"node2\"");
        // That of the server is hidden behind those of the role and the database.
        dry.says("ALTER DATABASE \"repmgr\" RESET default_transaction_read_only");
        run(two, &["standby", "switchover"], 0);
        assert_eq!(nodes.primaries(), ["node2"]);
        // A promotion, and a rewind from a server that is read-only by default.
        two.kill9();
        let promoted = run(one, &["standby", "promote", "--accept-data-loss"], 0);
        promoted.says("clients will not be able to write on node \"node1\"");
        run(two, &["node", "rejoin", "--force-rewind", "-d", &one.conninfo()], 0);
        run(one, &["cluster", "event"], 0);
        run(one, &["cluster", "show"], 0);
    }
}
