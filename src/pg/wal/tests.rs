//! Tests of `wal`.

use super::*;
use crate::system::files;

const PAGE: u64 = super::PAGE as u64;
const SEGMENT: u64 = 1 << 20;

/// Writes WAL as the server does.
struct Writer {
    wal: Vec<u8>,
    base: u64,
    previous: u64,
}

impl Writer {
    fn new(base: u64) -> Self {
        Self { wal: Vec::new(), base, previous: base - 64 }
    }

    fn at(&self) -> u64 {
        self.base + self.wal.len() as u64
    }

    fn page_header(&mut self, remaining: u32) {
        let at = self.at();
        let long = at.is_multiple_of(SEGMENT);
        let info = u16::from(remaining > 0) | if long { 2 } else { 0 };
        self.wal.extend(0xD116_u16.to_ne_bytes());
        self.wal.extend(info.to_ne_bytes());
        self.wal.extend(1_u32.to_ne_bytes());
        self.wal.extend(at.to_ne_bytes());
        self.wal.extend(remaining.to_ne_bytes());
        self.wal.extend([0; 4]);
        if long {
            self.wal.extend(7_u64.to_ne_bytes());
            self.wal.extend(u32::try_from(SEGMENT).unwrap().to_ne_bytes());
            self.wal.extend(u32::try_from(PAGE).unwrap().to_ne_bytes());
        }
    }

    fn record(&mut self, manager: u8, info: u8, data: &[u8]) -> Lsn {
        if self.at().is_multiple_of(PAGE) {
            self.page_header(0);
        }
        let mut record = Vec::new();
        record.extend(u32::try_from(26 + data.len()).unwrap().to_ne_bytes());
        record.extend([0; 4]);
        record.extend(self.previous.to_ne_bytes());
        record.extend([info, manager, 0, 0]);
        let body = [&[0xFF, u8::try_from(data.len() % 256).unwrap()], data].concat();
        let checksum = checksum(&body, &record);
        record.extend(checksum.to_ne_bytes());
        record.extend(body);
        let start = self.at();
        let mut rest = record.as_slice();
        while !rest.is_empty() {
            if self.at().is_multiple_of(PAGE) {
                self.page_header(u32::try_from(rest.len()).unwrap());
            }
            let room = usize::try_from(PAGE - self.at() % PAGE).unwrap().min(rest.len());
            self.wal.extend(&rest[..room]);
            rest = &rest[room..];
        }
        while !self.at().is_multiple_of(8) {
            self.wal.push(0);
        }
        self.previous = start;
        Lsn(start)
    }

    fn commit(&mut self, seconds: i64) -> Lsn {
        self.record(1, 0, &((seconds - 946_684_800) * 1_000_000).to_ne_bytes())
    }

    fn checkpoint(&mut self) -> Lsn {
        let redo = self.at();
        self.record(0, 0x10, &redo.to_ne_bytes())
    }

    fn write(&self) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        let mut wal = self.wal.clone();
        wal.resize(wal.len().next_multiple_of(usize::try_from(SEGMENT).unwrap()), 0);
        for (number, bytes) in (0..).zip(wal.chunks(usize::try_from(SEGMENT).unwrap())) {
            let at = Lsn(self.base + number * SEGMENT);
            let name = TimelineId(1).segment_file_name(at, SEGMENT).unwrap();
            files::make_directory(&data.path().join("pg_wal"), 0o700).unwrap();
            files::write(&data.path().join("pg_wal").join(name), bytes, 0o600).unwrap();
        }
        data
    }
}

fn open(data: &Path) -> Wal {
    Wal::open(data, TimelineId(1), Vec::new(), None).unwrap()
}

#[test]
fn the_last_record_with_a_time_is_found_in_a_piece_of_wal() {
    let mut writer = Writer::new(SEGMENT);
    let mut ends = vec![(writer.checkpoint(), Lsn(writer.at()))];
    for number in 0..40 {
        writer.record(10, 0, &[7; 997]);
        ends.push((writer.record(1, if number % 2 == 0 { 0 } else { 0x20 }, &[3; 8]), Lsn(writer.at())));
    }
    // Neither a long one counts nor one without a time.
    writer.record(1, 0, &[4; 990]);
    writer.record(10, 0x40, &[5; 20]);
    let end = Lsn(writer.at());
    let mut bytes = writer.wal.clone();
    bytes.resize(1 << 17, 0);
    for (start, end) in &ends {
        assert_eq!(last_timed(&bytes, Lsn(SEGMENT), *end), Some(*start));
    }
    let last = ends.last().unwrap().0;
    assert_eq!(last_timed(&bytes, Lsn(SEGMENT), end), Some(last));
    assert_eq!(last_timed(&bytes, Lsn(SEGMENT), Lsn(u64::MAX)), Some(last));
    // From a page within, which begins with the rest of a record.
    let page = usize::try_from(PAGE).unwrap();
    assert_eq!(last_timed(&bytes[page..], Lsn(SEGMENT + PAGE), end), Some(last));
    // The place of another segment, as in a recycled file; nothing; a byte that has changed.
    assert_eq!(last_timed(&bytes, Lsn(2 * SEGMENT), Lsn(u64::MAX)), None);
    assert_eq!(last_timed(&vec![0; 1 << 14], Lsn(SEGMENT), Lsn(u64::MAX)), None);
    assert_eq!(last_timed(&bytes, Lsn(SEGMENT), Lsn(SEGMENT)), None);
    let at = usize::try_from(ends[20].0.0 - SEGMENT).unwrap();
    bytes[at] ^= 1;
    assert_eq!(last_timed(&bytes, Lsn(SEGMENT), end), Some(ends[19].0));
}

