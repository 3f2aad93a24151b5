//! Connection strings: read exactly as libpq reads them, kept whole, and written back properly quoted.
//!
//! The parser is *open*: a keyword unknown here stays in its place. A `primary_conninfo` written by a newer
//! `pg_basebackup` carries keywords of that newer libpq, and what pgbaton does not act on it has to pass on. Code that acts
//! on a string asks for [`Conninfo::unknown_keywords`].

use std::fmt;

/// A keyword that libpq 18 knows.
pub struct Keyword {
    /// The keyword.
    pub name: &'static str,
    /// The environment variable that stands in for it.
    pub variable: Option<&'static str>,
}

macro_rules! keywords {
    ($($name:literal $($variable:literal)?,)*) => {
        &[$(Keyword { name: $name, variable: keywords!(@ $($variable)?) },)*]
    };
    (@ $variable:literal) => { Some($variable) };
    (@) => { None };
}

/// All keywords of libpq 18, in its order.
pub const KEYWORDS: &[Keyword] = keywords! {
    "service" "PGSERVICE",
    "user" "PGUSER",
    "password" "PGPASSWORD",
    "passfile" "PGPASSFILE",
    "channel_binding" "PGCHANNELBINDING",
    "connect_timeout" "PGCONNECT_TIMEOUT",
    "dbname" "PGDATABASE",
    "host" "PGHOST",
    "hostaddr" "PGHOSTADDR",
    "port" "PGPORT",
    "client_encoding" "PGCLIENTENCODING",
    "options" "PGOPTIONS",
    "application_name" "PGAPPNAME",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslmode" "PGSSLMODE",
    "sslnegotiation" "PGSSLNEGOTIATION",
    "sslcompression" "PGSSLCOMPRESSION",
    "sslcert" "PGSSLCERT",
    "sslkey" "PGSSLKEY",
    "sslcertmode" "PGSSLCERTMODE",
    "sslpassword",
    "sslrootcert" "PGSSLROOTCERT",
    "sslcrl" "PGSSLCRL",
    "sslcrldir" "PGSSLCRLDIR",
    "sslsni" "PGSSLSNI",
    "requirepeer" "PGREQUIREPEER",
    "require_auth" "PGREQUIREAUTH",
    "min_protocol_version" "PGMINPROTOCOLVERSION",
    "max_protocol_version" "PGMAXPROTOCOLVERSION",
    "ssl_min_protocol_version" "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version" "PGSSLMAXPROTOCOLVERSION",
    "gssencmode" "PGGSSENCMODE",
    "krbsrvname" "PGKRBSRVNAME",
    "gsslib" "PGGSSLIB",
    "gssdelegation" "PGGSSDELEGATION",
    "replication",
    "target_session_attrs" "PGTARGETSESSIONATTRS",
    "load_balance_hosts" "PGLOADBALANCEHOSTS",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
    "sslkeylogfile",
};

/// The keywords that say where a connection leads to.
const WAY: [&str; 6] = ["host", "hostaddr", "port", "service", "target_session_attrs", "load_balance_hosts"];

/// Keywords whose values must not be seen.
const SECRETS: &[&str] =
    &["password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"];

/// A connection string as keywords with values, each keyword once, in the order of the string.
///
/// Its `Display` is a keyword/value string with everything in it, passwords too: for libpq. For people there is
/// [`Conninfo::redacted`], for argument lists [`Conninfo::without_secrets`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Conninfo {
    pairs: Vec<(String, String)>,
}

/// Why a string is no connection string. Quotes nothing of it that could be part of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConninfoError {
    message: String,
}

impl ConninfoError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    fn at(byte: usize, message: &str) -> Self {
        Self::new(format!("{message} at byte {} of the connection string", byte + 1))
    }
}

impl fmt::Display for ConninfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConninfoError {}

