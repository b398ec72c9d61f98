//! What happens to the files of the model.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{LATER, Op, World, event};
use crate::source::file::foreign::random_bytes;
use crate::source::gunzip::gzip;
use crate::sys::shutdown::ShutdownSignal;

const HOUR: Duration = Duration::from_secs(3600);

impl World {
    pub(super) fn apply_to_files(&mut self, op: Op) {
        let log = self.log();
        match op {
            Op::Write(count) => self.write(&log, count),
            Op::Half if self.half.is_none() => {
                Self::append(&log, &event(self.next)[..10]);
                self.half = Some((log, self.next));
                self.next += 1;
            }
            Op::Rename { create } if log.exists() => {
                self.shift();
                fs::rename(&log, self.numbered(1)).unwrap();
                self.half = None;
                if create {
                    File::create(&log).unwrap();
                }
            }
            Op::Date if log.exists() => {
                self.dates += 1;
                let dated = self.logs().join(format!("audit.log-{}", self.dates));
                fs::rename(&log, dated).unwrap();
                self.half = None;
            }
            Op::Copytruncate if log.exists() => {
                self.shift();
                let events = Self::events(&fs::read(&log).unwrap());
                self.copied(&events);
                self.vague.extend(events);
                fs::copy(&log, self.numbered(1)).unwrap();
                OpenOptions::new()
                    .write(true)
                    .open(&log)
                    .unwrap()
                    .set_len(0)
                    .unwrap();
                self.half = None;
            }
            Op::Gzip => self.gzip(true),
            Op::RemoveOldest => self.remove_oldest(),
            Op::WriteOld(count) if self.numbered(1).exists() => {
                let path = self.numbered(1);
                self.write(&path, count);
            }
            Op::BadEntry => {
                let path = self.logs().join("audit.log.bad");
                if fs::symlink_metadata(&path).is_ok() {
                    fs::remove_file(path).unwrap();
                } else {
                    std::os::unix::fs::symlink("audit.log.bad", path).unwrap();
                }
            }
            Op::Stub => {
                let path = self.logs().join("audit.log.0");
                if path.exists() {
                    self.has_removed = true;
                    fs::remove_file(path).unwrap();
                } else {
                    fs::write(path, "{").unwrap();
                }
            }
            op => self.apply_row(op),
        }
    }

    /// What only rows do.
    fn apply_row(&mut self, op: Op) {
        let log = self.log();
        match op {
            Op::Copy => drop(fs::copy(&log, self.numbered(1)).unwrap()),
            Op::WriteBoth(count) => {
                let number = self.half.take().map(|(_, number)| number);
                for path in [log, self.numbered(1)] {
                    self.half = number.map(|number| (path.clone(), number));
                    self.write(&path, count);
                }
            }
            Op::Part => self.part(&log),
            Op::PartOld => self.part(&self.numbered(1)),
            Op::Rest => {
                let rest = &event(self.part)[10..];
                Self::append(&log, &format!("2026-01-01T00:00:00Z stdout F {rest}"));
                self.scattered.insert(self.part);
            }
            Op::Outside => fs::rename(&log, self.logs().join("other")).unwrap(),
            Op::Back => fs::rename(self.logs().join("other"), &log).unwrap(),
            Op::Unlink(count) => {
                let mut file = OpenOptions::new().append(true).open(&log).unwrap();
                fs::remove_file(&log).unwrap();
                self.settle();
                for _ in 0..count {
                    file.write_all(event(self.next).as_bytes()).unwrap();
                    self.scattered.insert(self.next);
                    self.next += 1;
                }
                self.settle();
            }
            Op::Empty => drop(File::create(self.numbered(1)).unwrap()),
            Op::Alias => fs::hard_link(&log, self.numbered(1)).unwrap(),
            Op::Directory => fs::create_dir(self.logs().join("audit.log.d")).unwrap(),
            Op::GzipKeep => self.gzip(false),
            Op::Replace if log.exists() => {
                self.copied(&Self::events(&fs::read(&log).unwrap()));
                let copy = self.dir.path().join("copy");
                fs::copy(&log, &copy).unwrap();
                fs::rename(copy, log).unwrap();
            }
            Op::Old => Self::set_time(&log, SystemTime::now() - HOUR),
            Op::Tick => {
                let now = SystemTime::now();
                let files = fs::read_dir(self.logs()).unwrap();
                files.for_each(|file| Self::set_time(&file.unwrap().path(), now));
            }
            Op::Zstd => {
                let content = [b"\x28\xb5\x2f\xfd", &random_bytes(2, 4000)[..]].concat();
                fs::write(self.logs().join("audit.log.2.zst"), content).unwrap();
            }
            Op::Hole | Op::Fill(_) => self.make_room(op),
            op => self.apply_slowly(op),
        }
    }