#[test]
fn commits_are_counted_across_pages_and_segments_up_to_the_end() {
    let mut writer = Writer::new(SEGMENT);
    let checkpoint = writer.checkpoint();
    writer.commit(1000);
    let fork = writer.commit(2000);
    for number in 0..3000 {
        writer.record(10, 0, &[7; 997]);
        if number % 1000 == 0 {
            writer.commit(3000 + number);
        }
    }
    // A rollback is no commit.
    writer.record(1, 0x20, &[0; 8]);
    let end = Lsn(writer.at());
    assert!(end.0 > 3 * SEGMENT);
    let data = writer.write();
    let stretch = open(data.path()).stretch(fork, fork).unwrap().unwrap();
    assert_eq!((stretch.end, stretch.commits), (end, 4));
    let (first, last) = stretch.between.unwrap();
    assert_eq!((first.as_second(), last.as_second()), (2000, 5000));
    let found = open(data.path()).checkpoint_before(fork).unwrap().unwrap();
    assert_eq!((found.record, found.redo), (checkpoint, Lsn(SEGMENT)));
    // A checkpoint at the fork itself does not count.
    let name = "000000010000000000000000".to_string();
    assert_eq!(open(data.path()).checkpoint_before(checkpoint).unwrap(), Err(name));
}

#[test]
fn what_is_torn_or_left_over_ends_the_wal() {
    let mut writer = Writer::new(SEGMENT);
    let first = writer.commit(1000);
    let second = writer.commit(2000);
    let third = writer.commit(3000);
    let end = |writer: &Writer| open(writer.write().path()).stretch(first, first).unwrap().unwrap();
    assert_eq!(end(&writer).commits, 3);
    // One bit is wrong in the last record, and then in the one before it.
    for (cut, left) in [(third, 2), (second, 1)] {
        writer.wal[usize::try_from(cut.0 - SEGMENT).unwrap() + 30] ^= 1;
        assert_eq!((end(&writer).commits, end(&writer).end), (left, cut));
    }
    // What a record says of the one before it does not fit: it was left from before.
    let mut other = Writer::new(SEGMENT);
    other.commit(1000);
    other.previous = 8;
    other.commit(2000);
    assert_eq!(end(&other).commits, 1);
}

#[test]
fn a_segment_that_is_gone_is_named_and_found_elsewhere() {
    let mut writer = Writer::new(SEGMENT);
    writer.checkpoint();
    while writer.at() < 2 * SEGMENT + 100 {
        writer.record(10, 0, &[7; 997]);
    }
    let fork = writer.commit(1000);
    let data = writer.write();
    let name = "000000010000000000000001";
    let elsewhere = tempfile::tempdir().unwrap();
    let from = data.path().join("pg_wal").join(name);
    std::fs::copy(&from, elsewhere.path().join(name)).unwrap();
    files::remove_file(&from).unwrap();
    assert_eq!(open(data.path()).checkpoint_before(fork).unwrap(), Err(name.to_string()));
    assert_eq!(open(data.path()).stretch(Lsn(SEGMENT + 40), Lsn(0)).unwrap(), Err(name.to_string()));
    let mut both = Wal::open(data.path(), TimelineId(1), Vec::new(), Some(elsewhere.path())).unwrap();
    assert_eq!(both.checkpoint_before(fork).unwrap().unwrap().record, Lsn(SEGMENT + 40));
}

#[test]
fn the_segment_of_a_switch_is_read_on_the_newer_timeline() {
    let mut writer = Writer::new(SEGMENT);
    writer.commit(1000);
    let data = writer.write();
    let switch = Switch { timeline: TimelineId(1), switch: Lsn(2 * SEGMENT + 100), reason: String::new() };
    let wal = Wal::open(data.path(), TimelineId(3), vec![switch], None).unwrap();
    assert_eq!(wal.segment_of(Lsn(SEGMENT)).unwrap(), "000000010000000000000001");
    assert_eq!(wal.segment_of(Lsn(2 * SEGMENT)).unwrap(), "000000030000000000000002");
    assert_eq!(segment_start("000000030000000000000002", SEGMENT), Some(Lsn(2 * SEGMENT)));
    assert_eq!(segment_start("00000003.history", SEGMENT), None);
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    assert_eq!(checksum(b"123456789", b""), 0xE306_9283);
    assert_eq!(checksum(b"12345", b"6789"), 0xE306_9283);
}
