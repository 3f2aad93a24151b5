//! Carrying out what a plan says: the run and its journal, resuming and giving up, rollback, what is announced. May use everything but
//! the commands.

pub mod abandon;
pub mod announce;
pub mod carry_out;
pub mod change_roles;
pub mod conclusion;
pub mod course;
pub mod election;
pub mod event_hook;
pub mod examine;
pub mod fence;
pub mod finish;
pub mod hand_over;
pub mod last_state;
pub mod live;
pub mod membership;
pub mod old_primary_host;
pub mod outcome;
pub mod promotion;
#[cfg(test)]
pub mod proofs;
pub mod record;
pub mod reset;
pub mod resume;
pub mod run;
#[cfg(test)]
pub mod scripted;
pub mod start_permission;
pub mod view;
pub mod wait;
pub mod with_events;
