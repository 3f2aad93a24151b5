//! What meets the requirements: as a plan, as diffs, as lines for an administrator.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::settings::alter_system;
use super::{
    Change, FileNow, PrepareAssessment, PrepareEndpoints, PrepareFacts, PrepareRequest, RequirementStatus,
};
use crate::error::Exit;
use crate::pg::hba::edit::{self, Line};
use crate::pg::quote::{quote_ident, quote_literal};
use crate::pg::statement::Statement;
use crate::pg::{passfile, verifier};
use crate::plan::parts::settings as settings_file;
use crate::plan::{
    Check, FileOp, OnFailure, OnResume, Op, Order, Phase, Plan, Probe, RollbackStep, Setting, Step, Verify,
};
use crate::secret::Secret;

/// Seconds for a step. None of them has much to do, but a checkpoint or a busy disk may come between.
const STEP_S: u32 = 30;
/// Seconds for reading a file of rules again.
const CHECK_S: u32 = 5;
/// The name of what the file of rules becomes.
const HBA_NEW: &str = "new pg_hba.conf";
/// The name of what it was.
const HBA_OLD: &str = "old pg_hba.conf";
/// The name of what the server's configuration becomes.
const CONF_NEW: &str = "new postgresql.conf";

/// A file that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The file.
    pub path: String,
    /// What is in it; secrets hidden.
    pub old: String,
    /// What will be in it; secrets hidden.
    pub new: String,
}

/// What an administrator has to run and to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Printed {
    /// Statements for a superuser, in any database.
    pub sql: Vec<String>,
    /// Statements for a superuser, in the database of the metadata.
    pub sql_in_database: Vec<String>,
    /// The database of the metadata.
    pub database: String,
    /// Lines for `pg_hba.conf`, before its first rule.
    pub pg_hba: Vec<String>,
    /// That file.
    pub pg_hba_file: String,
    /// Lines for the password file, without the password.
    pub pgpass: Vec<String>,
    /// That file.
    pub pgpass_file: String,
    /// Settings that take a restart.
    pub pending_restart: Vec<String>,
}

/// A plan, and what it takes to show and to carry it out.
#[derive(Debug)]
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// What becomes of files.
    pub files: Vec<FileChange>,
    /// What the plan names and does not hold.
    pub secrets: BTreeMap<String, Secret>,
}

/// A plan in the making.
struct PlanBuilder<'a> {
    steps: Vec<Step>,
    rollback: Vec<RollbackStep>,
    checks: Vec<Check>,
    files: Vec<FileChange>,
    secrets: BTreeMap<String, Secret>,
    facts: &'a PrepareFacts,
    places: &'a PrepareEndpoints,
}

