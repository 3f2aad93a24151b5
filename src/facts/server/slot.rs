//! A replication slot, as its server reports it.

use serde::{Deserialize, Serialize};

use crate::pg::lsn::Lsn;

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// Its name.
    pub slot_name: String,
    /// `physical` or `logical`.
    pub slot_type: String,
    /// A process uses it now.
    pub active: bool,
    /// Where the WAL that it keeps begins; None for a slot that keeps nothing yet.
    pub restart_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// Bytes of WAL that it keeps.
    pub retained_bytes: Option<i64>,
    /// Why the server has given it up, in its words: `wal_removed`, `idle_timeout`, …; None before PostgreSQL 16, and where it has not.
    #[serde(default)]
    pub invalidation_reason: Option<String>,
    /// The output plugin of a logical slot.
    #[serde(default)]
    pub plugin: Option<String>,
    /// Up to where the readers of a logical slot have confirmed what they got.
    #[serde(default)]
    pub confirmed_flush_lsn: Option<Lsn>,
    /// It goes with its session; on a standby: it is not synchronized yet.
    #[serde(default)]
    pub temporary: bool,
    /// Standbys are to keep copies of it (PostgreSQL 17 and later).
    #[serde(default)]
    pub failover: bool,
    /// It is a copy that the standby has made, or was one before this server was promoted (PostgreSQL 17 and later).
    #[serde(default)]
    pub synced: bool,
}

impl Slot {
    /// It is a logical slot that readers can use, and that lasts.
    pub fn is_usable_logical(&self) -> bool {
        self.slot_type == "logical" && !self.temporary && self.invalid().is_none()
    }

    /// Returns why the server has given it up, in its words.
    pub fn invalid(&self) -> Option<&str> {
        let lost = (self.wal_status.as_deref() == Some("lost")).then_some("wal_removed");
        self.invalidation_reason.as_deref().or(lost)
    }

    /// Returns why this slot of a standby would not take the place of a logical slot of the primary, after a promotion; None if it would.
    /// What is not known of the primary's slot is not compared.
    pub fn is_no_copy(&self, plugin: Option<&str>) -> Option<String> {
        if self.slot_type != "logical" {
            return Some(format!("a {} slot has the same name", self.slot_type));
        }
        if !self.synced {
            return Some("a slot of the same name exists that is not synchronized".to_string());
        }
        if let Some(reason) = self.invalid() {
            return Some(format!("its copy is invalid: {reason}"));
        }
        if self.temporary {
            return Some("its copy is not ready yet: it is still temporary".to_string());
        }
        match (&self.plugin, plugin) {
            (Some(here), Some(there)) if here != there => {
                Some(format!("the slot of the same name uses plugin \"{here}\", not \"{there}\""))
            }
            _ => None,
        }
    }

    /// It retains nothing, is not in use, and will never be usable again: the WAL that it retained was removed.
    pub fn is_lost(&self) -> bool {
        !self.active && self.slot_type == "physical" && self.wal_status.as_deref() == Some("lost")
    }
}
