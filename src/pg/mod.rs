//! PostgreSQL as seen from a client and from the shell: connections, positions, files, tools.
