//! Which method to use, and whether its preconditions are met.

use super::slots::stale_slots;
use super::{Decision, RejoinFacts, RejoinMethod, RejoinOptions, position, within};
use crate::assess::alive::streams_from;
use crate::assess::history::Relation;
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::rejoin::{Loss, Needed, grants_to_rewind};
use crate::facts::server::ServerFacts;
use crate::pg::quote::quote_ident;
use crate::plan::service::{Action, refusal, start_checks, writable};
use crate::plan::{Check, Override};
use crate::registry::node;
use crate::system::command::quote_shell;
use crate::units::{size, utc};

/// Decides what is to be done and whether it can be done.
pub(super) fn judge(
    facts: &RejoinFacts,
    options: &RejoinOptions,
    local: &NodeFacts,
    primary: &NodeFacts,
    there: &ServerFacts,
) -> (Option<Decision>, Vec<Check>) {
    let name = &primary.row.node_name;
    let mut checks = vec![same_cluster(facts, there, name), same_major(facts, there, name)];
    if checks.iter().any(Check::stops) {
        return (None, checks);
    }
    let ladder = MethodChoice { facts, options, local, primary, there };
    let (decision, more) = ladder.decide();
    checks.extend(more);
    let Some(decided) = &decision else { return (decision, checks) };
    checks.extend(ladder.followers(decided.method));
    if decided.method != RejoinMethod::None {
        checks.extend(ladder.slot());
        checks.extend(ladder.secret());
    }
    if matches!(decided.method, RejoinMethod::Rewind | RejoinMethod::RewindArchive) {
        checks.extend(ladder.rewind_rights());
        checks.extend(ladder.untouchable());
        checks.push(ladder.room_for_kept());
        checks.extend(ladder.lost_slots());
        checks.extend(ladder.unarchived());
    }
    if matches!(decided.method, RejoinMethod::Rewind | RejoinMethod::RewindArchive | RejoinMethod::Reclone) {
        checks.extend(ladder.consent());
    }
    match decided.method {
        RejoinMethod::None => {}
        // It goes on running, and only its settings are written.
        RejoinMethod::Follow if facts.local.running.is_some() => {
            checks.extend(writable(&facts.start.places, &facts.start.node_name));
        }
        _ => {
            let in_force = facts.in_force.as_ref().map(|settings| (name.as_str(), settings));
            checks.extend(facts.future(&local.row).checks(facts.running.as_ref(), in_force, options.force));
            let stop = refusal(&facts.stop, Action::Stop).filter(|_| facts.local.running.is_some());
            checks.extend(stop.or_else(|| refusal(&facts.start, Action::Start)));
            checks.extend(start_checks(&facts.start, Action::Start));
        }
    }
    (decision, checks)
}

fn same_cluster(facts: &RejoinFacts, there: &ServerFacts, name: &str) -> Check {
    const NAME: &str = "same_cluster";
    let ours = facts.local.control.system_identifier.to_string();
    if ours == there.system_identifier {
        return Check::pass(NAME, "both belong to one cluster");
    }
    Check::fail(NAME, format!("the local data directory belongs to another cluster than \"{name}\""))
        .detail(format!(
            "Its system identifier is {ours}, but that of \"{name}\" is {}.",
            there.system_identifier
        ))
        .hint("Check data_directory in the configuration, and the server named by -d.")
}

fn same_major(facts: &RejoinFacts, there: &ServerFacts, name: &str) -> Check {
    const NAME: &str = "same_version";
    let (ours, theirs) = (facts.local.major, there.version_num / 10_000);
    if ours == theirs {
        return Check::pass(NAME, format!("both are PostgreSQL {ours}"));
    }
    Check::fail(NAME, format!("node \"{name}\" has another major version")).detail(format!(
        "The local data directory belongs to PostgreSQL {ours}, but \"{name}\" runs {theirs}."
    ))
}

struct MethodChoice<'a> {
    facts: &'a RejoinFacts,
    options: &'a RejoinOptions,
    local: &'a NodeFacts,
    primary: &'a NodeFacts,
    there: &'a ServerFacts,
}

