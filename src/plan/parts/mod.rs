//! Parts that several planners share: the new primary, who follows it, slots, settings, events. Pure.

pub mod announce;
pub mod events;
pub mod following;
pub mod hosts;
pub mod logical;
pub mod new_primary;
pub mod repmgr;
pub mod settings;
pub mod standby;
pub mod wal_retention;