impl PrepareAssessment<'_> {
    /// Makes the plan.
    pub fn prepared(&self, places: &PrepareEndpoints) -> Prepared {
        let mut making = PlanBuilder {
            steps: Vec::new(),
            rollback: Vec::new(),
            checks: self.checks.clone(),
            files: Vec::new(),
            secrets: BTreeMap::new(),
            facts: self.facts,
            places,
        };
        let superuser = self.facts.set_up.as_ref().is_none_or(|set_up| set_up.superuser);
        if !superuser {
            let asked_as = self.facts.set_up.as_ref().map_or("", |set_up| &set_up.asked_as);
            making.checks.push(
                Check::fail("superuser", format!("\"{asked_as}\" is not a superuser"))
                    .detail("Only a superuser can see and change the settings.")
                    .hint("Name a superuser with -S or -U, or have one run the output of --print."),
            );
        } else {
            making.checks.push(Check::pass("superuser", "a superuser is connected"));
        }
        for item in self.items.iter().filter(|item| item.requirement.status == RequirementStatus::Cannot) {
            let requirement = &item.requirement;
            making.checks.push(
                Check::warning(
                    &requirement.name,
                    format!("\"{}\" cannot be met: it has {}", requirement.name, requirement.has),
                )
                .detail(format!("It needs {}.", requirement.needs))
                .hint(requirement.how.clone().unwrap_or_default()),
            );
        }
        // Steps that may fail first: if one of them stops, no access has been granted yet.
        making.roles(self);
        making.passfiles(self);
        making.passwords(self);
        let reloads = making.settings(self) | making.hba(self);
        if reloads {
            making.step(
                "reload",
                "reload the configuration of the server",
                Op::Sql {
                    on: places.server.clone(),
                    statements: vec![Statement::new("SELECT pg_catalog.pg_reload_conf()")],
                },
            );
        }
        let verify = making.verify(self);
        let steps = making.steps;
        let phases = if steps.is_empty() {
            Vec::new()
        } else {
            vec![Phase {
                title: "prepare the node".into(),
                order: Order::InOrder,
                on_failure: OnFailure::Stop,
                outage: false,
                steps,
            }]
        };
        let plan = Plan {
            checks: making.checks,
            phases,
            rollback: making.rollback,
            verify,
            back_failed: Exit::LocalCommand,
            incomplete: Exit::Issues,
            ..Plan::nothing(format!("prepare node \"{}\"", self.wanted.node_name))
        };
        Prepared { plan, files: making.files, secrets: making.secrets }
    }

    /// Returns what an administrator has to do.
    pub fn printed(&self) -> Printed {
        let mut out = Printed {
            database: self.wanted.database.clone(),
            pg_hba_file: self.facts.hba.path.display().to_string(),
            pgpass_file: self
                .facts
                .passfiles
                .first()
                .map(|file| file.path.display().to_string())
                .unwrap_or_default(),
            pending_restart: self.restarts(),
            ..Printed::default()
        };
        for change in self.changes() {
            match change {
                Change::Setting { name, value, .. } => out.sql.push(alter_system(name, value)),
                Change::Role(statements) => out.sql.extend(statements.clone()),
                Change::Database(statement) => out.sql.push(statement.clone()),
                Change::InDatabase(statements) => out.sql_in_database.extend(statements.clone()),
                // psql asks for it and sends a verifier only.
                Change::Password { role } => out.sql.push(format!("\\password {}", quote_ident(role))),
                Change::Hba(lines) => {
                    out.pg_hba.extend(lines.iter().map(ToString::to_string));
                }
                Change::Passfile { entries, .. } => {
                    for entry in entries {
                        let bare = entry.line(true);
                        let bare = bare.rsplit_once(':').map_or(bare.as_str(), |(bare, _)| bare);
                        let line = format!("{bare}:PASSWORD");
                        if !out.pgpass.contains(&line) {
                            out.pgpass.push(line);
                        }
                    }
                }
            }
        }
        let lacks = |role: &str| {
            self.items.iter().any(|item| {
                item.requirement.name == "password" && item.requirement.status == RequirementStatus::Missing
            }) && !out.sql.iter().any(|sql| *sql == format!("\\password {}", quote_ident(role)))
        };
        if lacks(&self.wanted.role) && !self.facts.set_up.as_ref().is_some_and(|set_up| set_up.in_recovery) {
            out.sql.push(format!("\\password {}", quote_ident(&self.wanted.role)));
        }
        // What creates comes before what grants; the order of the requirements sees to that, except for settings, which do no harm.
        if !out.sql.is_empty() || !out.pg_hba.is_empty() {
            out.sql_in_database.push("SELECT pg_reload_conf();".into());
        }
        out
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        self.items.iter().filter_map(|item| item.change.as_ref())
    }
}

