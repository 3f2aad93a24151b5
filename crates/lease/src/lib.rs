//! The decisions of pgbaton's daemon: who may be the primary.
//!
//! Each daemon holds *votes*: advisory locks in sessions on the servers of all nodes, the *voters*. A session's answers prove that its lock has
//! been held without a break; a server ends a session that is silent. The daemon beside the primary, the *leader*, has a *lease* for as long as a
//! majority proves it; when the lease ends, a separate process, the *fencer*, stops the server, whatever the daemon does. A *candidate* becomes
//! the leader once one and the same majority has been in its hands for longer than an earlier lease can last: the *grace*. It may do so sooner
//! only by a fact that its votes frame: a *note* in which the leader hands over to it, or the proof that all others are switched off or stand
//! aside.
//!
//! There is no clock here, no socket, no file, no randomness and no dependency: [`step`](fn@step) takes what the daemon knows, the time and what has
//! happened, and returns what it knows then and what to do. The same code is model-checked (`tests/model`) and runs in the daemon.
//!
//! # What safety rests on
//!
//! | assumption | broken by |
//! |---|---|
//! | the fencer has stopped the server at most `fencing` after the deadline | a host that stands still for longer and goes on; daemon and fencer stopped by hand |
//! | clock rates of two hosts differ by less than 0.1 % | a clock that stands still while the host runs |
//! | every voter is another server, and its session reaches it directly | a virtual address or a pooler between |
//! | a server accepts writes only by way of pgbaton | `pg_ctl promote` or a removed `standby.signal`, by hand |
//!
//! Locks may vanish at any moment, messages may be late or lost, daemons and servers may be killed: nothing is assumed of them.
//!
//! # The rooms
//!
//! | module | holds |
//! |---|---|
//! | [`time`] | points in time and moments: the order in which things were learnt |
//! | [`params`] | the times, and the inequalities between them |
//! | [`rules`] | the rules that the model checker breaks one by one |
//! | [`votes`] | votes, and what a set of them proves |
//! | [`members`] | who has data and who votes, and how that changes |
//! | [`event`] | what a daemon learns, is asked, answers and does |
//! | [`mailbox`] | the lines in which daemons and commands speak to each other |
//! | [`state`] | what it knows, and what follows from that at any moment |
//! | [`step`](mod@step) | one step, with the candidate, the hand-over and the pause |
//! | [`driver`] | the sessions of a daemon, without a socket: what is asked in them, what is shown, when it stands for election |
//! | [`outlook`] | when a primary looks lost, and which standby is the best candidate |

pub mod driver;
pub mod event;
pub mod mailbox;
pub mod members;
pub mod outlook;
pub mod params;
pub mod rules;
pub mod state;
pub mod step;
pub mod time;
pub mod votes;

pub use event::{Action, Ask, Epoch, Event, Flag, Op, Refusal, Server, Why, Word};
pub use members::{Change, Members, Version};
pub use outlook::Lack;
pub use params::{Params, Profile};
pub use state::{HandOver, Stage, State};
pub use step::step;
pub use time::{Moment, Ms, Time};
pub use votes::{Backend, Node, Nodes};