impl Conninfo {
    /// Reads a connection string in either form, as libpq's `PQconninfoParse` does.
    ///
    /// # Errors
    /// Fails where libpq fails, except for unknown keywords; and for text that cannot be UTF-8 once it is decoded.
    pub fn parse(text: &str) -> Result<Self, ConninfoError> {
        if let Some(byte) = text.find('\0') {
            return Err(ConninfoError::at(byte, "zero byte"));
        }
        match uri_prefix(text) {
            Some(prefix) => parse_uri(text, prefix),
            None => parse_pairs(text),
        }
    }

    /// Reads what `-d` of a PostgreSQL tool accepts: a connection string, or the name of a database.
    ///
    /// # Errors
    /// See [`Conninfo::parse`].
    pub fn from_dbname(text: &str) -> Result<Self, ConninfoError> {
        if uri_prefix(text).is_some() || text.contains('=') {
            return Self::parse(text);
        }
        let mut conninfo = Self::default();
        conninfo.set("dbname", text);
        Ok(conninfo)
    }

    /// Returns the value of a keyword; an empty value counts as set.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == keyword).map(|(_, value)| value.as_str())
    }

    /// Sets a keyword, in its old place if it has one.
    pub fn set(&mut self, keyword: &str, value: impl Into<String>) {
        let value = value.into();
        match self.pairs.iter_mut().find(|(name, _)| name == keyword) {
            Some((_, old)) => *old = value,
            None => self.pairs.push((keyword.to_string(), value)),
        }
    }

    /// Removes a keyword.
    pub fn remove(&mut self, keyword: &str) {
        self.pairs.retain(|(name, _)| name != keyword);
    }

    /// Returns keywords and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Says whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns this with everything that `other` sets taken from there.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for (name, value) in other.iter() {
            merged.set(name, value);
        }
        merged
    }

    /// Returns this with another way: where it leads to is taken from `to`, and nothing else.
    ///
    /// Role, password, certificates and whatever else was set by hand stay. What asks for a certain kind of server does not: it was about
    /// the old one.
    #[must_use]
    pub fn leading_to(&self, to: &Self) -> Self {
        let pick = |pairs: &[(String, String)], of_the_way: bool| -> Vec<(String, String)> {
            pairs.iter().filter(|(name, _)| WAY.contains(&name.as_str()) == of_the_way).cloned().collect()
        };
        let mut pairs = pick(&to.pairs, true);
        pairs.extend(pick(&self.pairs, false));
        Self { pairs }
    }

    /// Returns only where it leads to, with the port that is meant where none is named: two with the same place lead to one server.
    #[must_use]
    pub fn destination(&self) -> Self {
        let mut place = Self::default().leading_to(self);
        if place.get("port").is_none() {
            place.set("port", "5432");
        }
        place.pairs.sort();
        place
    }

    /// Returns this without passwords and keys: for argument lists, plans and `primary_conninfo`.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let pairs = self.pairs.iter().filter(|(name, _)| !SECRETS.contains(&name.as_str())).cloned();
        Self { pairs: pairs.collect() }
    }

    /// Returns the string for people, with `********` for passwords and keys.
    pub fn redacted(&self) -> String {
        let mut shown = self.clone();
        for (name, value) in &mut shown.pairs {
            if SECRETS.contains(&name.as_str()) {
                *value = "********".into();
            }
        }
        shown.to_string()
    }

    /// Says whether it leads to this host itself: over a socket or a loopback address, all of it.
    ///
    /// A service may name another host, so a string with one is not judged to be local.
    pub fn is_this_host(&self) -> bool {
        let local = |host: &str| {
            matches!(host, "" | "localhost")
                || host.starts_with(['/', '@'])
                || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        let named = self.get("hostaddr").or_else(|| self.get("host"));
        self.get("service").is_none() && named.is_none_or(|list| list.split(',').all(local))
    }

    /// Returns the keywords that libpq 18 does not know, each with the known one that it most likely stands for.
    pub fn unknown_keywords(&self) -> Vec<(&str, Option<&'static str>)> {
        let known = |name: &str| KEYWORDS.iter().any(|keyword| keyword.name == name);
        self.iter().filter(|(name, _)| !known(name)).map(|(name, _)| (name, nearest(name))).collect()
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={}", if i == 0 { "" } else { " " }, quote_value(value))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conninfo({})", self.redacted())
    }
}

