//! Tests of `history`.

use super::*;
use crate::facts::lineage::{Lineage, Promotion};
use crate::pg::wal::checksum;

const SEGMENT: u64 = 16 << 20;
const END_OF_RECOVERY: u8 = 0x90;
const FPW_CHANGE: u8 = 0x80;

/// A record as the server writes it, padded to eight bytes.
fn wal_record(previous: u64, info: u8, manager: u8, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(u32::try_from(24 + data.len()).unwrap().to_le_bytes());
    out.extend([0; 4]);
    out.extend(previous.to_le_bytes());
    out.extend([info, manager, 0, 0]);
    let checksum = checksum(data, &out);
    out.extend(checksum.to_le_bytes());
    out.extend(data);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What would be read of `wal` at a position: with page headers in it.
fn read(lsn: u64, wal: &[u8]) -> TimelineStart {
    let mut out = Vec::new();
    for (i, byte) in wal.iter().enumerate() {
        let at = lsn + i as u64;
        // Headers shift what comes after them; one page boundary at most is crossed here.
        if at.is_multiple_of(8192) {
            let long = at.is_multiple_of(SEGMENT);
            let mut header = vec![0x10, 0xd1, if long { 2 } else { 1 }, 0];
            header.resize(if long { 40 } else { 24 }, 0xee);
            out.extend(header);
        }
        out.push(*byte);
    }
    out.resize(256, 0);
    TimelineStart { timeline: TimelineId(2), lsn: Lsn(lsn), bytes: Some(hex(&out)) }
}

fn promotion(lsn: u64, time: u8) -> Vec<u8> {
    wal_record(lsn - 100, END_OF_RECOVERY, 0, &[time; 26])
}

#[test]
fn first_record_is_found_wherever_it_stands() {
    for lsn in [
        0x0300_0148,      // somewhere
        0x0300_2000,      // at the start of a page
        0x0400_0000,      // at the start of a segment
        0x0300_2000 - 8,  // its header is cut by the end of the page
        0x0300_2000 - 24, // its data are on the next page
        0x0300_2000 - 40,
        0x0300_2000 - 56, // it fits exactly
    ] {
        let wal = promotion(lsn, 1);
        assert_eq!(record(&read(lsn, &wal), SEGMENT).as_deref(), wal.get(..50), "{lsn:x}");
    }
}

#[test]
fn a_change_of_full_page_writes_may_come_first() {
    let mut wal = wal_record(0x0300_0100, FPW_CHANGE, 0, &[255, 1, 1]);
    wal.extend(wal_record(0x0300_0148, END_OF_RECOVERY, 0, &[7; 26]));
    let found = record(&read(0x0300_0148, &wal), SEGMENT).unwrap();
    assert_eq!(found, wal_record(0x0300_0148, END_OF_RECOVERY, 0, &[7; 26])[..50]);
}

#[test]
fn what_is_no_first_record_is_unknown() {
    let lsn = 0x0300_0148;
    let good = read(lsn, &promotion(lsn, 1));
    // A flipped bit.
    let mut text = good.bytes.clone().unwrap();
    text.replace_range(60..62, "aa");
    assert_eq!(record(&TimelineStart { bytes: Some(text), ..good.clone() }, SEGMENT), None);
    // Nothing was written yet; the segment is gone; what was read is cut short, as at the end of a segment.
    for bytes in
        [Some("00".repeat(256)), None, Some(String::new()), good.bytes.clone().map(|b| b[..80].into())]
    {
        assert_eq!(record(&TimelineStart { bytes, ..good.clone() }, SEGMENT), None);
    }
    // What a recycled file held before: right in itself, but its place was another one.
    let recycled = wal_record(lsn - SEGMENT - 100, END_OF_RECOVERY, 0, &[1; 26]);
    assert_eq!(record(&read(lsn, &recycled), SEGMENT), None);
    // Other records than those of a promotion.
    assert_eq!(record(&read(lsn, &wal_record(lsn - 100, 0x10, 10, &[1; 26])), SEGMENT), None);
}

fn with(mut server: ServerFacts, history: &str, first: Vec<TimelineStart>) -> ServerFacts {
    server.lineage =
        Some(Lineage { history: Some(history.into()), timeline_starts: first, ..Lineage::default() });
    server
}

const SWITCH: u64 = 0x0300_0148;
const HISTORY: &str = "1\t0/3000148\tno recovery target specified\n";

/// A server on timeline 2, begun at this time of day.
fn second(in_recovery: bool, end: u64, time: u8) -> ServerFacts {
    let first = read(SWITCH, &promotion(SWITCH, time));
    with(ServerFacts::example(in_recovery, 2, end), HISTORY, vec![first])
}

fn evidence(server: &ServerFacts, reference: &ServerFacts) -> String {
    match relation(server, reference) {
        Relation::Same => "same".into(),
        Relation::Forked { evidence, at } => format!("forked: {} {at:?}", evidence.sentence("node2")),
        Relation::Unknown(why) => format!("unknown: {why}"),
    }
}

#[test]
fn relations_on_the_first_timeline() {
    let primary = ServerFacts::example(false, 1, 1000);
    assert_eq!(relation(&ServerFacts::example(true, 1, 1000), &primary), Relation::Same);
    // It streams, and has what was written since the primary was asked.
    assert_eq!(relation(&ServerFacts::example(true, 1, 1100), &primary), Relation::Same);
    let detached = ServerFacts { receiver: None, ..ServerFacts::example(true, 1, 1100) };
    assert!(evidence(&detached, &primary).starts_with("forked: It has WAL up to 0/44C, but the"));
    let both = evidence(&ServerFacts::example(false, 1, 900), &primary);
    assert!(both.starts_with("forked: Both accept writes on timeline 1."), "{both}");
}

#[test]
fn relations_across_timelines() {
    let primary = second(false, SWITCH + 1000, 1);
    assert_eq!(relation(&ServerFacts::example(true, 1, SWITCH), &primary), Relation::Same);
    let beyond = evidence(&ServerFacts::example(true, 1, SWITCH + 8), &primary);
    assert!(beyond.contains("up to 0/3000150 on timeline 1, which \"node2\" left at 0/3000148"), "{beyond}");
    let newer = evidence(&second(true, SWITCH + 8, 1), &ServerFacts::example(false, 1, SWITCH + 8));
    assert!(newer.contains("newer than timeline 1"), "{newer}");
    // Timeline 3 was made from timeline 1 by the reference: timeline 2 belongs to another server.
    let third = with(ServerFacts::example(false, 3, SWITCH + 8), HISTORY, Vec::new());
    let absent = evidence(&second(true, SWITCH + 8, 1), &third);
    assert!(absent.contains("timeline 2 is not in the history of timeline 3"), "{absent}");
    // A timeline that is not the last one: its beginning is compared all the same.
    let two = format!("{HISTORY}2\t0/3001000\tx\n");
    let third = |time| {
        let first = read(SWITCH, &promotion(SWITCH, time));
        with(ServerFacts::example(false, 3, 0x0300_2000), &two, vec![first])
    };
    assert_eq!(relation(&second(true, 0x0300_1000, 1), &third(1)), Relation::Same);
    let twice = evidence(&second(true, 0x0300_1000, 1), &third(2));
    assert!(
        twice.contains("Timeline 2 was started by two different promotions, both at 0/3000148"),
        "{twice}"
    );
}

#[test]
fn relations_on_one_later_timeline() {
    let primary = second(false, SWITCH + 1000, 1);
    assert_eq!(relation(&second(true, SWITCH + 1000, 1), &primary), Relation::Same);
    // Identical history files, promoted twice.
    let twice = evidence(&second(true, SWITCH + 500, 2), &primary);
    assert!(twice.contains("was started by two different promotions, both at"), "{twice}");
    // It has just heard of the timeline: what its file holds there is no record of it.
    assert_eq!(relation(&second(true, SWITCH, 2), &primary), Relation::Same);
    let elsewhere = with(second(true, SWITCH + 8, 1), "1\t0/3000000\tx\n", Vec::new());
    let differs = evidence(&elsewhere, &primary);
    assert!(
        differs.contains("ended at 0/3000000 in its history and at 0/3000148 in that of \"node2\""),
        "{differs}"
    );
    // Other ancestors: one more, or another one.
    let own = |history: &str, reference: &str| {
        let server = with(ServerFacts::example(true, 4, SWITCH + 8), history, Vec::new());
        let primary = with(ServerFacts::example(false, 4, SWITCH + 800), reference, Vec::new());
        evidence(&server, &primary)
    };
    let more = own("1\t0/1\tx\n2\t0/2\tx\n", "1\t0/1\tx\n");
    assert!(more.contains("timeline 4 comes from timeline 2 in its history and from timeline 1"), "{more}");
    let other = own("1\t0/1\tx\n2\t0/2\tx\n", "1\t0/1\tx\n3\t0/2\tx\n");
    assert!(other.contains("comes from timeline 2 in its history and from timeline 3"), "{other}");
}

#[test]
fn where_wal_is_gone_the_recorded_promotions_tell() {
    let knowing = |mut server: ServerFacts, files: bool, uuids: &[(u32, &str)]| {
        let promotions = uuids
            .iter()
            .map(|(timeline, uuid)| Promotion { timeline: TimelineId(*timeline), uuid: (*uuid).into() })
            .collect();
        let history = files.then(|| HISTORY.to_string());
        server.lineage = Some(Lineage { history, promotions, ..Lineage::default() });
        server
    };
    let standby = |files, uuids: &[_]| knowing(ServerFacts::example(true, 2, SWITCH + 8), files, uuids);
    let primary = |files, uuids: &[_]| knowing(ServerFacts::example(false, 2, SWITCH + 8), files, uuids);
    for files in [true, false] {
        let reference = primary(files, &[(2, "a")]);
        assert_eq!(relation(&standby(files, &[(1, "z"), (2, "a")]), &reference), Relation::Same);
        let other = evidence(&standby(files, &[(2, "b")]), &reference);
        assert!(other.starts_with("forked: Timeline 2 was started by two different promotions."), "{other}");
        // It has not been replicated yet, or was not recorded.
        assert!(evidence(&standby(files, &[(1, "z")]), &reference).starts_with("unknown"));
        assert!(evidence(&standby(files, &[(2, "a")]), &primary(files, &[])).starts_with("unknown"));
    }
    // Without the history of a later timeline it is unknown where this one ended.
    let later = knowing(ServerFacts::example(false, 3, SWITCH + 800), false, &[(2, "a")]);
    assert!(evidence(&standby(true, &[(2, "a")]), &later).starts_with("unknown"));
}

#[test]
fn where_nobody_recorded_a_promotion_a_checkpoint_tells() {
    // A page before it, some of which belongs to the segment before.
    let (at, segment_begin) = (0x0500_0100, 0x0500_0000_u64);
    let sample = |lsn: u64, commits: u8, time: u8| {
        let mut bytes = vec![commits; usize::try_from(lsn - segment_begin).unwrap()];
        bytes.extend(wal_record(lsn - 40, 0x10, 0, &[time; 88]));
        bytes.resize(bytes.len() + 150, 0);
        CheckpointSample { timeline: TimelineId(2), lsn: Lsn(lsn), bytes: hex(&bytes) }
    };
    let knowing = |in_recovery, end, sample: Option<CheckpointSample>| {
        let mut server = with(ServerFacts::example(in_recovery, 2, end), HISTORY, Vec::new());
        server.lineage.as_mut().unwrap().samples = sample.into_iter().collect();
        server
    };
    let standby = knowing(true, at + 0x1000, Some(sample(at, 1, 1)));
    let relation_to = |theirs: Option<CheckpointSample>| {
        evidence(&standby, &knowing(false, at + 0x1000, theirs)).chars().take(22).collect::<String>()
    };
    assert_eq!(relation_to(Some(sample(at, 1, 1))), "same");
    assert_eq!(relation_to(Some(sample(at, 1, 2))), "forked: The checkpoint");
    assert_eq!(relation_to(Some(sample(at, 2, 1))), "forked: The checkpoint");
    // The end of a transaction is evidence as well, and the first evidence decides.
    let end = |lsn: u64, time: u8| {
        let mut bytes = vec![1; usize::try_from(lsn - segment_begin).unwrap()];
        bytes.extend(wal_record(lsn - 40, 0x00, 1, &[time; 12]));
        bytes.resize(bytes.len() + 150, 0);
        CheckpointSample { timeline: TimelineId(2), lsn: Lsn(lsn), bytes: hex(&bytes) }
    };
    let mut later = knowing(true, at + 0x2000, Some(end(at + 0x800, 1)));
    later.lineage.as_mut().unwrap().samples.push(sample(at, 1, 1));
    let against = |theirs: &[CheckpointSample]| {
        let mut primary = knowing(false, at + 0x2000, None);
        primary.lineage.as_mut().unwrap().samples = theirs.to_vec();
        evidence(&later, &primary).chars().take(15).collect::<String>()
    };
    assert_eq!(against(&[end(at + 0x800, 1)]), "same");
    assert_eq!(against(&[sample(at, 1, 1)]), "same");
    assert_eq!(against(&[end(at + 0x800, 2), sample(at, 1, 1)]), "forked: The end");
    assert_eq!(against(&[end(at + 0x800, 1), sample(at, 1, 2)]), "same");
    assert_eq!(against(&[]), "unknown: The hi");
    // In one of two files there is less of it.
    let mut primary = knowing(false, at + 0x1000, Some(sample(at, 3, 3)));
    primary.lineage.as_mut().unwrap().samples.push(sample(at, 1, 1));
    assert_eq!(relation(&standby, &primary), Relation::Same);
    // Where the reference has left this timeline is not known.
    let lineage = Lineage { history: None, ..primary.lineage.clone().unwrap() };
    let later = ServerFacts { timeline: TimelineId(3), lineage: Some(lineage), ..primary };
    assert!(evidence(&standby, &later).starts_with("unknown"));
    // Read elsewhere, or not at all.
    assert_eq!(relation_to(Some(sample(at + 8, 1, 1))), "unknown: The history f");
    assert_eq!(relation_to(None), "unknown: The history f");
    // No record of a checkpoint: it proves nothing.
    let mut broken = sample(at, 1, 1);
    broken.bytes.replace_range(600..602, "ff");
    let primary = knowing(false, at + 0x1000, Some(broken.clone()));
    assert!(evidence(&knowing(true, at + 0x1000, Some(broken)), &primary).starts_with("unknown"));
    // The reference has not come that far: what its file holds there is what was there before.
    let behind = knowing(true, at, Some(sample(at, 1, 2)));
    assert!(evidence(&standby, &behind).starts_with("unknown"));
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let primary = second(false, SWITCH + 1000, 1);
    let gone = with(second(true, SWITCH + 8, 1), HISTORY, Vec::new());
    assert!(evidence(&gone, &primary).contains("so it cannot be compared"));
    assert!(evidence(&primary, &gone).contains("so it cannot be compared"));
    let blind = ServerFacts { lineage: None, ..second(true, SWITCH + 8, 1) };
    assert!(evidence(&blind, &primary).contains("history of timeline 2 could not be read"));
    assert!(
        evidence(&second(true, SWITCH + 8, 1), &ServerFacts { lineage: None, ..primary.clone() })
            .starts_with("unknown")
    );
    // That both accept writes shows without any file.
    let blind = ServerFacts { lineage: None, ..second(false, SWITCH + 8, 1) };
    assert!(evidence(&blind, &primary).contains("Both accept writes on timeline 2"));
}

#[test]
fn the_evidence_names_the_node_that_was_compared_with() {
    let primary = second(false, SWITCH + 1000, 1);
    let forked = relation(&ServerFacts::example(true, 1, SWITCH + 8), &primary);
    let Relation::Forked { evidence, .. } = forked else { panic!("{forked:?}") };
    assert_eq!(
        evidence.sentence("node2"),
        "It has WAL up to 0/3000150 on timeline 1, which \"node2\" left at 0/3000148."
    );
}
