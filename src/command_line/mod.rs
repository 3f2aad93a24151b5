//! What was typed, before a command is begun: words as getopt reads them, usage errors, the node that is named, a command line that is read
//! once more. May use `observe` and what is below it.

pub mod getopt;
pub mod named_node;
pub mod parse_again;
pub mod usage;