/// Quotes a value for a keyword/value string, if it needs it.
///
/// Beyond ASCII everything is quoted: libpq asks the locale what a space is, byte by byte.
pub fn quote_value(value: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '\'' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_string();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('\'');
    for c in value.chars() {
        if matches!(c, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

/// Returns the known keyword nearest to a mistyped one, if one is near enough to be meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    let near = |keyword: &Keyword| (distance(name, keyword.name), keyword.name);
    let (distance, keyword) = KEYWORDS.iter().map(near).min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + name.len() / 4).then_some(keyword)
}

/// Counts the insertions, deletions, substitutions and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (cell(&last, j) + usize::from(ca != cb)).min(cell(&last, j + 1) + 1);
            best = best.min(cell(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca) {
                best = best.min(cell(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

fn uri_prefix(text: &str) -> Option<usize> {
    ["postgresql://", "postgres://"]
        .iter()
        .find(|prefix| text.starts_with(**prefix))
        .map(|prefix| prefix.len())
}

/// What C calls a space.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Stores a pair, with the two translations that libpq makes for old strings and for JDBC's.
fn store(into: &mut Conninfo, keyword: &str, value: &str, uri: bool) {
    match (keyword, value) {
        ("requiressl", value) => {
            into.set("sslmode", if value.starts_with('1') { "require" } else { "prefer" });
        }
        ("ssl", "true") if uri => into.set("sslmode", "require"),
        _ => into.set(keyword, value),
    }
}

fn parse_pairs(text: &str) -> Result<Conninfo, ConninfoError> {
    let mut conninfo = Conninfo::default();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| is_space(*c)).is_some() {}
        let Some(&(start, _)) = chars.peek() else { return Ok(conninfo) };
        let mut name = String::new();
        while let Some((_, c)) = chars.next_if(|(_, c)| *c != '=' && !is_space(*c)) {
            name.push(c);
        }
        while chars.next_if(|(_, c)| is_space(*c)).is_some() {}
        // The word is not shown: it may be the second half of a password with a space in it.
        if chars.next_if(|(_, c)| *c == '=').is_none() {
            return Err(ConninfoError::at(start, "missing \"=\" after the word"));
        }
        if name.is_empty() {
            return Err(ConninfoError::at(start, "missing keyword before \"=\""));
        }
        while chars.next_if(|(_, c)| is_space(*c)).is_some() {}
        let mut value = String::new();
        let quoted = chars.next_if(|(_, c)| *c == '\'');
        loop {
            match (chars.next(), quoted) {
                (Some((_, '\\')), _) => value.extend(chars.next().map(|(_, c)| c)),
                (Some((_, '\'')), Some(_)) | (None, None) => break,
                (Some((_, c)), None) if is_space(c) => break,
                (Some((_, c)), _) => value.push(c),
                (None, Some((at, _))) => {
                    return Err(ConninfoError::at(at, &format!("unterminated quoted value of \"{name}\"")));
                }
            }
        }
        store(&mut conninfo, &name, &value, false);
    }
}

fn parse_uri(text: &str, prefix: usize) -> Result<Conninfo, ConninfoError> {
    let mut conninfo = Conninfo::default();
    let (_, mut rest) = split(text, prefix);
    // Credentials end at the first "@", unless a "/" comes before it.
    if let Some(at) = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@')) {
        let (credentials, tail) = (split(rest, at).0, split(rest, at + 1).1);
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        store_decoded(&mut conninfo, "user", user)?;
        store_decoded(&mut conninfo, "password", password)?;
        rest = tail;
    }

    let (mut hosts, mut ports) = (String::new(), String::new());
    loop {
        let at = text.len() - rest.len();
        let host;
        if let Some(bracketed) = rest.strip_prefix('[') {
            let Some((address, tail)) = bracketed.split_once(']') else {
                return Err(ConninfoError::at(at, "missing \"]\" for the IPv6 address"));
            };
            if address.is_empty() {
                return Err(ConninfoError::at(at, "empty IPv6 address"));
            }
            if !tail.is_empty() && !tail.starts_with([':', '/', '?', ',']) {
                return Err(ConninfoError::at(text.len() - tail.len(), "unexpected character after \"]\""));
            }
            (host, rest) = (address, tail);
        } else {
            (host, rest) = split(rest, rest.find([':', '/', '?', ',']).unwrap_or(rest.len()));
        }
        hosts.push_str(host);
        if let Some(tail) = rest.strip_prefix(':') {
            let (port, tail) = split(tail, tail.find(['/', '?', ',']).unwrap_or(tail.len()));
            ports.push_str(port);
            rest = tail;
        }
        let Some(tail) = rest.strip_prefix(',') else { break };
        hosts.push(',');
        ports.push(',');
        rest = tail;
    }
    store_decoded(&mut conninfo, "host", &hosts)?;
    store_decoded(&mut conninfo, "port", &ports)?;

    if let Some(tail) = rest.strip_prefix('/') {
        let (dbname, tail) = split(tail, tail.find('?').unwrap_or(tail.len()));
        store_decoded(&mut conninfo, "dbname", dbname)?;
        rest = tail;
    }
    let mut parameters = rest.strip_prefix('?').unwrap_or_default();
    while !parameters.is_empty() {
        let at = text.len() - parameters.len();
        let (parameter, tail) = parameters.split_once('&').unwrap_or((parameters, ""));
        let Some((keyword, value)) = parameter.split_once('=') else {
            return Err(ConninfoError::at(at, "missing \"=\" in the query parameter"));
        };
        if value.contains('=') {
            return Err(ConninfoError::at(at, "second \"=\" in the query parameter"));
        }
        let keyword = decode(keyword, "a query parameter's name")?;
        if keyword.is_empty() || keyword.contains(|c| c == '=' || is_space(c)) {
            return Err(ConninfoError::at(at, "invalid name of the query parameter"));
        }
        let value = decode(value, &format!("\"{keyword}\""))?;
        store(&mut conninfo, &keyword, &value, true);
        parameters = tail;
    }
    Ok(conninfo)
}

/// Splits at a byte position that was found in the same text.
fn split(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// Stores a decoded part of a URI; an empty part sets nothing, so that environment and defaults still count.
fn store_decoded(into: &mut Conninfo, keyword: &str, text: &str) -> Result<(), ConninfoError> {
    if !text.is_empty() {
        store(into, keyword, &decode(text, &format!("\"{keyword}\""))?, true);
    }
    Ok(())
}

/// Resolves percent-encoding.
fn decode(text: &str, part: &str) -> Result<String, ConninfoError> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            (Some(0), Some(0)) => {
                return Err(ConninfoError::new(format!("forbidden value \"%00\" in {part} of the URI")));
            }
            (Some(high), Some(low)) => out.extend(u8::try_from(high * 16 + low)),
            _ => return Err(ConninfoError::new(format!("invalid percent-encoding in {part} of the URI"))),
        }
    }
    String::from_utf8(out).map_err(|_| ConninfoError::new(format!("{part} of the URI is not valid UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        Conninfo::parse(text).unwrap().pairs
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn another_way_keeps_everything_else() {
        let present = Conninfo::parse(
            "user=rep password='a b' host=a,b port=1,2 target_session_attrs=read-write sslmode=verify-full",
        )
        .unwrap();
        let to = Conninfo::parse("host=c dbname=x user=other").unwrap();
        let expected = "host=c user=rep password='a b' sslmode=verify-full";
        assert_eq!(present.leading_to(&to).to_string(), expected);
    }

    #[test]
    fn reads_quotes_escapes_and_spaces_as_libpq() {
        assert_eq!(
            pairs(r"host = a port=1 password='it\'s \\ one' user=a\ b dbname='' options=x"),
            [
                pair("host", "a"),
                pair("port", "1"),
                pair("password", r"it's \ one"),
                pair("user", "a b"),
                pair("dbname", ""),
                pair("options", "x")
            ]
        );
        assert_eq!(pairs("host=a host=b"), [pair("host", "b")]);
        assert_eq!(pairs("host='a'port=1"), [pair("host", "a"), pair("port", "1")]);
        assert_eq!(pairs("requiressl=1"), [pair("sslmode", "require")]);
    }

    #[test]
    fn reads_uris_as_libpq() {
        assert_eq!(
            pairs(
                "postgresql://us%20er:p%40ss@[::1]:1,host2:2/db?sslmode=require&ssl=true&application_name=a%26b"
            ),
            [
                pair("user", "us er"),
                pair("password", "p@ss"),
                pair("host", "::1,host2"),
                pair("port", "1,2"),
                pair("dbname", "db"),
                pair("sslmode", "require"),
                pair("application_name", "a&b")
            ]
        );
        assert_eq!(pairs("postgres://%2Fvar%2Frun/db"), [pair("host", "/var/run"), pair("dbname", "db")]);
        assert_eq!(pairs("postgres://"), []);
    }

    #[test]
    fn errors_say_where_and_never_quote_a_password() {
        for text in [
            "host=a password=my secret",
            "password='secret",
            "postgres://u:se%zzcret@h",
            "postgres://u@h?secret",
            "postgres://u@h?password=se=cret",
        ] {
            let error = Conninfo::parse(text).unwrap_err().to_string();
            assert!(!error.contains("cret"), "{error}");
        }
        assert_eq!(
            Conninfo::parse("host=a password=my secret").unwrap_err().to_string(),
            "missing \"=\" after the word at byte 20 of the connection string"
        );
    }

    #[test]
    fn unknown_keywords_stay_and_get_a_suggestion() {
        let conninfo = Conninfo::parse("hots=a sslnegotiatoin=direct from_the_future=1 host=b").unwrap();
        assert_eq!(
            conninfo.unknown_keywords(),
            [("hots", Some("host")), ("sslnegotiatoin", Some("sslnegotiation")), ("from_the_future", None)]
        );
        assert_eq!(conninfo.to_string(), "hots=a sslnegotiatoin=direct from_the_future=1 host=b");
    }

    #[test]
    fn secrets_are_dropped_or_hidden() {
        let conninfo = Conninfo::parse("host=a password=secret sslpassword=secret user=u").unwrap();
        assert_eq!(conninfo.without_secrets().to_string(), "host=a user=u");
        assert_eq!(conninfo.redacted(), "host=a password=******** sslpassword=******** user=u");
        assert!(!format!("{conninfo:?}").contains("secret"));
    }

    #[test]
    fn a_dbname_may_be_a_whole_string() {
        assert_eq!(Conninfo::from_dbname("app").unwrap().get("dbname"), Some("app"));
        assert_eq!(Conninfo::from_dbname("host=a dbname=b").unwrap().get("dbname"), Some("b"));
        assert_eq!(Conninfo::from_dbname("postgres://h/c").unwrap().get("dbname"), Some("c"));
    }

    #[test]
    fn the_other_string_wins_a_merge() {
        let base = Conninfo::parse("host=a port=1 user=u").unwrap();
        let other = Conninfo::parse("port=2 dbname=d").unwrap();
        assert_eq!(base.with(&other).to_string(), "host=a port=2 user=u dbname=d");
    }
}
