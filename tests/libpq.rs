//! libpq itself as the judge of our reading of connection strings, environment, service files and password files.

#![allow(unsafe_code, reason = "libpq is C")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report, and the bans protect the program, not its tests"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr;

use pgbaton::pg::Conninfo;
use pgbaton::pg::resolve::{effective, resolve};
use pgbaton::system::environment::Environment;

type Values = BTreeMap<String, Vec<u8>>;

/// Copies a list of options out of libpq: what has a value, and the names of all.
fn copy(options: *mut pq_sys::PQconninfoOption) -> (Values, Vec<String>) {
    let (mut values, mut names) = (Values::new(), Vec::new());
    let mut option = options;
    // SAFETY: the list ends with an option without a keyword; keywords and values are C strings.
    unsafe {
        while !(*option).keyword.is_null() {
            let name = CStr::from_ptr((*option).keyword).to_str().unwrap().to_string();
            if !(*option).val.is_null() {
                values.insert(name.clone(), CStr::from_ptr((*option).val).to_bytes().to_vec());
            }
            names.push(name);
            option = option.add(1);
        }
        pq_sys::PQconninfoFree(options);
    }
    (values, names)
}

fn libpq_parse(text: &str) -> Result<Values, String> {
    let text = CString::new(text).unwrap();
    let mut error: *mut c_char = ptr::null_mut();
    // SAFETY: both pointers live across the call; the error text is ours to free.
    unsafe {
        let options = pq_sys::PQconninfoParse(text.as_ptr(), &raw mut error);
        if options.is_null() {
            let message = CStr::from_ptr(error).to_string_lossy().into_owned();
            pq_sys::PQfreemem(error.cast());
            return Err(message);
        }
        Ok(copy(options).0)
    }
}

/// What libpq takes from the environment, the service file of `PGSERVICE`, and its defaults; and all its keywords.
fn libpq_defaults() -> (Values, Vec<String>) {
    // SAFETY: no arguments; the list is freed by copy().
    unsafe { copy(pq_sys::PQconndefaults()) }
}

/// What libpq makes of a connection string when it connects, and the password for the first host. That port is closed.
fn libpq_connect(text: &str) -> (Values, String) {
    let text = CString::new(text).unwrap();
    // SAFETY: the connection is finished after everything was copied out of it.
    unsafe {
        let connection = pq_sys::PQconnectStart(text.as_ptr());
        let password = CStr::from_ptr(pq_sys::PQpass(connection)).to_str().unwrap().to_string();
        let (values, _) = copy(pq_sys::PQconninfo(connection));
        pq_sys::PQfinish(connection);
        (values, password)
    }
}

fn ours(conninfo: &Conninfo) -> Values {
    conninfo.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// Random numbers that are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    fn join(&mut self, items: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| self.pick(items)).collect()
    }
}

fn count() -> usize {
    let slow = std::env::var_os("PGBATON_TEST_SLOW").is_some_and(|value| !value.is_empty() && value != "0");
    if slow { 1_500_000 } else { 300_000 }
}

const NAMES: &[&str] = &[
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "sslmode",
    "options",
    "service",
    "requiressl",
    "ssl",
    "hots",
    "application_name",
    "sslnegotiation",
    "authtype",
    "tty",
    "connect_timeout",
    "Host",
    "h\u{e4}",
];
const VALUES: &[&str] = &[
    "a",
    "localhost",
    "5432",
    "::1",
    "true",
    "require",
    "1",
    "0",
    "/var/run",
    "a b",
    "''",
    "\\",
    "'",
    "\"",
    "=",
    "%20",
    "%41",
    "%",
    "%0",
    "%00",
    "%zz",
    "%c3%a4",
    "%ff",
    "\u{e4}",
    "\u{a0}",
    "\t",
    "\n",
    "\u{b}",
    ",",
    "",
];
const MARKS: &[&str] = &[
    "=",
    " ",
    " ",
    "'",
    "\\",
    "\\'",
    "\t",
    "\r\n",
    "@",
    ":",
    "/",
    "?",
    "&",
    ",",
    "[",
    "]",
    "%",
    "//",
    "postgres://",
    "postgresql://",
    "#",
    "\u{c}",
];