impl PlanBuilder<'_> {
    fn step(&mut self, id: &str, title: &str, op: Op) -> &mut Step {
        let place = self.steps.len();
        let exit = if matches!(op, Op::Sql { .. }) { Exit::Query } else { Exit::LocalCommand };
        self.steps.push(Step::new(id, title, op, STEP_S, exit));
        // It was pushed just now.
        #[expect(clippy::indexing_slicing, reason = "the place of the step that was pushed")]
        &mut self.steps[place]
    }

    /// Sees to it that a file can be changed, before anything is.
    fn may_change(&mut self, file: &FileNow) {
        let path = file.path.display();
        match &file.closed {
            None => self.checks.push(Check::pass("writable", format!("\"{path}\" can be written"))),
            Some(why) => {
                let message = format!("\"{path}\" cannot be written");
                if !self.checks.iter().any(|check| check.message == message) {
                    self.checks.push(
                        Check::fail("writable", message)
                            .detail(why.clone())
                            .hint("Run the command as the user that owns it, or have that user apply the output of --print."),
                    );
                }
            }
        }
    }

    fn roles(&mut self, work: &PrepareAssessment<'_>) {
        let role = &work.wanted.role;
        let mut statements = Vec::new();
        let mut later = Vec::new();
        let mut made = None;
        let mut inside = Vec::new();
        for change in work.changes() {
            match change {
                Change::Role(more) if more.iter().any(|text| text.contains(" ON DATABASE ")) => {
                    later.extend(more.clone());
                }
                Change::Role(more) => statements.extend(more.clone()),
                Change::Database(statement) => made = Some(statement.clone()),
                Change::InDatabase(more) => inside.extend(more.clone()),
                _ => {}
            }
        }
        statements.extend(later);
        let sql = |texts: &[String]| -> Vec<Statement> {
            texts.iter().map(|text| Statement::new(text.trim_end_matches(';'))).collect()
        };
        let server = self.places.server.clone();
        if !statements.is_empty() {
            let op = Op::Sql { on: server.clone(), statements: sql(&statements) };
            let title = match statements.iter().any(|text| text.starts_with("CREATE ROLE")) {
                true => format!("create role \"{role}\" and grant its privileges"),
                false => format!("grant role \"{role}\" its privileges"),
            };
            let step = self.step("role", &title, op);
            step.left_in_place = Some(format!("Role \"{role}\" keeps its new privileges."));
        }
        if let Some(statement) = made {
            let database = &work.wanted.database;
            let there = Probe::Sql {
                says: format!("database \"{database}\" exists"),
                on: server.clone(),
                statement: Statement::new("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)::text")
                    .bind(database),
            };
            let op = Op::Sql { on: server, statements: sql(&[statement]) };
            let step = self.step("database", &format!("create database \"{database}\""), op);
            step.on_resume = OnResume::AgainUnless(there);
            step.left_in_place = Some(format!("Database \"{database}\" stays."));
        }
        if !inside.is_empty() {
            let op = Op::Sql { on: self.places.database.clone(), statements: sql(&inside) };
            let title = format!(
                "grant role \"{role}\" EXECUTE on functions in database \"{}\"",
                work.wanted.database
            );
            self.step("execute", &title, op).left_in_place =
                Some("It keeps the privilege to call these functions.".into());
        }
    }

    /// The file comes before the password is set: one that was made must not be lost in between.
    fn passfiles(&mut self, work: &PrepareAssessment<'_>) {
        for change in work.changes() {
            let Change::Passfile { at, entries } = change else { continue };
            let Some(file) = self.facts.passfiles.get(*at) else { continue };
            self.may_change(file);
            let old = file.text.clone().unwrap_or_default();
            let new = passfile::with_entries(&old, entries);
            self.files.push(FileChange {
                path: file.path.display().to_string(),
                old: passfile::hidden(&old),
                new: passfile::hidden(&new),
            });
            let secret = format!("password file {}", file.path.display());
            self.secrets.insert(secret.clone(), Secret::new(new));
            let op = Op::File(FileOp::WriteSecretFile { path: file.path.clone(), secret, mode: 0o600 });
            let title = format!("write {} lines into \"{}\"", entries.len(), file.path.display());
            self.step(&format!("pgpass_{at}"), &title, op).left_in_place =
                Some(format!("\"{}\" keeps its new lines.", file.path.display()));
        }
    }

    /// The server gets a verifier, by a parameter: neither its log nor the journal sees the password.
    fn passwords(&mut self, work: &PrepareAssessment<'_>) {
        for change in work.changes() {
            let Change::Password { role } = change else { continue };
            let Some(password) = work.wanted.password(role).secret() else { continue };
            let secret = format!("verifier of the password of role \"{role}\"");
            self.secrets.insert(secret.clone(), verifier::scram_verifier(password));
            let hand_over = Statement::new("SELECT pg_catalog.set_config('pgbaton.verifier', $1, true)")
                .bind_secret(secret);
            // The role's name is quoted twice: for the statement, and as a part of the text of the block.
            let body = format!(
                "BEGIN EXECUTE pg_catalog.format('ALTER ROLE %I PASSWORD %L', {}, pg_catalog.current_setting('pgbaton.verifier')); END",
                quote_literal(role)
            );
            let set = Statement::new(format!("DO {}", quote_literal(&body)));
            let op = Op::Sql { on: self.places.server.clone(), statements: vec![hand_over, set] };
            self.step(&format!("password_{role}"), &format!("set the password of role \"{role}\""), op)
                .left_in_place = Some(format!("Role \"{role}\" keeps its new password."));
        }
    }

    /// Returns whether there is something for the server to read again.
    fn settings(&mut self, work: &PrepareAssessment<'_>) -> bool {
        let wanted: Vec<(&str, &str)> = work
            .changes()
            .filter_map(|change| match change {
                Change::Setting { name, value, .. } => Some((name.as_str(), value.as_str())),
                _ => None,
            })
            .collect();
        let Some(set_up) = &self.facts.set_up else { return false };
        if wanted.is_empty() {
            return false;
        }
        if set_up.alter_system_allowed && self.facts.auto_conf_closed.is_none() {
            for (name, value) in &wanted {
                let text = alter_system(name, value);
                let statement = Statement::new(text.trim_end_matches(';'));
                let op = Op::Sql { on: self.places.server.clone(), statements: vec![statement] };
                self.step(&format!("set_{name}"), &format!("set {name} to \"{value}\""), op).left_in_place =
                    Some(format!("{name} stays set."));
            }
            return true;
        }
        self.settings_by_file(&wanted);
        true
    }

    /// If ALTER SYSTEM is not available: a file of our own, which the server's includes.
    fn settings_by_file(&mut self, wanted: &[(&str, &str)]) {
        let Some(set_up) = &self.facts.set_up else { return };
        let auto = |name: &str| {
            let file = set_up.settings.get(name).and_then(|setting| setting.file.as_ref())?;
            file.file.ends_with("postgresql.auto.conf").then(|| file.clone())
        };
        for (name, _) in wanted {
            if let Some(line) = auto(name) {
                self.checks.push(
                    Check::fail(
                        "auto_conf",
                        format!("{name} is set in line {} of \"{}\"", line.line, line.file.display()),
                    )
                    .detail("That file overrides all others, and ALTER SYSTEM is not available.")
                    .hint("Remove the line, or allow ALTER SYSTEM, then run the command again."),
                );
            }
        }
        let facts = self.facts;
        let conf = facts.conf.text.clone().unwrap_or_default();
        let own_name = facts
            .own_conf
            .path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        self.may_change(&facts.own_conf);
        let old = facts.own_conf.text.clone().unwrap_or_default();
        let pairs: Vec<(String, String)> =
            wanted.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let new = settings_file::rewrite(old.as_bytes(), &[], &pairs);
        self.files.push(FileChange {
            path: facts.own_conf.path.display().to_string(),
            old,
            new: new.map(|new| String::from_utf8_lossy(&new).into_owned()).unwrap_or_default(),
        });
        let set = wanted.iter().map(|(name, value)| Setting::new(*name, *value)).collect();
        let names = wanted.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let op = Op::File(FileOp::WriteSettings {
            path: facts.own_conf.path.clone(),
            remove: Vec::new(),
            set,
            mode: facts.own_conf.mode,
        });
        let title = format!("write {names} into \"{}\"", facts.own_conf.path.display());
        self.step("own_conf", &title, op).left_in_place = Some(format!("{names} stay set."));
        let included = facts.conf_directory.is_some() || includes(&conf, &own_name);
        if !included {
            self.may_change(&facts.conf);
            let new = with_include(&conf, &own_name);
            self.files.push(FileChange {
                path: facts.conf.path.display().to_string(),
                old: conf,
                new: new.clone(),
            });
            self.secrets.insert(CONF_NEW.into(), Secret::new(new));
            let op = Op::File(FileOp::WriteSecretFile {
                path: facts.conf.path.clone(),
                secret: CONF_NEW.into(),
                mode: facts.conf.mode,
            });
            let title = format!("include \"{own_name}\" in \"{}\"", facts.conf.path.display());
            self.step("include", &title, op).left_in_place = Some(format!("\"{own_name}\" stays included."));
        }
        for (name, value) in wanted {
            // pg_file_settings reads the files as they are, before any reload.
            let statement = Statement::new(
                "SELECT COALESCE((SELECT setting = $2 FROM pg_file_settings WHERE lower(name) = $1 \
                 ORDER BY seqno DESC LIMIT 1), false)::text",
            )
            .bind(name)
            .bind(value);
            let probe = Probe::Sql {
                says: format!("no later line of the configuration sets {name}"),
                on: self.places.server.clone(),
                statement,
            };
            let hint = format!(
                "\"SELECT * FROM pg_file_settings WHERE name = '{name}'\" shows the line; remove it, then run the command again."
            );
            let step = self.step(
                &format!("last_{name}"),
                &format!("check that no later line sets {name}"),
                Op::Wait(probe),
            );
            step.timeout_s = CHECK_S;
            step.hint = Some(hint);
        }
    }

    /// Returns whether there is something for the server to read again.
    fn hba(&mut self, work: &PrepareAssessment<'_>) -> bool {
        let mut lines: Vec<Line> = Vec::new();
        for change in work.changes() {
            if let Change::Hba(more) = change {
                lines.extend(more.clone());
            }
        }
        if lines.is_empty() {
            return false;
        }
        let facts = self.facts;
        let file = &facts.hba;
        self.may_change(file);
        let old = file.text.clone().unwrap_or_default();
        // Marks that are no pair are a failed check already.
        let Ok(new) = edit::with_lines(&old, &lines, &work.current(), work.to_top) else { return false };
        self.files.push(FileChange {
            path: file.path.display().to_string(),
            old: without_secrets(&old),
            new: without_secrets(&new),
        });
        self.secrets.insert(HBA_NEW.into(), Secret::new(new));
        self.secrets.insert(HBA_OLD.into(), Secret::new(old));
        let write = |secret: &str| {
            Op::File(FileOp::WriteSecretFile {
                path: file.path.clone(),
                secret: secret.into(),
                mode: file.mode,
            })
        };
        let path = file.path.display();
        self.step("pg_hba", &format!("write {} lines into \"{path}\"", lines.len()), write(HBA_NEW));
        let probe = Probe::Sql {
            says: format!("\"{path}\" has no errors"),
            on: self.places.server.clone(),
            statement: Statement::new(
                "SELECT (NOT EXISTS (SELECT FROM pg_hba_file_rules WHERE error IS NOT NULL))::text",
            ),
        };
        let step =
            self.step("pg_hba_errors", &format!("check that \"{path}\" has no errors"), Op::Wait(probe));
        step.timeout_s = CHECK_S;
        step.hint = Some(
            "The server rejects the new lines: check --auth-method, and the output of --dry-run.".into(),
        );
        let step = Step::new(
            "pg_hba_back",
            format!("restore \"{path}\""),
            write(HBA_OLD),
            STEP_S,
            Exit::LocalCommand,
        );
        self.rollback.push(RollbackStep { if_started: vec!["pg_hba".into()], step });
        true
    }

    /// The role gets in as it will later, where the server listens there already.
    fn verify(&self, work: &PrepareAssessment<'_>) -> Vec<Verify> {
        let restarts = work.restarts();
        if self.steps.is_empty()
            || self.facts.set_up.is_none()
            || restarts.iter().any(|name| name == "listen_addresses")
        {
            return Vec::new();
        }
        vec![Verify {
            title: format!("role \"{}\" can connect", work.wanted.role),
            probe: Probe::Accepts { on: self.places.own.clone(), in_recovery: None },
            timeout_s: 10,
            after: None,
        }]
    }
}