impl MethodChoice<'_> {
    fn name(&self) -> &str {
        &self.local.row.node_name
    }

    fn primary_name(&self) -> &str {
        &self.primary.row.node_name
    }

    /// Takes the least invasive method that works.
    fn decide(&self) -> (Option<Decision>, Vec<Check>) {
        let (name, primary) = (self.name(), self.primary_name());
        let local = &self.facts.local;
        if local.is_half_rewound() {
            let why = format!("a rewind of node \"{name}\" was interrupted");
            return self.reclone_or(
                &why,
                Check::fail("unfinished_rewind", &why)
                    .detail(
                        "Its files are a mixture of the old and the new state, and no server starts on them.",
                    )
                    .hint("Add --reclone: the data directory is moved aside, and the node is cloned again."),
            );
        }
        let ours =
            format!("WAL of node \"{name}\" ends at {} on timeline {}", position(local.end), local.timeline);
        let theirs = match self.facts.target.switches.iter().find(|switch| switch.timeline == local.timeline)
        {
            Some(switch) => format!("\"{primary}\" left that timeline at {}", switch.switch),
            None => format!(
                "\"{primary}\" is at {} on timeline {}",
                position(self.there.current_lsn),
                self.there.timeline
            ),
        };
        let evidence = match &self.facts.relation {
            Relation::Forked { evidence, .. } => evidence.sentence(primary),
            Relation::Same => return self.no_rewind_needed(&format!("{ours}, and {theirs}"), Vec::new()),
            Relation::Unknown(why) => {
                let check = Check::fail(
                    "same_history",
                    format!("cannot determine whether node \"{name}\" has diverged from \"{primary}\""),
                )
                .detail(why.clone())
                .hint("If it has never accepted writes since it followed a primary, repeat the command with --force.")
                .overridable_by(Override::Force, self.options.force);
                let streams = local.running.is_some() && self.there.sender_of(name).is_some();
                if self.options.reclone && check.stops() && !streams {
                    // What a new clone replaces need not be compared.
                    return self.reclone_or(&format!("{ours}, and {theirs}; {why}"), check);
                }
                return self.no_rewind_needed(&format!("{ours}, and {theirs}"), vec![check]);
            }
        };
        let why = format!("{ours}, and {theirs}");
        if local.timeline == self.there.timeline {
            let check = Check::fail(
                "same_history",
                format!("node \"{name}\" has diverged from \"{primary}\" on the same timeline"),
            )
            .detail(format!(
                "{evidence} pg_rewind would report that no rewind is required, and leave the differences in place."
            ))
            .hint("Add --reclone: the data directory is moved aside, and the node is cloned again.")
            .exit(Exit::DataLoss);
            return self.reclone_or(&why, check);
        }
        let mut checks = Vec::new();
        if local.timeline > self.there.timeline {
            checks.push(
                Check::fail(
                    "timeline",
                    format!("node \"{name}\" is on a newer timeline than \"{primary}\", which it would follow"),
                )
                .detail(format!("{ours}; \"{primary}\" is on timeline {}. Node \"{name}\" was promoted later.", self.there.timeline))
                .hint("Find out which of the two is the valid primary, and run \"node rejoin\" on the other one.")
                .exit(Exit::DataLoss)
                .overridable_by(Override::AcceptDataLoss, self.options.accept_data_loss),
            );
        }
        if let Err(check) = self.can_rewind() {
            let (decision, more) = self.reclone_or(&why, *check);
            checks.extend(more);
            return (decision, checks);
        }
        let method = match &self.facts.needed {
            Some(Needed::There { fetched, .. }) if !fetched.is_empty() => RejoinMethod::RewindArchive,
            _ => RejoinMethod::Rewind,
        };
        (Some(Decision { method, why }), checks)
    }

    /// The least invasive methods.
    fn no_rewind_needed(&self, why: &str, checks: Vec<Check>) -> (Option<Decision>, Vec<Check>) {
        let streams = self.facts.local.running.is_some() && self.there.sender_of(self.name()).is_some();
        // The last checkpoint of a primary that still runs would be WAL of its own.
        let writes = self.facts.local.running.is_some() && self.facts.local.was_primary();
        let method = if (self.options.forced || writes) && self.facts.local.timeline != self.there.timeline {
            match self.can_rewind() {
                Ok(()) => RejoinMethod::Rewind,
                Err(check) => return (None, vec![*check]),
            }
        } else if streams {
            RejoinMethod::None
        } else if !self.facts.gone.is_empty() && !self.facts.restores {
            let (name, primary) = (self.name(), self.primary_name());
            let check = Check::fail(
                "standby_wal",
                format!("\"{primary}\" no longer has WAL that node \"{name}\" has to replay next"),
            )
            .detail(format!(
                "{why}. Segment {} no longer exists there, and there is no restore_command to fetch it.",
                self.facts.gone.join(", ")
            ))
            .hint("Set restore_command, if there is an archive. Otherwise add --reclone: the data directory is moved aside, and the node \
                is cloned again.");
            let (decision, more) = self.reclone_or(why, check);
            return (decision, checks.into_iter().chain(more).collect());
        } else {
            RejoinMethod::Follow
        };
        (Some(Decision { method, why: why.into() }), checks)
    }

    /// A new clone, if it was requested; otherwise the reason why no less invasive method works.
    fn reclone_or(&self, why: &str, check: Check) -> (Option<Decision>, Vec<Check>) {
        if self.options.reclone {
            return (Some(Decision { method: RejoinMethod::Reclone, why: why.into() }), Vec::new());
        }
        (None, vec![check])
    }

    /// Says what prevents a correct pg_rewind.
    fn can_rewind(&self) -> Result<(), Box<Check>> {
        let (name, primary) = (self.name(), self.primary_name());
        let reclone = "Add --reclone: the data directory is moved aside, and the node is cloned again.";
        let fail = |check: &str, message: String, detail: String| {
            Err(Box::new(Check::fail(check, message).detail(detail).hint(reclone)))
        };
        if let Some(evidence) = self.facts.local.overwritten_evidence() {
            return fail("rewind_possible", format!("node \"{name}\" cannot be rewound"), evidence);
        }
        if !self.facts.local.wal_log_hints && !self.facts.local.checksums {
            return fail(
                "rewind_possible",
                format!("node \"{name}\" cannot be rewound: it had neither data checksums nor wal_log_hints"),
                "Changes to its files without WAL would remain undetected. Turning wal_log_hints on now is too late."
                    .into(),
            );
        }
        if !self.facts.target.full_page_writes {
            return Err(Box::new(
                Check::fail("rewind_possible", format!("full_page_writes is off on \"{primary}\""))
                    .detail("pg_rewind requires it, as it copies files while they are written to.")
                    .hint("Turn it on on that node."),
            ));
        }
        match &self.facts.needed {
            Some(Needed::Missing(segment)) => fail(
                "rewind_wal",
                format!("WAL that a rewind of node \"{name}\" has to read is missing"),
                format!(
                    "Segment {segment} is no longer in its pg_wal, and {}.",
                    if self.facts.restores {
                        "the archive does not have it"
                    } else {
                        "there is no restore_command"
                    }
                ),
            ),
            _ if !self.facts.gone.is_empty() && !self.facts.restores => fail(
                "rewind_wal",
                format!("\"{primary}\" no longer has WAL that node \"{name}\" has to replay after a rewind"),
                format!("Segment {} is no longer in its pg_wal.", self.facts.gone.join(", ")),
            ),
            _ => Ok(()),
        }
    }

    /// No standby of this node may be cut off.
    fn followers(&self, method: RejoinMethod) -> Option<Check> {
        if matches!(method, RejoinMethod::None | RejoinMethod::Follow) {
            return None;
        }
        let names: Vec<String> = self
            .facts
            .cluster
            .nodes
            .iter()
            .filter(|node| node.row.node_id != self.facts.node_id && streams_from(node, self.local))
            .map(|node| format!("\"{}\"", node.row.node_name))
            .collect();
        (!names.is_empty()).then(|| {
            Check::fail("followers", format!("{} streams from node \"{}\"", names.join(", "), self.name()))
                .detail("It has the transactions that would be discarded on this node, and could no longer stream from it.")
                .hint("Point it at the primary first: \"pgbaton standby follow\" or \"pgbaton node rejoin\" on it.")
                .exit(Exit::DataLoss)
                .overridable_by(Override::AcceptDataLoss, self.options.accept_data_loss)
        })
    }

    /// Checks that the primary has a slot and a WAL sender for the node.
    fn slot(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let (there, primary) = (self.there, self.primary_name());
        let senders = usize::try_from(there.max_wal_senders).unwrap_or(0);
        let streams = there.sender_of(self.name()).is_some();
        let connected = there.is_connected_to(self.name());
        if !connected && there.senders.len() >= senders {
            checks.push(
                Check::fail("wal_senders", format!("node \"{primary}\" has no free WAL sender"))
                    .detail(format!("max_wal_senders is {senders}, and all are in use."))
                    .hint("Raise max_wal_senders there, which requires a restart; or end a running backup."),
            );
        }
        if !self.options.use_slot {
            return checks;
        }
        let slot = crate::plan::parts::following::default_slot(&self.local.row);
        // Under another name it may be its own receiver that has the slot.
        let receiver = self.facts.server().and_then(|server| server.receiver.as_ref());
        let own = !connected && receiver.is_some_and(|receiver| receiver.slot_name.as_deref() == Some(&slot));
        match there.slot(&slot) {
            Some(found) if found.slot_type != "physical" => checks.push(
                Check::fail("slot", format!("slot \"{slot}\" on \"{primary}\" is a logical slot"))
                    .hint("Drop it there, if it is not needed."),
            ),
            Some(found) if found.active && !streams && !own => checks.push(
                Check::fail(
                    "slot",
                    format!("slot \"{slot}\" on \"{primary}\" is in use by another connection"),
                )
                .hint("See which one: SELECT * FROM pg_stat_replication. Two nodes cannot share a slot."),
            ),
            Some(_) => {}
            None if !self.facts.target.may_replicate => checks.push(
                Check::fail(
                    "slot",
                    format!(
                        "role \"{}\" lacks the privilege to create a replication slot on \"{primary}\"",
                        self.facts.target.role
                    ),
                )
                .hint(format!(
                    "As a superuser, run: ALTER ROLE {} REPLICATION;",
                    quote_ident(&self.facts.target.role)
                )),
            ),
            None => {
                let slots = usize::try_from(there.max_replication_slots).unwrap_or(0);
                if there.slots.len() >= slots {
                    checks.push(
                        Check::fail("slots", format!("node \"{primary}\" has no free replication slot"))
                            .detail(format!("max_replication_slots is {slots}, and all are in use."))
                            .hint("Raise max_replication_slots there, which requires a restart; or drop a slot that is not needed."),
                    );
                }
            }
        }
        checks
    }

    /// Refuses a secret that cannot be passed on.
    fn secret(&self) -> Option<Check> {
        let conninfo = &self.primary.row.conninfo;
        (node::holds_secret(conninfo) && !node::holds_password(conninfo)).then(|| {
            Check::fail(
                "conninfo",
                format!("cannot pass the sslpassword in the conninfo of \"{}\" on", self.primary_name()),
            )
            .detail("pg_rewind and the server read it from a connection service file.")
            .hint("Name a service in that node's conninfo, and write sslpassword into the service's section.")
        })
    }

    /// Checks that the role has the privileges to read the primary's files.
    fn rewind_rights(&self) -> Vec<Check> {
        let target = &self.facts.target;
        let mut checks = Vec::new();
        if !target.forbidden.is_empty() {
            checks.push(
                Check::fail(
                    "rewind_rights",
                    format!(
                        "role \"{}\" lacks the privilege to read the files of \"{}\", as pg_rewind does",
                        target.role,
                        self.primary_name()
                    ),
                )
                .hint(format!(
                    "As a superuser, run in database \"{}\" on it: {}",
                    target.database,
                    grants_to_rewind(&target.role, &target.forbidden)
                )),
            );
        }
        if target.control_timeline != self.there.timeline.0 && !target.may_checkpoint {
            let check = Check::warning(
                "checkpoint",
                format!(
                    "\"{}\" was just promoted, and role \"{}\" lacks the privilege to write a checkpoint there",
                    self.primary_name(),
                    target.role
                ),
            )
            .detail("The rewind waits for the next checkpoint, which may take as long as checkpoint_timeout.");
            checks.push(if self.there.version_num >= 150_000 {
                check.hint(format!(
                    "As a superuser, run: GRANT pg_checkpoint TO {};",
                    quote_ident(&target.role)
                ))
            } else {
                check.hint("As a superuser, run CHECKPOINT there.")
            });
        }
        checks
    }

    /// Checks that pg_rewind can read and write all local files.
    fn untouchable(&self) -> Option<Check> {
        const SHOWN: usize = 5;
        let paths = &self.facts.local.untouchable;
        (!paths.is_empty()).then(|| {
            let names: Vec<String> =
                paths.iter().take(SHOWN).map(|path| format!("\"{}\"", path.display())).collect();
            let more = if paths.len() > SHOWN {
                format!(" and {} more", paths.len() - SHOWN)
            } else {
                String::new()
            };
            Check::fail(
                "files",
                "pg_rewind could not read or write all files of the data directory".to_string(),
            )
            .detail(format!(
                "This user cannot access them, or they are unexpected symbolic links: {}{more}.",
                names.join(", ")
            ))
            .hint("Correct their owner and mode, or move them out of the data directory.")
        })
    }

    /// Checks that what a rewind destroys can be copied aside.
    fn room_for_kept(&self) -> Check {
        const NAME: &str = "room";
        let (wanted, free) = (self.facts.keep_bytes, self.facts.free_bytes);
        let place = self.options.kept.display();
        if within(&self.options.kept, &self.facts.local.data_directory)
            || within(&self.options.kept_files, &self.facts.local.data_directory)
        {
            return Check::fail(
                NAME,
                "files that a rewind destroys cannot be kept in the data directory itself",
            )
            .hint("Set state_directory, or --config-archive-dir, to a directory outside of it.");
        }
        if wanted <= free {
            return Check::pass(
                NAME,
                format!("there is enough free space for {} in \"{place}\"", size(wanted)),
            );
        }
        Check::fail(NAME, format!("there is not enough free space to keep {} in \"{place}\"", size(wanted)))
            .detail(format!("Only {} are free there.", size(free)))
            .hint("Set state_directory in the configuration to a directory with enough free space.")
    }

    /// Names slots that a rewind removes and that belong to no node of the cluster.
    fn lost_slots(&self) -> Option<Check> {
        let ours = stale_slots(self.facts);
        let lost: Vec<String> = self
            .facts
            .local
            .slots
            .iter()
            .filter(|slot| !ours.contains(slot))
            .map(|slot| format!("\"{slot}\""))
            .collect();
        (!lost.is_empty()).then(|| {
            Check::warning(
                "slots_lost",
                format!("the replication slots of node \"{}\" will be lost", self.name()),
            )
            .detail(format!("A rewind removes them: {}.", lost.join(", ")))
            .hint("Afterwards create those again that are still needed.")
        })
    }

    /// Names WAL that should be archived and cannot be.
    fn unarchived(&self) -> Option<Check> {
        let waiting = self.facts.local.unarchived.len();
        (waiting > 0 && self.facts.archive_command.is_none()).then(|| {
            Check::warning(
                "unarchived",
                format!("{waiting} WAL files are waiting to be archived, and will not be archived"),
            )
            .detail("There is no archive_command for them. Those that pg_rewind removes are kept.")
        })
    }

    /// Says how to see what would be discarded.
    fn examined(&self, lost: &Loss) -> String {
        if lost.end.0 == 0 {
            return "Make sure first that they are not needed.".into();
        }
        let wal = self.facts.local.data_directory.join("pg_wal");
        let wal = quote_shell(&wal.display().to_string());
        let (timeline, Loss { fork, end, .. }) = (self.facts.local.timeline, lost);
        format!("To list them, run: pg_waldump -p {wal} -t {timeline} -s {fork} -e {end} -r Transaction.")
    }

    /// Transactions that only this node has are discarded only with consent.
    fn consent(&self) -> Option<Check> {
        const NAME: &str = "discarded_wal";
        if self.facts.local.is_half_rewound() {
            // It was given when the rewind began.
            return None;
        }
        let lost = match &self.facts.loss {
            Some(loss) if loss.bytes() == 0 => return None,
            Some(loss) => loss,
            None if matches!(self.facts.relation, Relation::Same) => return None,
            None => &Loss::default(),
        };
        let (message, detail) =
            discarded(lost, self.name(), &self.options.kept.display().to_string(), self.options.consent);
        Some(if self.options.consent {
            Check::warning(NAME, message).detail(detail)
        } else {
            Check::fail(NAME, message)
                .detail(detail)
                .hint(self.examined(lost))
                .exit(Exit::DataLoss)
                .overridable_by(Override::AcceptDataLoss, false)
        })
    }
}

/// Says in words what is discarded, and where it is kept.
pub(super) fn discarded(loss: &Loss, name: &str, kept: &str, consent: bool) -> (String, String) {
    let verb = if consent { "are" } else { "would be" };
    if loss.end.0 == 0 {
        return (
            format!(
                "transactions that only node \"{name}\" has {verb} discarded, and their number is unknown"
            ),
            "The old data directory is moved aside, and not removed.".into(),
        );
    }
    let transactions = match loss.commits {
        Some(1) => "1 committed transaction".to_string(),
        Some(count) => format!("{count} committed transactions"),
        None => "an unknown number of committed transactions".to_string(),
    };
    let message = format!(
        "{} bytes of WAL of node \"{name}\" with {transactions} {} discarded",
        loss.bytes(),
        if consent { "are" } else { "would be" }
    );
    let mut detail = format!("This is the WAL from {} to {}", loss.fork, loss.end);
    if let Some((first, last)) = loss.between {
        detail.push_str(&format!(", committed between {} and {}", utc(first), utc(last)));
    }
    detail.push_str(&format!(". The WAL will be kept in \"{kept}\"."));
    (message, detail)
}
