//! The roles with exactly the privileges that they need, their passwords, and the database.

use super::{Change, Password, PrepareAssessment, Requirement, RequirementStatus, ServerUse};
use crate::facts::prepare::{REWIND_FUNCTIONS, ROLE_FUNCTIONS, RoleNow, ServerSetup};
use crate::pg::quote::quote_ident;
use crate::pg::verifier;
use crate::plan::{Check, Override};

impl PrepareAssessment<'_> {
    pub(super) fn roles(&mut self, set_up: &ServerSetup) {
        let wanted = self.wanted;
        let role = set_up.roles.get(&wanted.role);
        self.role("role", &wanted.role, role);
        if wanted.replication_role != wanted.role {
            let other = set_up.roles.get(&wanted.replication_role);
            self.role("replication_role", &wanted.replication_role, other);
        }
        let name = quote_ident(&wanted.role);
        let no_role = RoleNow::default();
        let role = role.unwrap_or(&no_role);
        self.grant(
            "pg_monitor",
            &ServerUse::ALL,
            role.monitors || role.superuser,
            format!("GRANT pg_monitor TO {name};"),
        );
        if set_up.version_num >= 150_000 {
            let may = role.checkpoints || role.superuser;
            self.grant("pg_checkpoint", &ServerUse::ALL, may, format!("GRANT pg_checkpoint TO {name};"));
            let statement =
                format!("GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name TO {name};");
            self.grant(
                "alter_system",
                &[ServerUse::Standby],
                role.alters_system || role.superuser,
                statement,
            );
        } else {
            self.add(
                Requirement {
                    name: "alter_system".into(),
                    uses: vec![ServerUse::Standby],
                    has: "superuser only before PostgreSQL 15".into(),
                    needs: "pgbaton on each host, which writes the file".into(),
                    status: RequirementStatus::Ok,
                    how: None,
                },
                None,
            );
        }
        self.database(set_up);
        self.functions(set_up, "execute", &[ServerUse::Primary, ServerUse::Standby], &ROLE_FUNCTIONS);
        self.functions(set_up, "execute_rewind", &[ServerUse::RewindSource], &REWIND_FUNCTIONS);
    }

    fn role(&mut self, what: &str, name: &str, role: Option<&RoleNow>) {
        let (has, statement) = match role {
            None => {
                ("none".to_string(), Some(format!("CREATE ROLE {} LOGIN REPLICATION;", quote_ident(name))))
            }
            Some(role) if role.login && (role.replication || role.superuser) => {
                (if role.superuser { "a superuser" } else { "LOGIN REPLICATION" }.to_string(), None)
            }
            Some(role) => {
                let lacks = [(role.login, "LOGIN"), (role.replication, "REPLICATION")];
                let lacks: Vec<&str> = lacks.iter().filter(|(has, _)| !has).map(|(_, word)| *word).collect();
                let lacks = lacks.join(" ");
                (format!("without {lacks}"), Some(format!("ALTER ROLE {} {lacks};", quote_ident(name))))
            }
        };
        let status = if statement.is_some() { RequirementStatus::Missing } else { RequirementStatus::Ok };
        let change = statement.clone().map(|statement| Change::Role(vec![statement]));
        self.add(
            Requirement {
                name: what.into(),
                uses: ServerUse::ALL.to_vec(),
                has,
                needs: format!("\"{name}\" with LOGIN REPLICATION"),
                status,
                how: statement,
            },
            change,
        );
    }

    fn grant(&mut self, name: &str, uses: &[ServerUse], has: bool, statement: String) {
        self.add(
            Requirement {
                name: name.into(),
                uses: uses.to_vec(),
                has: if has { "granted" } else { "not granted" }.into(),
                needs: "granted".into(),
                status: if has { RequirementStatus::Ok } else { RequirementStatus::Missing },
                how: (!has).then(|| statement.clone()),
            },
            (!has).then(|| Change::Role(vec![statement])),
        );
    }

    fn database(&mut self, set_up: &ServerSetup) {
        let (role, database) = (quote_ident(&self.wanted.role), quote_ident(&self.wanted.database));
        let (has, change) = match &set_up.database {
            None => (
                "none".to_string(),
                Some(Change::Database(format!("CREATE DATABASE {database} OWNER {role};"))),
            ),
            // It may contain other data: its owner stays.
            Some(now) if !now.may_connect || !now.may_create => (
                format!("owned by \"{}\"", now.owner),
                Some(Change::Role(vec![format!("GRANT CONNECT, CREATE ON DATABASE {database} TO {role};")])),
            ),
            Some(now) => (format!("owned by \"{}\"", now.owner), None),
        };
        let how = change.as_ref().map(|change| match change {
            Change::Database(statement) => statement.clone(),
            Change::Role(statements) => statements.join(" "),
            _ => String::new(),
        });
        self.add(
            Requirement {
                name: "database".into(),
                uses: ServerUse::ALL.to_vec(),
                has,
                needs: format!("\"{}\", where the role can create schemas", self.wanted.database),
                status: if change.is_some() { RequirementStatus::Missing } else { RequirementStatus::Ok },
                how,
            },
            change,
        );
    }

    fn functions(&mut self, set_up: &ServerSetup, name: &str, uses: &[ServerUse], functions: &[&str]) {
        let superuser = set_up.roles.get(&self.wanted.role).is_some_and(|role| role.superuser);
        let known = set_up.roles.contains_key(&self.wanted.role) && set_up.database.is_some();
        let denied = |function: &&&str| {
            !superuser
                && (!known
                    || set_up
                        .database
                        .as_ref()
                        .is_some_and(|now| now.denied.iter().any(|name| name == **function)))
        };
        let missing: Vec<&str> = functions.iter().filter(denied).copied().collect();
        let short = |names: &[&str]| -> String {
            let names = names.iter().map(|name| name.split('(').next().unwrap_or(name));
            let mut names: Vec<&str> = names.collect();
            names.dedup();
            names.join(", ")
        };
        let statement = format!(
            "GRANT EXECUTE ON FUNCTION {} TO {};",
            missing.join(", "),
            quote_ident(&self.wanted.role)
        );
        let ok = missing.is_empty();
        self.add(
            Requirement {
                name: name.into(),
                uses: uses.to_vec(),
                has: if ok { "granted".into() } else { format!("not {}", short(&missing)) },
                needs: short(functions),
                status: if ok { RequirementStatus::Ok } else { RequirementStatus::Missing },
                how: (!ok).then(|| statement.clone()),
            },
            (!ok).then(|| Change::InDatabase(vec![statement])),
        );
    }

    /// The passwords that the server has stored, compared with those known on this host.
    pub(super) fn passwords(&mut self, set_up: &ServerSetup) {
        let needed = self.asks_for_password();
        if !set_up.superuser {
            return;
        }
        for role in self.wanted.roles() {
            let stored = set_up.roles.get(role).and_then(|role| role.stored.as_ref());
            let password = self.wanted.password(role);
            let matches = match (stored, password.secret()) {
                (Some(stored), Some(password)) => verifier::matches(stored, role, password),
                _ => None,
            };
            let generated = matches!(password, Password::Generated(_));
            if !needed && !generated {
                continue;
            }
            let (has, status, change) = match (stored, password) {
                (_, Password::Unwanted) => continue,
                (Some(_), _) if matches == Some(false) || generated => {
                    self.checks.push(self.other_password(role, generated, set_up.in_recovery));
                    (
                        "differs from the one known on this host",
                        RequirementStatus::Missing,
                        !set_up.in_recovery,
                    )
                }
                (Some(_), _) => ("one", RequirementStatus::Ok, false),
                (None, _) if set_up.in_recovery => ("none", RequirementStatus::Cannot, false),
                (None, Password::Missing) => {
                    ("none, and none is known on this host", RequirementStatus::Missing, false)
                }
                (None, _) => ("none", RequirementStatus::Missing, true),
            };
            let needs = format!("one for \"{role}\"");
            let how = match status {
                RequirementStatus::Ok | RequirementStatus::Restart => None,
                RequirementStatus::Cannot => Some("Run \"pgbaton node prepare --apply\" on the primary.".to_string()),
                RequirementStatus::Missing => Some(
                    "\"pgbaton node prepare --apply\" sets the one from ~/.pgpass, PGPASSWORD or the conninfo; \
                    --generate-password generates one."
                        .to_string(),
                ),
            };
            let change = change.then(|| Change::Password { role: role.to_string() });
            let name = if role == self.wanted.role { "password" } else { "replication_password" };
            self.add(
                Requirement {
                    name: name.into(),
                    uses: ServerUse::ALL.to_vec(),
                    has: has.into(),
                    needs,
                    status,
                    how,
                },
                change,
            );
        }
        if needed {
            for role in self.wanted.roles() {
                let known = set_up.roles.get(role).is_some_and(|role| role.stored.is_some());
                if matches!(self.wanted.password(role), Password::Missing) {
                    let detail =
                        if known { "It has one on the server." } else { "It has none on the server either." };
                    self.checks.push(no_password(role, detail));
                }
            }
        }
    }

    /// The role has a password, but another one is known on this host or was to be generated.
    fn other_password(&self, role: &str, generated: bool, in_recovery: bool) -> Check {
        let (message, hint) = if generated {
            (
                format!("role \"{role}\" has a password already"),
                "Add it to ~/.pgpass, or give it with PGPASSWORD, instead of --generate-password.",
            )
        } else {
            (
                format!("the password of role \"{role}\" differs from the one found on this host"),
                "Correct it in ~/.pgpass, in PGPASSWORD or in the conninfo.",
            )
        };
        let check = Check::fail("password", message)
            .detail("Other nodes and sessions may use its current password.")
            .hint(hint);
        if in_recovery { check } else { check.overridable_by(Override::Force, self.wanted.force) }
    }
}

/// The check of a command that has no password where one is needed.
pub(super) fn no_password(role: &str, why: &str) -> Check {
    Check::fail("password", format!("the password of role \"{role}\" is unknown"))
        .detail(why)
        .hint(
            "Give it with PGPASSWORD, add it to ~/.pgpass, generate one with --generate-password, or run the command on a terminal \
            to be asked for it; for trust, peer, ident or certificates add --no-password.",
        )
}
