//! Tests of `prepare`.

use super::*;

#[test]
fn nodes_are_named_by_host_and_port() {
    let read = |text| host_and_port(text, "5432").map(|(host, port)| format!("{host} {port}")).ok();
    assert_eq!(read("node2").as_deref(), Some("node2 5432"));
    assert_eq!(read("node2:5433").as_deref(), Some("node2 5433"));
    assert_eq!(read("fd00::2").as_deref(), Some("fd00::2 5432"));
    assert_eq!(read("[fd00::2]:5433").as_deref(), Some("fd00::2 5433"));
    assert_eq!(read("[fd00::2]").as_deref(), Some("fd00::2 5432"));
    for wrong in ["", ":1", "node2:", "node2:x", "node2:0", "a b", "host=x", "/tmp", "[fd00::2]5433"] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn a_server_is_this_one_by_path_cluster_and_start() {
    let own = Path::new("/no/such/data");
    let reported = ServerSetup {
        data_directory: Some(own.into()),
        system_identifier: "7000000000000000001".into(),
        started_at: "2025-01-01T00:00:00+00:00".into(),
        ..ServerSetup::default()
    };
    let unseen = ServerSetup { data_directory: None, ..reported.clone() };
    let elsewhere = ServerSetup { data_directory: Some("/no/other".into()), ..reported.clone() };
    let why = |reported: &ServerSetup, cluster, runs| {
        other_server(own, reported, cluster, runs).unwrap_or_default()
    };
    let cluster = 7_000_000_000_000_000_001;
    for reported in [&reported, &unseen] {
        assert_eq!(why(reported, cluster, true), "");
        assert!(why(reported, cluster + 1, true).contains("system identifier"));
        // A standby of the same cluster on another host.
        assert!(why(reported, cluster, false).contains("started at 2025"));
    }
    assert!(why(&elsewhere, cluster, true).contains("\"/no/other\""));
}

#[test]
fn a_loopback_address_comes_from_the_first_one() {
    let debian = source("127.0.1.1".parse().unwrap());
    assert_eq!(debian, Source::Net(network("127.0.0.1").unwrap()));
    assert_eq!(source("10.0.0.1".parse().unwrap()), Source::Net(network("10.0.0.1").unwrap()));
}
