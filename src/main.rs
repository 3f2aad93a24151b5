//! The `pgbaton` program.

fn main() {}
