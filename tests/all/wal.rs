//! The WAL and the control file as this program reads them, against what PostgreSQL's own programs say.

use pgbaton::pg::control_file::{self, ControlState};
use pgbaton::pg::history::TimelineId;
use pgbaton::pg::lsn::Lsn;
use pgbaton::pg::wal::{RecordRead, Wal};

use crate::support::{self, StopMode, TestCluster, TestServer, versions};

/// The beginning of each record from a position on, and how many of them are commits, as pg_waldump says.
fn dumped(server: &TestServer, from: Lsn) -> (Vec<Lsn>, u64) {
    let path = server.data.join("pg_wal");
    let program = server.pg.tool("pg_waldump");
    // It fails where the WAL ends, after everything was printed; and where there is no record at all.
    let mut command = support::clean_command(&program);
    command.args(["-p", &path.to_string_lossy(), "-s", &from.to_string()]);
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let begin = |line: &str| line.split_once("lsn: ")?.1.split_once(',')?.0.parse().ok();
    let commits = text.lines().filter(|line| line.contains("desc: COMMIT")).count();
    (text.lines().filter_map(begin).collect(), commits as u64)
}

#[test]
fn records_begin_and_end_where_pg_waldump_says() {
    for pg in versions() {
        let cluster = TestCluster::new(&pg);
        let server = cluster.primary("node1");
        server.psql("CREATE TABLE t (a text)");
        for round in 0..12 {
            // Each time another length, so that the last checkpoint lies somewhere else: also across the end of a page.
            let from = control_file::read(&server.data).unwrap().checkpoint;
            let long = 600 * round + 17;
            server.psql(&format!(
                "INSERT INTO t SELECT repeat('x', i % 300) FROM generate_series(1, {long}) i"
            ));
            server.psql("CREATE TEMP TABLE none ()");
            if round == 5 {
                server.psql("SELECT pg_switch_wal()");
            }
            server.stop(StopMode::Fast);
            let control = control_file::read(&server.data).unwrap();
            assert_eq!(control.state, ControlState::ShutDown);
            assert_eq!(control.system_identifier.to_string(), server.system_identifier());
            assert_eq!(control.checkpoint.to_string(), server.control_data("Latest checkpoint location"));
            let end = control_file::shutdown_position(&server.data).unwrap().unwrap().end;
            let mut wal = Wal::open(&server.data, TimelineId(1), Vec::new(), None).unwrap();
            let (records, commits) = dumped(&server, from);
            assert_eq!(records.last(), Some(&control.checkpoint));
            assert_eq!(dumped(&server, end).0, []);
            for pair in records.windows(2) {
                let RecordRead::Record(record) = wal.read(pair[0]).unwrap() else {
                    panic!("none at {}", pair[0])
                };
                let RecordRead::Record(next) = wal.read(record.end).unwrap() else {
                    panic!("none after {}", pair[0])
                };
                assert_eq!((record.start, next.start), (pair[0], pair[1]));
            }
            let stretch = wal.stretch(records[0], records[0]).unwrap().unwrap();
            assert_eq!((stretch.end, stretch.commits), (end, commits));
            server.start();
        }
    }
}
