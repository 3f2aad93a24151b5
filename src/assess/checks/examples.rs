//! A cluster for tests, with everything that checks are made on.

use std::collections::BTreeMap;

use super::{
    CheckAnswer, CheckServerFacts, CheckStatus, Clock, Evidence, Finding, Findings, HostAnswer, HostFacts,
    Thresholds, judge,
};
use crate::assess::cluster::Viewpoint;
use crate::assess::cluster::examples::{healthy, view};
use crate::facts::check_facts;
use crate::facts::check_name::CheckName;
use crate::facts::cluster::ClusterFacts;
use crate::facts::host::FileSystemSpace;
use crate::facts::topology::Topology;
use crate::registry::NodeType;

/// A cluster and all that is known of it.
pub(crate) struct Example {
    pub(crate) facts: ClusterFacts,
    pub(crate) topology: Option<Topology>,
    pub(crate) asked: BTreeMap<i32, CheckAnswer>,
    pub(crate) hosts: BTreeMap<i32, HostAnswer>,
    pub(crate) thresholds: Thresholds,
    pub(crate) expected: Option<NodeType>,
    /// `failover = "automatic"` is configured.
    pub(crate) automatic: bool,
}

fn more() -> CheckServerFacts {
    CheckServerFacts {
        database: "repmgr".into(),
        sees_settings: true,
        data_directory: Some("/data".into()),
        archive_mode: "on".into(),
        archiver: check_facts::Archiver::default(),
        archive_ready: Some(0),
        ready_uncounted: None,
        ready_age_s: None,
        pending_restart: vec![],
        connections: check_facts::Connections {
            max: 100,
            for_superusers: 3,
            is_superuser: true,
            ..check_facts::Connections::default()
        },
        settings: vec![("max_connections".into(), 100), ("max_wal_senders".into(), 10)],
        wal_log_hints: true,
        data_checksums: false,
        full_page_writes: true,
        forbidden: vec![],
        repmgrd: None,
    }
}

fn host() -> HostFacts {
    let place = |what: &str, free_bytes| FileSystemSpace {
        what: what.into(),
        path: format!("/{what}").into(),
        free_bytes,
        all_bytes: 100 << 30,
    };
    HostFacts {
        data_directory: "/data".into(),
        is_data_directory: true,
        is_servers: Some(true),
        runs_on_it: Some(true),
        places: Some(vec![place("data", 50 << 30), place("pg_wal", 80 << 30)]),
        untouchable: Some(vec![]),
        logins_tried: 2,
        ..HostFacts::default()
    }
}

impl Example {
    /// `n1`, a primary that feeds `n2` and `n3`; all is well.
    pub(crate) fn healthy() -> Self {
        let clock = Some(Clock { offset_s: 0.2, uncertainty_s: 0.001 });
        let ids = [1, 2, 3];
        Self {
            facts: healthy(),
            topology: None,
            asked: ids
                .into_iter()
                .map(|id| (id, CheckAnswer { more: Ok(more()), clock, exposed_password: false }))
                .collect(),
            hosts: ids.into_iter().map(|id| (id, Ok(host()))).collect(),
            thresholds: Thresholds {
                archive_ready: (16.0, 128.0),
                lag_s: (300.0, 600.0),
                slot_wal_bytes: (1e9, 4e9),
                free_percent: (15.0, 5.0),
            },
            expected: None,
            automatic: false,
        }
    }

    pub(crate) fn more(&mut self, id: i32) -> &mut CheckServerFacts {
        self.asked.get_mut(&id).unwrap().more.as_mut().unwrap()
    }

    pub(crate) fn host(&mut self, id: i32) -> &mut HostFacts {
        self.hosts.get_mut(&id).unwrap().as_mut().unwrap()
    }

    pub(crate) fn judge(&self) -> Findings {
        let view = Viewpoint { automatic: self.automatic, ..view(self.topology.as_ref()) };
        let evidence = Evidence {
            facts: &self.facts,
            view: &view,
            asked: &self.asked,
            hosts: &self.hosts,
            thresholds: &self.thresholds,
        };
        let usual: Vec<CheckName> = CheckName::ALL.iter().copied().filter(|name| name.is_usual()).collect();
        judge(&evidence, &usual, None, self.expected.as_ref())
    }

    /// Makes one check on one node, after a change to what is well.
    #[track_caller]
    pub(crate) fn one(name: CheckName, id: i32, change: impl FnOnce(&mut Self)) -> Finding {
        let mut example = Self::healthy();
        change(&mut example);
        let view = Viewpoint { automatic: example.automatic, ..view(example.topology.as_ref()) };
        let evidence = Evidence {
            facts: &example.facts,
            view: &view,
            asked: &example.asked,
            hosts: &example.hosts,
            thresholds: &example.thresholds,
        };
        let found = judge(&evidence, &[name], Some(id), example.expected.as_ref());
        found.nodes[0].checks[0].clone()
    }
}

/// Returns the findings with a status, as `2 upstream`.
pub(crate) fn statuses(findings: &Findings, wanted: impl Fn(CheckStatus) -> bool) -> Vec<String> {
    let each =
        findings.nodes.iter().flat_map(|node| node.checks.iter().map(move |check| (node.node_id, check)));
    each.filter(|(_, check)| wanted(check.status))
        .map(|(id, check)| format!("{id} {}", check.name.as_str()))
        .collect()
}