/// Makes a string that is nearly right: right ones and plain noise find little.
fn conninfo(random: &mut Random) -> String {
    let value = |random: &mut Random| random.join(VALUES, 3);
    let mut text = match random.below(20) {
        0..=8 => (0..random.below(4))
            .map(|_| {
                let (open, close) = [("", " "), ("'", "'"), (" ", "\n"), ("'", "")][random.below(4)];
                let name = random.pick(NAMES);
                format!("{name}{}={open}{}{close}", random.pick(&["", "", " "]), value(random))
            })
            .collect(),
        9..=17 => {
            let mut uri = random.pick(&["postgresql://", "postgres://"]).to_string();
            if random.below(2) == 0 {
                uri += &format!("{}{}{}@", value(random), random.pick(&["", ":"]), value(random));
            }
            for i in 0..random.below(3) {
                let host = value(random);
                let host = if random.below(3) == 0 { format!("[{host}]") } else { host };
                let port = random.pick(&["", ":", ":5432", ":%35"]);
                uri += &format!("{}{host}{port}", if i > 0 { "," } else { "" });
            }
            uri += random.pick(&["", "/", "/db", "/d%20b"]);
            for i in 0..random.below(3) {
                let name = random.pick(NAMES);
                uri += &format!("{}{name}={}", if i > 0 { "&" } else { "?" }, value(random));
            }
            uri
        }
        _ => String::new(),
    };
    for _ in 0..[0, 0, 1, 4][random.below(4)] {
        let at = random.below(text.len() + 1);
        let at = (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
        let list = [MARKS, VALUES, NAMES][random.below(3)];
        text.insert_str(at, random.pick(list));
    }
    text
}

#[test]
fn strings_are_read_as_libpq_reads_them() {
    let (_, known) = libpq_defaults();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..count() {
        let text = conninfo(&mut random);
        match (libpq_parse(&text), Conninfo::parse(&text)) {
            (Ok(theirs), Ok(mine)) => {
                assert_eq!(theirs, ours(&mine), "{text:?}");
                let again = libpq_parse(&mine.to_string()).unwrap();
                assert_eq!(theirs, again, "written as {mine}: {text:?}");
                read += 1;
            }
            // Ours is open: it keeps keywords that this libpq does not know.
            (Err(error), Ok(mine)) => {
                let unknown = mine.iter().any(|(name, _)| !known.iter().any(|known| known == name));
                assert!(unknown, "libpq says {error:?} of {text:?}, not so {mine}");
            }
            (Ok(theirs), Err(error)) => {
                let decoded = error.to_string().contains("not valid UTF-8");
                assert!(decoded, "{error} for {text:?}, but libpq reads {theirs:?}");
            }
            (Err(_), Err(_)) => refused += 1,
        }
    }
    assert!(read > count() / 10 && refused > count() / 10, "the strings are one-sided: {read} {refused}");
}

#[test]
fn whatever_is_quoted_is_read_back_by_libpq() {
    let mut random = Random(42);
    for _ in 0..count() / 3 {
        let value = format!("{}{}", random.join(VALUES, 4), random.join(MARKS, 4));
        let mut conninfo = Conninfo::default();
        conninfo.set("host", value.clone());
        conninfo.set("options", random.join(MARKS, 3));
        let read = libpq_parse(&conninfo.to_string()).unwrap();
        assert_eq!(read, ours(&conninfo), "{value:?}");
        assert_eq!(Conninfo::parse(&conninfo.to_string()).unwrap(), conninfo);
    }
}

/// Everything that needs the environment is in this one test: there is only one environment, and libpq reads it.
#[test]
fn environment_service_and_password_files_count_as_in_libpq() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name).to_str().unwrap().to_string();
    let compiled: Values =
        [("port", "5432"), ("channel_binding", "prefer"), ("sslmode", "prefer"), ("options", "")]
            .into_iter()
            .chain([("sslcompression", "0"), ("sslsni", "1"), ("ssl_min_protocol_version", "TLSv1.2")])
            .chain([("gssencmode", "prefer"), ("krbsrvname", "postgres"), ("target_session_attrs", "any")])
            .chain([("sslnegotiation", "postgres"), ("sslcertmode", "allow"), ("gssdelegation", "0")])
            .chain([("load_balance_hosts", "disable")])
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect();
    std::fs::write(
        file("service.conf"),
        "[one]\nport=1\nuser=of service\nsslmode=require\n# x\n[two]\nhost=127.0.0.1\nport=2\nport=3\ndbname=\n[bad]\nhots=x\n",
    )
    .unwrap();
    // SAFETY: no other test of this program reads or writes the environment.
    let set = |name: &str, value: Option<&str>| unsafe {
        match value {
            Some(value) => std::env::set_var(name, value),
            None => std::env::remove_var(name),
        }
    };
    const VARIABLES: &[&str] = &[
        "PGHOST",
        "PGHOSTADDR",
        "PGPORT",
        "PGDATABASE",
        "PGUSER",
        "PGPASSWORD",
        "PGSERVICE",
        "PGOPTIONS",
        "PGAPPNAME",
        "PGSSLMODE",
        "PGREQUIRESSL",
        "PGCONNECT_TIMEOUT",
        "PGTARGETSESSIONATTRS",
        "PGSSLROOTCERT",
        "PGCHANNELBINDING",
        "PGSERVICEFILE",
        "PGSYSCONFDIR",
        "PGCLIENTENCODING",
        "PGGSSENCMODE",
        "PGSSLSNI",
    ];
    for (name, _) in std::env::vars() {
        if name.starts_with("PG") && !name.starts_with("PGBATON") {
            set(&name, None);
        }
    }
    set("HOME", home.path().to_str());
    std::fs::create_dir(home.path().join("sysconf")).unwrap();
    std::fs::copy(file("service.conf"), file("sysconf/pg_service.conf")).unwrap();

    let (_, known) = libpq_defaults();
    let mut random = Random(7);
    let os_user = Environment::of_process().user.unwrap();
    for _ in 0..5_000 {
        for variable in VARIABLES {
            let value = match *variable {
                "PGSERVICE" => random.pick(&["one", "two"]),
                "PGSERVICEFILE" => &file("service.conf"),
                "PGSYSCONFDIR" => &file("sysconf"),
                _ => random.pick(&["", "1", "a b", "prefer", "x'y", "0", "any"]),
            };
            set(variable, (random.below(3) == 0).then_some(value));
        }
        if random.below(2) == 0 {
            set("PGSERVICE", None);
        } else {
            set("PGSYSCONFDIR", Some(&file("sysconf")));
        }
        let environment = Environment::of_process();
        let (mut theirs, _) = libpq_defaults();
        let mut mine = compiled.clone();
        mine.insert("user".into(), os_user.clone().into());
        mine.extend(ours(&effective(&Conninfo::default(), &environment).unwrap()));
        mine.retain(|name, _| known.contains(name));
        // The name of the service itself is not handed back to us, and does not matter any more.
        theirs.remove("service");
        mine.remove("service");
        let variables: Vec<_> = VARIABLES.iter().map(|name| (name, environment.get(name))).collect();
        assert_eq!(theirs, mine, "{variables:?}");
    }
    for variable in VARIABLES {
        set(variable, None);
    }

    // A service named in the string, over the environment.
    set("PGSERVICEFILE", Some(&file("service.conf")));
    set("PGUSER", Some("of environment"));
    for text in [
        "service=one",
        "service=two user=x",
        "service=two port=''",
        "service=one sslmode=disable host=127.0.0.1",
    ] {
        let conninfo = Conninfo::parse(text).unwrap();
        let mine = effective(&conninfo, &Environment::of_process()).unwrap();
        let (theirs, _) = libpq_connect(&format!("{text} hostaddr=127.0.0.1"));
        for name in ["user", "sslmode", "host"] {
            let expected = theirs.get(name).map(|value| std::str::from_utf8(value).unwrap());
            let default = compiled.get(name).map(|value| std::str::from_utf8(value).unwrap());
            assert_eq!(mine.get(name).or(default), expected, "{text}: {name}");
        }
    }
    set("PGUSER", None);
    assert!(effective(&Conninfo::parse("service=bad").unwrap(), &Environment::of_process()).is_err());
    assert!(effective(&Conninfo::parse("service=none").unwrap(), &Environment::of_process()).is_err());

    // Password files, as random as the strings.
    let fields = [
        "*",
        "127.0.0.1",
        "localhost",
        "::1",
        "5432",
        "54321",
        "u",
        "d",
        "u\\:v",
        "a\\\\b",
        "",
        "\\*",
        "a:b",
        "#x",
    ];
    let mut found = 0;
    for _ in 0..3_000 {
        let mut text = String::new();
        for _ in 0..random.below(6) {
            let line: Vec<&str> =
                (0..4).map(|_| if random.below(2) == 0 { "*" } else { random.pick(&fields) }).collect();
            let password = random.pick(&["secret", "s\\:t", "s:t", "s\\\\t", "", "t\\", "p w"]);
            text += &format!("{}:{password}{}", line.join(":"), random.pick(&["\n", "\n", "\r\n", ""]));
        }
        std::fs::write(file("pass"), &text).unwrap();
        std::fs::set_permissions(file("pass"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let host = random.pick(&[
            "host=127.0.0.1",
            "hostaddr=::1",
            "host=/tmp",
            "host=/var/run/postgresql",
            "",
            "host=''",
        ]);
        let rest = random.pick(&[
            "user=u dbname=d",
            "user=u:v dbname=d",
            "user='a\\\\b' dbname=u port=54321",
            "user=u",
        ]);
        let conninfo = format!("{host} {rest} passfile={}", file("pass"));
        let (_, theirs) = libpq_connect(&conninfo);
        let environment = Environment::of_process();
        environment.say(|said| said.conninfos.push(conninfo.clone()));
        let resolved = resolve(&Conninfo::parse(&conninfo).unwrap(), &environment).unwrap();
        let mine = resolved.targets[0].password.as_ref().map_or("", |secret| secret.reveal());
        assert_eq!(theirs, mine, "{conninfo}: {text:?}");
        found += usize::from(!mine.is_empty());
    }
    assert!(found > 300, "only {found} lines matched");
}