    /// `.1` is compressed bit by bit, or uncompressed.
    fn apply_slowly(&mut self, op: Op) {
        let compressed = self.logs().join("audit.log.1.gz");
        match op {
            Op::Compressing(percent) => {
                self.gzip(true);
                self.compress_to(percent, SystemTime::now() + HOUR);
            }
            Op::Stalled(percent) => {
                self.gzip(false);
                self.compress_to(percent, SystemTime::now() - LATER);
            }
            Op::Aborted(percent) => {
                self.gzip(false);
                self.compress_to(percent, SystemTime::now() - HOUR);
            }
            Op::Compressed => {
                if self.numbered(1).exists() {
                    self.gzip(true);
                    return;
                }
                fs::write(&compressed, &self.compressed).unwrap();
                Self::set_time(&compressed, SystemTime::now() - LATER);
            }
            Op::Gunzip | Op::GunzipKeep(_) if compressed.exists() => {
                let bytes = fs::read(&compressed).unwrap();
                let mut plain = Vec::new();
                let _ = MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain);
                if let Op::GunzipKeep(percent) = op {
                    plain.truncate(plain.len() * usize::from(percent) / 100);
                }
                fs::write(self.numbered(1), plain).unwrap();
                if matches!(op, Op::Gunzip) {
                    fs::remove_file(compressed).unwrap();
                }
            }
            Op::GzipEarly(percent) => {
                let path = self.numbered(1);
                let text = fs::read_to_string(&path).unwrap();
                let lines: Vec<&str> = text.split_inclusive('\n').collect();
                let part = lines.len() * usize::from(percent) / 100;
                fs::write(path, lines[..part].concat()).unwrap();
                self.gzip(true);
            }
            Op::Shred => {
                let file = OpenOptions::new()
                    .write(true)
                    .open(self.numbered(1))
                    .unwrap();
                let length = file.metadata().unwrap().len();
                self.dates += 1;
                let random = random_bytes(self.dates.into(), usize::try_from(length).unwrap());
                file.write_all_at(&random, 0).unwrap();
            }
            op => self.take_away(op),
        }
    }

    /// More is written to a compressed file, which has no end.
    fn live(&mut self, count: u8) {
        let path = self.logs().join("audit.log.live.gz");
        let text = self.text(&path, count);
        // What has no end for long is reported as damaged.
        self.has_removed = true;
        self.vague.extend(Self::events(text.as_bytes()));
        let live = self.live.get_or_insert_with(|| {
            GzEncoder::new(File::create(&path).unwrap(), Compression::fast())
        });
        live.write_all(text.as_bytes()).unwrap();
        live.flush().unwrap();
        Self::set_time(&path, SystemTime::now() - LATER);
    }

    /// Nothing can be read from what is open any more.
    pub(super) fn break_open(&mut self) {
        let files = &mut self.agent.as_mut().unwrap().follower.files;
        for file in files.values_mut().filter(|file| file.is_open()) {
            let number = file.open().unwrap().as_raw_fd();
            let path = format!("/proc/self/fd/{number}");
            let unreadable = OpenOptions::new().write(true).open(path).unwrap();
            // SAFETY: both are open.
            let found = unsafe { libc::dup2(unreadable.as_raw_fd(), number) };
            assert_eq!(found, number);
        }
    }

    /// The agent begins to stop, which ends what takes long.
    pub(in super::super) fn begin_stop(&mut self) {
        let stop = ShutdownSignal::new().unwrap();
        stop.trigger();
        self.agent.as_mut().unwrap().follower.long_work.stop = Some(stop);
    }

    /// Zeros at the log's end, which take no space, and what is written in their place.
    fn make_room(&mut self, op: Op) {
        let log = self.log();
        let text = match op {
            Op::Fill(count) => self.text(&log, count),
            _ => String::new(),
        };
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let file = options.open(&log).unwrap();
        if text.is_empty() {
            self.hole = file.metadata().unwrap().len();
            file.set_len(self.hole + (1 << 20)).unwrap();
        }
        file.write_all_at(text.as_bytes(), self.hole).unwrap();
        self.hole += text.len() as u64;
    }

    /// The log loses some of its content, or is hidden or replaced.
    fn take_away(&mut self, op: Op) {
        let log = self.log();
        match op {
            Op::Truncate if log.exists() => {
                self.has_removed = true;
                self.half = None;
                File::create(&log).map(drop).unwrap();
            }
            Op::Cut(count) if log.exists() => {
                let text = fs::read(&log).unwrap();
                let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                let end = ends.map(|(at, _)| at + 1).rev().nth(count.into());
                let end = end.unwrap_or(0);
                match self.agent {
                    None => self.vague.extend(Self::events(&text)),
                    Some(_) => self.cut.extend(Self::events(&text[end..])),
                }
                let file = OpenOptions::new().write(true).open(&log).unwrap();
                file.set_len(end as u64).unwrap();
                (self.has_removed, self.half) = (true, None);
            }
            Op::Hide => {
                let hidden = self.dir.path().join("hidden");
                if hidden.exists() {
                    fs::rename(hidden, &log).unwrap();
                } else if log.exists() {
                    fs::rename(&log, hidden).unwrap();
                    std::os::unix::fs::symlink("audit.log", log).unwrap();
                }
            }
            Op::Recycle => {
                let ends = ["1.gz", "2.gz", "2.zst"];
                let names = ends.map(|end| self.logs().join(format!("audit.log.{end}")));
                let old = names.into_iter().find(|name| name.exists()).unwrap();
                fs::rename(&log, self.logs().join("audit.log.0")).unwrap();
                fs::rename(old, &log).unwrap();
                File::create(log).unwrap();
            }
            Op::Vanish => {
                let _ = fs::remove_file(self.dir.path().join("hidden"));
                let other = self.logs().join("other");
                fs::remove_file(if other.exists() { other } else { log }).unwrap();
            }
            Op::Link => self.link(&log),
            Op::Day => {
                self.dates += 1;
                let day = self.logs().join(format!("audit.log-{}", self.dates));
                let is_link = fs::symlink_metadata(&log).is_ok_and(|found| found.is_symlink());
                if log.exists() && !is_link {
                    fs::rename(&log, &day).unwrap();
                } else {
                    File::create(&day).unwrap();
                }
                let _ = fs::remove_file(&log);
                std::os::unix::fs::symlink(day, log).unwrap();
            }
            op => self.apply_odd(op),
        }
    }

    fn apply_odd(&mut self, op: Op) {
        match op {
            Op::Big(count) => {
                for _ in 0..count {
                    let pad = "x".repeat(1_000_000);
                    Self::append(
                        &self.log(),
                        &format!("{{\"n\":{},\"pad\":\"{pad}\"}}\n", self.next),
                    );
                    self.next += 1;
                }
            }
            Op::Tiny => {
                let path = self.logs().join("audit.log.0");
                fs::write(&path, gzip(format!("{{\"n\":{}}}\n", self.next).as_bytes())).unwrap();
                Self::set_time(&path, SystemTime::now() - LATER);
                self.next += 1;
            }
            // While they are written, files that all begin alike can't be told apart: neither is the whole of the other.
            Op::Live(_) | Op::Relive(_) if self.has_banner => {}
            Op::Live(count) => self.live(count),
            Op::Relive(count) => {
                self.live = None;
                self.live(count);
            }
            _ => {}
        }
    }

    fn link(&mut self, log: &Path) {
        let real = self.dir.path().join("real");
        if real.exists() {
            let number = fs::read_dir(&real).unwrap().count();
            let file = real.join("log");
            self.scattered
                .extend(Self::events(&fs::read(&file).unwrap()));
            fs::rename(&file, real.join(number.to_string())).unwrap();
        } else {
            fs::create_dir(&real).unwrap();
            fs::rename(log, real.join("log")).unwrap();
            std::os::unix::fs::symlink(real.join("log"), log).unwrap();
        }
    }

    fn part(&mut self, path: &Path) {
        let part = &event(self.next)[..10];
        Self::append(path, &format!("2026-01-01T00:00:00Z stdout P {part}\n"));
        (self.part, self.next) = (self.next, self.next + 1);
    }

    fn set_time(path: &Path, time: SystemTime) {
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    fn shift(&mut self) {
        for number in (1..8).rev() {
            for end in ["", ".gz"] {
                let from = self.logs().join(format!("audit.log.{number}{end}"));
                let to = self.logs().join(format!("audit.log.{}{end}", number + 1));
                self.has_removed |= from.exists() && to.exists();
                let _ = fs::rename(from, to);
            }
        }
    }

    /// A copy can't be recognised if no more is known of its original than half an event, even if that is whole now.
    fn copied(&mut self, events: &BTreeSet<u64>) {
        self.has_removed |= self.known.is_disjoint(events);
    }

    /// Only so much of the compressed file is written, at this time.
    fn compress_to(&mut self, percent: u8, time: SystemTime) {
        let compressed = self.logs().join("audit.log.1.gz");
        self.compressed = fs::read(&compressed).unwrap();
        let part = self.compressed.len() * usize::from(percent) / 100;
        fs::write(&compressed, &self.compressed[..part]).unwrap();
        Self::set_time(&compressed, time);
    }

    fn gzip(&mut self, removes: bool) {
        let path = self.numbered(1);
        let Ok(bytes) = fs::read(&path) else { return };
        self.has_removed = true;
        self.vague.extend(Self::events(&bytes));
        let mut compressed = File::create(self.logs().join("audit.log.1.gz")).unwrap();
        compressed.write_all(&gzip(&bytes)).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap() - LATER;
        compressed.set_modified(modified).unwrap();
        if removes {
            fs::remove_file(path).unwrap();
        }
    }

    fn remove_oldest(&mut self) {
        for number in (2..9).rev() {
            for end in ["", ".gz"] {
                let path = self.logs().join(format!("audit.log.{number}{end}"));
                if let Ok(bytes) = fs::read(&path) {
                    let events = Self::events(&bytes);
                    let is_plain = !events.is_empty() && self.vague.is_disjoint(&events);
                    if is_plain && events.is_subset(&self.seen) {
                        self.held.extend(&events);
                    }
                    if self.agent.is_none() && is_plain && events.is_subset(&self.known) {
                        self.removed_meanwhile += 1;
                    }
                    self.has_removed = true;
                    fs::remove_file(path).unwrap();
                    return;
                }
            }
        }
    }
}
