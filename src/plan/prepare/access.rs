//! Which connections are allowed, and how nodes know the password: `pg_hba.conf` and the password files.

use std::collections::BTreeSet;
use std::fmt;

use super::{Change, Node, Password, PrepareAssessment, Requirement, RequirementStatus, ServerUse};
use crate::facts::prepare::ServerSetup;
use crate::pg::hba::edit::{self, Line};
use crate::pg::hba::{Connection, Decision, Purpose, Rule, Source, Tls, decide, needs_password};
use crate::pg::passfile::{EntryStatus, PassfileEntry};
use crate::plan::{Check, Override};

/// The rules that the server has.
struct Rules<'a> {
    all: &'a [Rule],
    /// How many of them are read before the lines of pgbaton.
    above: usize,
    /// The path of `pg_hba.conf`.
    main: &'a str,
}

impl PrepareAssessment<'_> {
    /// Returns all connections that have to be allowed.
    pub(super) fn connections(&self) -> Vec<Connection> {
        let wanted = self.wanted;
        let mut out = Vec::new();
        let mut add = |of: &str, from: Source, tls| {
            let purposes = [
                (Purpose::Database(wanted.database.clone()), &wanted.role),
                (Purpose::Replication, &wanted.replication_role),
            ];
            for (purpose, role) in purposes {
                let connection = Connection { of: of.to_string(), from, purpose, role: role.clone(), tls };
                // Two nodes on one host have one address.
                let same = |other: &&Connection| {
                    (other.from, &other.purpose, &other.role)
                        == (connection.from, &connection.purpose, &connection.role)
                };
                if !out.iter().any(|other| same(&other)) {
                    out.push(connection);
                }
            }
        };
        for node in &wanted.nodes {
            // A network stands for all addresses but those that never leave this host.
            let counts = wanted.networks.is_empty() || node.is_here;
            for from in node.sources.iter().flatten().filter(|_| counts) {
                add(&node.name, *from, node.tls);
            }
        }
        for network in &wanted.networks {
            let tls = wanted.nodes.first().map_or(Tls::Either, |node| node.tls);
            add("--network", Source::Net(*network), tls);
        }
        out
    }

    /// Requires that `pg_hba.conf` allows all connections, and keeps the lines that are missing.
    pub(super) fn hba(&mut self, set_up: &ServerSetup) {
        let main = self.facts.hba.path.display().to_string();
        let Some(rules) = &set_up.rules else {
            self.add(
                Requirement {
                    name: "pg_hba".into(),
                    uses: ServerUse::ALL.to_vec(),
                    has: format!("not visible to \"{}\"", set_up.asked_as),
                    needs: "lines for every node".into(),
                    status: RequirementStatus::Cannot,
                    how: Some("Name a superuser with -S or -U.".into()),
                },
                None,
            );
            return;
        };
        self.hba_errors(rules, &main);
        let block = self.own_block(&main);
        if self.wanted.networks.is_empty() {
            self.unresolved();
        }
        self.tls();
        let in_main = |rule: &Rule| rule.file_name.as_deref().is_none_or(|file| same_file(file, &main));
        // How many rules are read before the block.
        let above = block.map_or(0, |block| {
            let behind = |rule: &Rule| in_main(rule) && rule.line_number > block.begin + 1;
            rules.iter().position(behind).unwrap_or(rules.len())
        });
        let rules = Rules { all: rules, above, main: &main };
        let connections = self.connections();
        let mut of: Vec<&str> = connections.iter().map(|connection| connection.of.as_str()).collect();
        of.dedup();
        let mut seen = BTreeSet::new();
        for name in of.into_iter().filter(|name| seen.insert(name.to_string())) {
            let own: Vec<&Connection> =
                connections.iter().filter(|connection| connection.of == name).collect();
            self.allow(name, &own, &rules);
        }
        self.password_for_new_lines();
    }

    /// Reports rules that the server cannot read.
    fn hba_errors(&mut self, rules: &[Rule], main: &str) {
        for rule in rules {
            if let Some(error) = &rule.error {
                self.checks.push(
                    Check::fail("pg_hba_errors", format!("{} has an error: {error}", rule.location(main)))
                        .detail("The server does not load a pg_hba.conf with errors, so new lines would have no effect either.")
                        .hint("Correct the line, then run the command again."),
                );
            }
        }
    }

    /// Finds the lines of pgbaton in `pg_hba.conf`, and reports where their markers are damaged.
    fn own_block(&mut self, main: &str) -> Option<edit::Block> {
        let text = self.facts.hba.text.clone().unwrap_or_default();
        match edit::find(&text) {
            Ok(block) => block,
            Err(why) => {
                self.checks.push(
                    Check::fail("pg_hba_block", format!("in \"{main}\" {why}"))
                        .hint("Remove or complete the markers; the lines between them belong to pgbaton."),
                );
                None
            }
        }
    }

    /// Requires that all connections of one node, or from the networks, are allowed.
    fn allow(&mut self, name: &str, own: &[&Connection], rules: &Rules<'_>) {
        let mut lines = Vec::new();
        let mut found = BTreeSet::new();
        for connection in own {
            let decision = decide(rules.all, connection, &self.facts.around, &self.wanted.method);
            found.insert(MatchedRule::by(&decision));
            match decision {
                Decision::LetIn(_) => continue,
                Decision::NoRule => {}
                Decision::Otherwise(rule) => self.conflict(rule, connection, rules),
            }
            let rule = self.line(connection);
            lines.push(Line { rule, of: name.to_string() });
        }
        let ok = lines.is_empty();
        let addresses: BTreeSet<String> = own.iter().map(|connection| connection.from.to_string()).collect();
        let addresses = addresses.into_iter().collect::<Vec<_>>().join(", ");
        let who = if name == addresses || name == "--network" {
            addresses
        } else {
            format!("{name} ({addresses})")
        };
        let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let how = lines.iter().map(|line| line.rule.clone()).collect::<Vec<_>>().join("\n");
        self.add(
            Requirement {
                name: "pg_hba".into(),
                uses: vec![ServerUse::Primary, ServerUse::Standby, ServerUse::RewindSource],
                has: found,
                needs: format!("allows {who}"),
                status: if ok { RequirementStatus::Ok } else { RequirementStatus::Missing },
                how: (!ok).then_some(how),
            },
            (!ok).then_some(Change::Hba(lines)),
        );
    }

    /// Reports a rule that would win over a line of pgbaton, or that such a line would override.
    fn conflict(&mut self, rule: &Rule, connection: &Connection, rules: &Rules<'_>) {
        let at = rules.all.iter().position(|other| std::ptr::eq(other, rule));
        if at.is_some_and(|at| at < rules.above) {
            self.wins_above(rule, rules.main, connection);
        } else if rule.is_meant_for(connection) {
            self.overrides(rule, rules.main, connection);
        }
    }

    /// New lines that ask for a password need one.
    fn password_for_new_lines(&mut self) {
        let adds = self.items.iter().any(|item| matches!(item.change, Some(Change::Hba(_))));
        let unwanted = |role: &str| matches!(self.wanted.password(role), Password::Unwanted);
        if adds && unwanted(&self.wanted.role) && needs_password(&self.wanted.method) {
            let method = &self.wanted.method;
            self.checks.push(
                Check::fail("no_password", format!("new lines in pg_hba.conf would ask for a password by {method}"))
                    .detail("--no-password excludes that.")
                    .hint("Choose another method with --auth-method, such as cert or trust, or leave out --no-password."),
            );
        }
    }

    /// Returns the line that allows a connection.
    fn line(&self, connection: &Connection) -> String {
        connection.line(&self.wanted.method, self.facts.around.ssl)
    }

    /// If a conninfo requires TLS, the server must support it.
    fn tls(&mut self) {
        let Some(node) = self.wanted.nodes.iter().find(|node| node.tls == Tls::Always) else { return };
        let ssl = self.facts.around.ssl;
        let how =
            "Set ssl_cert_file and ssl_key_file, then: ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf();";
        self.add(
            Requirement {
                name: "ssl".into(),
                uses: ServerUse::ALL.to_vec(),
                has: if ssl { "on" } else { "off" }.into(),
                needs: format!("on: the conninfo of {} requires TLS", node.name),
                status: if ssl { RequirementStatus::Ok } else { RequirementStatus::Cannot },
                how: (!ssl).then(|| how.to_string()),
            },
            None,
        );
        if !ssl {
            self.checks.push(
                Check::fail("ssl", "TLS is off on the server")
                    .detail(format!("The conninfo of \"{}\" requires it (sslmode).", node.name))
                    .hint(how),
            );
        }
    }

    /// A rule above the block decides, so that a line in the block would have no effect.
    fn wins_above(&mut self, rule: &Rule, main: &str, connection: &Connection) {
        self.to_top = self.wanted.force;
        self.in_the_way(
            rule,
            "takes precedence over the lines of pgbaton",
            format!(
                "It matches connections from \"{}\" ({}) as \"{}\".",
                connection.of, connection.from, connection.role
            ),
            "Move the block of pgbaton above that rule; --force moves the block before the first rule.",
            main,
        );
    }

    /// A rule made for exactly this connection would no longer match it first.
    fn overrides(&mut self, rule: &Rule, main: &str, connection: &Connection) {
        self.in_the_way(
            rule,
            "matches exactly connections that pgbaton needs",
            format!(
                "The lines of pgbaton would precede it and allow \"{}\" ({}) as \"{}\".",
                connection.of, connection.from, connection.role
            ),
            "Correct or remove that rule if those connections should be allowed.",
            main,
        );
    }

    /// Names a rule once, however many connections it matches.
    fn in_the_way(&mut self, rule: &Rule, what: &str, detail: String, hint: &str, main: &str) {
        let method = rule.auth_method.as_deref().unwrap_or_default();
        let message = format!("{} {what}, by \"{method}\"", rule.location(main));
        if self.checks.iter().any(|check| check.message == message) {
            return;
        }
        self.checks.push(
            Check::fail("pg_hba_order", message)
                .detail(detail)
                .hint(hint)
                .overridable_by(Override::Force, self.wanted.force),
        );
    }

    /// Nodes whose addresses are unknown cannot be allowed.
    fn unresolved(&mut self) {
        for Node { name, sources, .. } in &self.wanted.nodes {
            let Err(why) = sources else { continue };
            self.add(
                Requirement {
                    name: "pg_hba".into(),
                    uses: vec![ServerUse::Primary, ServerUse::Standby, ServerUse::RewindSource],
                    has: format!("no address: {why}"),
                    needs: format!("allows {name}"),
                    status: RequirementStatus::Cannot,
                    how: Some("Give its network with --network, or add hostaddr to its conninfo.".into()),
                },
                None,
            );
            self.checks.push(
                Check::fail("node_address", format!("the address of \"{name}\" is unknown: {why}"))
                    .hint("Correct the name, or allow its network with --network CIDR."),
            );
        }
    }

    /// Returns the rules, without their methods, that are right for each node now.
    pub(super) fn current(&self) -> BTreeSet<(String, String)> {
        let known =
            |connection: &Connection| Some((connection.of.clone(), edit::key(&self.line(connection))?));
        self.connections().iter().filter_map(known).collect()
    }

    pub(super) fn passfiles(&mut self) {
        if !self.asks_for_password() {
            return;
        }
        for (at, file) in self.facts.passfiles.iter().enumerate() {
            let text = file.text.clone().unwrap_or_default();
            let open = file.text.is_some() && file.mode & 0o077 != 0;
            let mut missing = Vec::new();
            let mut others = Vec::new();
            for entry in self.entries() {
                match entry.status(&text) {
                    EntryStatus::Missing => missing.push(entry),
                    EntryStatus::Right(_) => {}
                    EntryStatus::Other(line) => others.push((line, entry)),
                }
            }
            let path = file.path.display();
            others.dedup_by_key(|(line, _)| *line);
            for (line, entry) in &others {
                self.checks.push(
                    Check::fail("pgpass_line", format!("line {line} of \"{path}\" has another password"))
                        .detail(format!(
                            "libpq uses that line for \"{}\" at \"{}\", port {}.",
                            entry.user, entry.host, entry.port
                        ))
                        .hint("Correct or remove that line; pgbaton does not change existing lines."),
                );
            }
            let count = self.entries().len();
            let has = match (missing.len(), open) {
                (_, true) => format!("mode {:04o}: libpq ignores it", file.mode),
                (0, false) => format!("{count} of {count} entries"),
                (lacking, false) => format!("{} of {count} entries", count - lacking),
            };
            let ok = missing.is_empty() && !open && others.is_empty();
            let shown: Vec<String> = missing.iter().map(|entry| entry.line(true)).collect();
            let how = if missing.is_empty() { format!("chmod 0600 {path}") } else { shown.join("\n") };
            self.add(
                Requirement {
                    name: "pgpass".into(),
                    uses: ServerUse::ALL.to_vec(),
                    has,
                    needs: format!("every node in \"{path}\""),
                    status: if ok { RequirementStatus::Ok } else { RequirementStatus::Missing },
                    how: (!ok).then_some(how),
                },
                (!ok).then_some(Change::Passfile { at, entries: missing }),
            );
        }
        if self.facts.passfiles.is_empty() {
            self.checks.push(
                Check::fail("pgpass", "no location for a password file was found")
                    .detail("This user has no home directory.")
                    .hint("Set passfile in the configuration, or HOME."),
            );
        }
        let generates = matches!(self.wanted.password(&self.wanted.role), Password::Generated(_));
        if self.facts.set_up.as_ref().is_none_or(|set_up| set_up.in_recovery) && generates {
            self.checks.push(
                Check::fail("password", "a password is generated on the primary, not on this node")
                    .hint("Give the password that was generated there, with PGPASSWORD or on a terminal, instead of --generate-password."),
            );
        }
        if self.facts.set_up.is_none() && matches!(self.wanted.password(&self.wanted.role), Password::Missing)
        {
            let why = "The rules of pg_hba.conf require one.";
            self.checks.push(super::roles::no_password(&self.wanted.role, why));
        }
    }

    /// Returns the lines that a password file needs: each node's database and its replication connections.
    pub(super) fn entries(&self) -> Vec<PassfileEntry> {
        let wanted = self.wanted;
        let mut out: Vec<PassfileEntry> = Vec::new();
        for node in &wanted.nodes {
            for (dbname, role) in
                [(wanted.database.as_str(), &wanted.role), ("replication", &wanted.replication_role)]
            {
                let entry = PassfileEntry {
                    host: node.host.clone(),
                    port: node.port.clone(),
                    dbname: dbname.to_string(),
                    user: role.clone(),
                    password: wanted.password(role).secret().cloned(),
                };
                if !out.iter().any(|other| other.line(true) == entry.line(true)) {
                    out.push(entry);
                }
            }
        }
        out
    }
}

/// What was found about a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MatchedRule {
    Line(usize, String),
    Refusal(usize, String),
    Nothing,
}

impl MatchedRule {
    fn by(decision: &Decision<'_>) -> Self {
        let method = |rule: &Rule| rule.auth_method.clone().unwrap_or_default();
        match decision {
            Decision::LetIn(rule) => Self::Line(rule.line_number, method(rule)),
            Decision::Otherwise(rule) => Self::Refusal(rule.line_number, method(rule)),
            Decision::NoRule => Self::Nothing,
        }
    }
}

impl fmt::Display for MatchedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line, method) => write!(f, "line {line}: {method}"),
            Self::Refusal(line, method) => write!(f, "line {line}: {method}, not enough"),
            Self::Nothing => f.write_str("no rule"),
        }
    }
}

/// The server names its file as it was configured; ours has no symbolic links in it.
fn same_file(named: &str, main: &str) -> bool {
    let named = std::path::Path::new(named);
    named.display().to_string() == main
        || named.file_name().is_some()
            && named.canonicalize().is_ok_and(|path| path.display().to_string() == main)
}
