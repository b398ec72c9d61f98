//! What happens in the model's world.

#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    /// Whole events.
    Write(u8),
    /// Events of almost a MiB.
    Big(u8),
    /// The first half of an event; the next write writes the rest.
    Half,
    /// As logrotate does: `.1` to `.2`, and so on, then the log to `.1`; and a new one with `create`.
    Rename {
        create: bool,
    },
    /// To a name with a date.
    Date,
    Copytruncate,
    /// The log is copied to `.1`.
    Copy,
    /// The log is emptied.
    Truncate,
    /// The log loses its last events.
    Cut(u8),
    /// The log's name leads nowhere, as while its filesystem does not answer; or it leads there again.
    Hide,
    /// A compressed file is removed, and the next log has its inode.
    Recycle,
    /// The checkpoint is damaged.
    Damage,
    /// From the next start on, the log is excluded; or it no longer is.
    Exclude,
    /// What is begun is written to the log and to `.1`, and then whole events, one after the other.
    WriteBoth(u8),
    /// The first part of a log entry; and its rest, even to another file.
    Part,
    Rest,
    /// The first part of a log entry, written to `.1`.
    PartOld,
    /// Zeros that take no space on disk, more than one read takes.
    Hole,
    /// Events where the hole begins.
    Fill(u8),
    /// The log gets a name that the source does not mean.
    Outside,
    /// It has its own name again.
    Back,
    /// What is hidden, or has such a name, is removed.
    Vanish,
    /// An empty `.1`.
    Empty,
    /// `.1` is another name of the log.
    Alias,
    /// The log becomes a link to a file in another directory; then that is renamed, and the link leads nowhere until the
    /// log is written to.
    Link,
    /// There is one more file of a day, and the log's name is a link to it.
    Day,
    /// What the agent has open can't be read any more, as after a mount was lost and is there again.
    Break,
    /// The log was last written to an hour ago, as far as its time says.
    Old,
    /// All files were last written to at the same time.
    Tick,
    /// A name that is no file.
    Directory,
    /// The source means all files of all directories, and there is one more.
    Beside,
    /// A link to itself is in the directory's place; or the directory is there again.
    Maze,
    /// Time passes, in which nothing happens to the files.
    Wait(u8),
    /// The log is removed, and written on.
    Unlink(u8),
    /// The source is a path instead of a pattern from the next start on, or the other way round.
    Respell,
    /// The host has another name from the next start on, or its own again.
    Rehost,
    /// The next start finds what 0.1 would have left.
    Upgrade,
    /// The log is replaced by its copy, as by an editor.
    Replace,
    /// `.1` is compressed.
    Gzip,
    /// The same, and it stays.
    GzipKeep,
    /// The same, but the file was written on after gzip had read this many percent of its events.
    GzipEarly(u8),
    /// `.1` is replaced by a compressed file of which this many percent are written, on a host whose clock is ahead; and
    /// then by all of it.
    Compressing(u8),
    /// The same beside `.1`, but it is not written to now; nor for the last hour.
    Stalled(u8),
    Aborted(u8),
    Compressed,
    /// `.1` is uncompressed; or this many percent of it are written, and the compressed file stays.
    Gunzip,
    GunzipKeep(u8),
    /// A compressed file of one small event, whose name does not say what it is.
    Tiny,
    /// Events in a compressed file that is being written; or all of it is written anew.
    Live(u8),
    Relive(u8),
    /// A file that zstd has compressed.
    Zstd,
    /// `.1` is overwritten with random bytes.
    Shred,
    /// The oldest one is removed, as by `rotate 3`.
    RemoveOldest,
    /// The writer continues in the renamed file.
    WriteOld(u8),
    /// For a while, something that can't be read takes the log's place.
    BadEntry,
    /// A file with no more than half an event, with which no other file begins.
    Stub,
    /// The directory disappears, like a mount that comes later; or it comes back.
    Unmount,
    /// Forwarding is disabled, or enabled.
    Switch,
    /// The agent, if it runs, has time to look at all files.
    Settle,
    /// The agent takes this many steps.
    Steps(u8),
    Deliver,
    Outage,
    Stop,
    Kill,
    Start,
}

fn op(word: &str, count: u8) -> Op {
    match word {
        "write" => Op::Write(count),
        "big" => Op::Big(count),
        "tiny" => Op::Tiny,
        "live" => Op::Live(count),
        "relive" => Op::Relive(count),
        "write-old" => Op::WriteOld(count),
        "write-both" => Op::WriteBoth(count),
        "hole" => Op::Hole,
        "fill" => Op::Fill(count),
        "outside" => Op::Outside,
        "back" => Op::Back,
        "vanish" => Op::Vanish,
        "empty" => Op::Empty,
        "alias" => Op::Alias,
        "link" => Op::Link,
        "break" => Op::Break,
        "day" => Op::Day,
        "old" => Op::Old,
        "tick" => Op::Tick,
        "directory" => Op::Directory,
        "beside" => Op::Beside,
        "maze" => Op::Maze,
        "unmount" => Op::Unmount,
        "wait" => Op::Wait(count),
        "unlink" => Op::Unlink(count),
        "steps" => Op::Steps(count),
        "half" => Op::Half,
        "stub" => Op::Stub,
        "part" => Op::Part,
        "part-old" => Op::PartOld,
        "rest" => Op::Rest,
        "rename" => Op::Rename { create: true },
        "move" => Op::Rename { create: false },
        "date" => Op::Date,
        "copytruncate" => Op::Copytruncate,
        "copy" => Op::Copy,
        "truncate" => Op::Truncate,
        "cut" => Op::Cut(count),
        "hide" => Op::Hide,
        "recycle" => Op::Recycle,
        "damage" => Op::Damage,
        "exclude" => Op::Exclude,
        "gzip" => Op::Gzip,
        "gzip-early" => Op::GzipEarly(count),
        "gzip-keep" => Op::GzipKeep,
        "compressing" => Op::Compressing(count),
        "stalled" => Op::Stalled(count),
        "aborted" => Op::Aborted(count),
        "compressed" => Op::Compressed,
        "replace" => Op::Replace,
        "gunzip" => Op::Gunzip,
        "gunzip-keep" => Op::GunzipKeep(count),
        "zstd" => Op::Zstd,
        "shred" => Op::Shred,
        "remove" => Op::RemoveOldest,
        "respell" => Op::Respell,
        "rehost" => Op::Rehost,
        "upgrade" => Op::Upgrade,
        "switch" => Op::Switch,
        "settle" => Op::Settle,
        "outage" => Op::Outage,
        "deliver" => Op::Deliver,
        "stop" => Op::Stop,
        "kill" => Op::Kill,
        "start" => Op::Start,
        _ => panic!("{word}"),
    }
}

/// What a line of words means; some of them are followed by a count.
pub(super) fn ops(line: &str) -> Vec<Op> {
    let mut words = line.split_whitespace().peekable();
    let mut ops = Vec::new();
    while let Some(word) = words.next() {
        let count = words.peek().and_then(|count| count.parse().ok());
        ops.push(op(word, count.unwrap_or(0)));
        if count.is_some() {
            words.next();
        }
    }
    ops
}