/// Says whether a configuration includes a file.
fn includes(conf: &str, name: &str) -> bool {
    let wanted = |line: &str| {
        let rest = line
            .trim_start()
            .strip_prefix("include_if_exists")
            .or_else(|| line.trim_start().strip_prefix("include"));
        let value = rest.map(|rest| rest.trim_start_matches([' ', '\t', '=']));
        value
            .and_then(|value| value.strip_prefix('\'')?.split('\'').next())
            .is_some_and(|value| value == name)
    };
    conf.lines().any(wanted)
}

/// Appends the line that includes a file.
fn with_include(conf: &str, name: &str) -> String {
    let end_of_line = if conf.contains("\r\n") { "\r\n" } else { "\n" };
    let gap = if conf.is_empty() || conf.ends_with('\n') { "" } else { end_of_line };
    format!(
        "{conf}{gap}{end_of_line}# Written by \"pgbaton node prepare\".{end_of_line}include_if_exists = '{name}'{end_of_line}"
    )
}

/// Returns the directory that a configuration includes all files of, if it does.
pub fn included_directory(conf: &str, base: &Path) -> Option<std::path::PathBuf> {
    let directory = |line: &str| {
        let value = line.trim_start().strip_prefix("include_dir")?.trim_start_matches([' ', '\t', '=']);
        let value = value.strip_prefix('\'')?.split('\'').next()?;
        (!value.is_empty()).then(|| base.join(value))
    };
    conf.lines().find_map(directory)
}

/// Hides the passwords that lines of `pg_hba.conf` may hold.
fn without_secrets(text: &str) -> String {
    const OPTIONS: [&str; 2] = ["ldapbindpasswd=", "radiussecrets="];
    let hide = |line: &str| {
        let at = OPTIONS.iter().filter_map(|option| Some(line.find(option)? + option.len())).min();
        match at.and_then(|at| line.get(..at)) {
            Some(shown) if !line.trim_start().starts_with('#') => {
                format!("{shown}********{}", if line.ends_with('\n') { "\n" } else { "" })
            }
            _ => line.to_string(),
        }
    };
    text.split_inclusive('\n').map(hide).collect()
}

impl PrepareRequest {
    /// Says whether any role needs a password that was not given.
    pub fn lacks_password(&self) -> bool {
        self.roles().iter().any(|role| matches!(self.password(role), super::Password::Missing))
    }
}

#[cfg(test)]
mod tests;
