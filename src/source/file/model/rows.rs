//! Nights with files, each with what must have come of it: the same world, in which nothing is left to chance.

use std::collections::BTreeSet;

use super::night::{BOTH, GLOB, Outcome, PATH, all, copies, gone, passed, twice};

#[test]
fn what_was_read_is_known_again() {
    let lines = "
        renamed while it runs: start write 20 settle rename write 2 settle
        moved, and written on: start write 20 settle move write-old 2 settle write 3
        renamed meanwhile: start write 3 settle stop rename write 2
        renamed twice meanwhile: start write 30 settle stop rename write 2 rename write 30
        copied and truncated while it runs: start write 20 settle copytruncate settle write 9
        copied and truncated meanwhile: start write 20 settle stop copytruncate write 9
        replaced by its copy, and written anew: start write 20 settle replace settle copytruncate write 20 settle
        a few events, copied and truncated: start write 3 settle stop copytruncate write 9
        compressed while it runs: start write 20 settle rename settle gzip settle write 2
        compressed meanwhile: start write 20 settle stop rename gzip write 2
        compressed before it was read: start write 60 outage steps 3 kill rename gzip write 2
        killed after a truncation in an outage: start outage write 20 settle copytruncate settle kill start settle
        half an event: start write 20 half settle stop start settle write 2
        killed before it was delivered: start outage write 20 settle kill
        stopped while forwarding is off: start write 20 switch settle stop
        rewritten with the same length: start write 9 settle truncate write 20 settle truncate write 20 settle
        much at once: start outage write 250 settle deliver steps 3 outage settle deliver write 1 settle stop start settle
        an entry in two files: start write 20 part settle rename settle rest write 2 settle stop start settle
        an entry in two files, found late: start write 20 part settle rename rest write 2 settle stop start settle
        an entry in two files, and killed: start write 20 part settle rename settle kill rest write 2 start
        written on after its removal: start write 20 settle unlink 2 write 3
        on a host with another name: start write 20 settle stop rehost write 5 rename write 2
        on a host with another name for a while: start write 20 settle stop rehost write 5 rename write 2 start settle stop rehost write 3 rename write 2
        in two files, and not looked at: start write 20 settle rename write 2 rename write 2
        a hole: start write 20 settle hole settle write 2 settle stop start settle
        a hole at its end: start write 20 settle hole settle stop start settle write 2
        moved elsewhere: start outage write 60 settle outside write 2 settle
        moved elsewhere meanwhile: start outage write 60 settle kill outside write 2 start settle
        removed beside another: start write 20 settle rename write 5 settle unlink 2 write 3
        under another pattern: start write 20 settle stop respell write 2
        under another pattern and its own again: start write 20 settle stop respell write 2 start settle stop respell write 2
        under its own pattern, and another before: start write 20 settle stop respell write 2 start settle stop respell write 2 start settle stop start settle
        new under another pattern: start write 20 settle stop respell rename write 2 rename write 2
        copied and truncated, under another pattern: start write 20 settle stop respell copytruncate write 2
        compressed, and more than there is room for: start write 2 settle stop write 200 rename gzip outage start settle deliver steps 3 outage settle deliver
        compressed, and unknown: start write 2 settle stop rename write 200 rename gzip write 2
        compressed under another name: start write 2 settle deliver switch tiny settle stop switch start
        with the inode of another: start write 20 zstd settle recycle write 9
        with the inode of another, meanwhile: start write 20 zstd settle stop recycle write 9
        with the inode of a compressed one: start write 20 settle rename settle gzip wait 100 recycle write 30
        with the inode of an old one: write 3 rename gzip start write 20 settle recycle write 9
        with the inode of an old one, meanwhile: write 3 rename gzip start write 20 settle stop recycle write 9
        not to be looked at after a start: start write 5 settle rename write 60 outage settle kill hide start settle hide settle
        excluded for a while: start write 5 settle move write 60 outage settle kill exclude start settle stop exclude
        not to be looked at: start write 5 settle rename write 60 outage settle hide settle hide settle
        being compressed over a start: start write 20 settle stop rename compressing 50 start steps 9 stop start steps 9 compressed settle
        just compressed, and unknown: start write 2 settle stop rename write 20 rename compressing 100 start settle
        just compressed, and little: start write 2 settle stop rename write 5 rename compressing 100 start settle
        before a hole: start write 20 settle hole write 2 settle
        quiet for long: start write 20 settle rename write 2 settle wait 100 write 3 settle
        with two names: start write 20 settle alias settle write 2 settle stop start settle
        with two names, of which one goes: start write 20 settle alias settle unlink 2
        behind a link: start write 20 settle link settle write 2 settle link settle write 3 settle link write 4 settle";
    all(BOTH, &Outcome::default(), lines);
    // Half an event was read of each.
    let expected = Outcome {
        twice: BTreeSet::from([40, 119]),
        is_mixed: true,
        ..Outcome::default()
    };
    let lines = "
        compressed between two looks, twice: start outage write 60 settle copytruncate compressing 100 write 20 settle deliver steps 20 outage wait 70 write 60 settle copytruncate compressing 100 write 3 settle deliver";
    all(BOTH, &expected, lines);
}

#[test]
fn a_path_may_be_another_name_of_a_file_beside_it() {
    let lines = "
        linked before the start: write 20 day start settle write 2 settle
        the next day: write 20 day start settle write 2 settle day write 3 settle
        the next day, meanwhile: write 20 day start settle write 2 settle stop day write 3 start settle
        the next day, but nothing is written yet: write 20 day start settle day settle write 3 settle
        linked later: start write 20 settle day settle write 2 settle day write 3 settle
        linked later, and a start: start write 20 settle day settle write 2 settle stop start settle write 2
        with two names before the start: write 20 alias start settle write 2 settle";
    all(BOTH, &Outcome::default(), lines);
}

#[test]
fn what_can_not_be_read_any_more_is_opened_again() {
    let lines = "
        written on: start write 20 settle break write 5 settle
        in an outage: start outage write 60 settle break settle write 5 settle
        renamed: start write 20 settle break rename write 5 settle
        written on when it can't be read any more, and removed: start outage write 250 write 250 write 249 settle break write 1 write 250 settle rename rename write 3 settle remove wait 250 settle deliver steps 90
        renamed in an outage: start outage write 60 settle break write 5 settle rename write 5 settle
        copied and truncated: start write 20 settle break write 2 settle copytruncate write 5 settle
        compressed: start write 2 settle stop write 200 rename gzip start outage settle break settle write 2";
    all(BOTH, &Outcome::default(), lines);
}

#[test]
fn what_is_no_text_is_not_read() {
    let lines = "
        shredded: start write 60 settle rename settle shred steps 3 shred settle shred settle write 2
        shredded, and removed: start write 60 settle rename rename rename write 2 settle shred settle shred remove settle
        compressed and shredded: start write 60 settle rename settle gzip-keep shred settle shred wait 9
        shredded meanwhile: start write 60 settle rename settle gzip-keep stop shred start settle shred settle";
    all(BOTH, &Outcome::default(), lines);
}

#[test]
fn zeros_at_a_files_end_are_waited_for_until_anything_follows() {
    let lines = "
        for ever: start write 20 settle hole settle stop start settle
        filled: start write 20 settle hole settle fill 3 settle fill 2 settle
        filled at once: start write 20 hole settle fill 3 settle
        a few events, and filled: start write 3 hole settle fill 3 settle fill 30 settle
        a few events, and filled meanwhile: start write 3 hole settle stop fill 30 start settle
        all closed, filled: start write 20 settle hole settle fill 3 settle
        filled, and written on: start write 20 settle hole settle fill 3 settle write 2 settle
        filled after a start: start write 20 settle hole settle stop start settle fill 3 settle
        filled meanwhile: start write 20 settle hole settle stop fill 3
        in an event: start write 20 half hole settle fill 3 settle
        in an event, and killed: start write 20 half hole settle kill start settle fill 3 settle
        renamed and filled: start write 20 settle hole settle rename settle write 2 settle
        compressed: start write 20 settle hole settle rename settle gzip settle write 2
        all closed, compressed: start write 20 settle hole settle rename gzip settle write 2
        from the start: hole start settle fill 3 settle";
    all(BOTH, &Outcome::default(), lines);
    let lines = "
        removed: start write 20 settle hole settle stop rename rename remove";
    all(BOTH, &gone(1, 1..1), lines);
}

/// Of a file that is closed nothing can be read when it has no name any more.
#[test]
fn what_was_read_and_closed_is_known_again() {
    let lines = "
        all closed, renamed: start write 20 settle rename write 2 settle
        all closed, copied and truncated: start write 20 settle copytruncate settle write 2
        all closed, compressed: start write 20 settle rename settle gzip settle write 2
        all closed, renamed and compressed: start write 20 settle rename gzip write 2 settle
        all closed, moved and compressed: start write 20 settle move gzip settle write 2
        all closed, replaced by its copy: start write 20 settle replace settle write 2 settle
        all closed, replaced by a longer copy: start write 20 settle replace write 2 settle
        all closed, unpacked: start write 20 settle rename gzip write 2 settle gunzip settle
        all closed, unpacked when unknown: start write 2 settle stop rename write 20 rename gzip start settle gunzip settle";
    all(BOTH, &Outcome::default(), lines);
}

#[test]
fn what_was_read_is_known_again_elsewhere_and_in_part() {
    let lines = "
        in the same tick, renamed: start write 1 settle stop rename write 20 rename write 20 tick";
    all(PATH, &Outcome::default(), lines);
    let lines = "
        in a directory that is not mounted yet: beside start write 60 outage settle kill unmount start settle unmount settle
        in a directory that cannot be read: beside start write 20 settle stop maze start settle wait 70 maze settle
        an entry in two files, of which one has any name: beside start write 20 part settle outside settle rest write 2 settle";
    all(GLOB, &Outcome::default(), lines);
}

#[test]
fn what_was_written_first_is_read_first() {
    let lines = "
        first in the newer file: start write 1 settle rename settle write 2 write-old 2 old settle
        gone: start outage write 60 settle rename write 5 settle rename write 5 settle rename write 5 settle remove settle remove settle";
    all(BOTH, &Outcome::default(), lines);
    let lines = "
        more than is read at once: start write 1 settle big 12 rename write 2 settle";
    all(PATH, &Outcome::default(), lines);
}

#[test]
fn copies_are_read_once() {
    let lines = "
        over a file that was empty: start write 20 settle empty settle stop copy start settle
        removed then: start write 20 settle copy settle rename settle remove settle
        with half an event, removed then: start write 20 half settle copy settle rename settle remove settle
        beside its original: start write 20 settle copy settle
        of a few events: start write 3 settle copy settle
        longer at once: start write 20 settle copy write-old 2 settle
        whose original grows: start write 20 settle copy settle write 2 settle
        with half an event: start write 20 half settle copy settle write 2
        of a few events, with half an event: start write 3 half settle copy settle write 2
        compressed: start write 20 settle rename settle gzip-keep settle
        of a later file: start write 20 settle date write 20 settle copy settle
        of a file that began with half an event: start half settle write 20 settle copy settle";
    all(BOTH, &copies(1), lines);
    let lines = "
        before the start: write 20 copy start settle";
    all(GLOB, &copies(1), lines);
    let lines = "
        over a compressed one: start write 2 settle stop rename write 200 rename gzip write 2 start settle copy settle gzip settle
        that grows: start write 20 settle copy settle write-old 2 settle
        of a few events, whose original grows, and a restart: start write 3 settle copy settle write 2 settle stop start settle
        of a few events, found when its original has grown: start write 3 settle stop copy write 2 start settle stop start settle";
    all(BOTH, &copies(2), lines);
    let lines = "
        explained by a truncation: start write 20 settle copy steps 20 truncate settle write 2
        in the place of a few events and half of one: start write 3 half switch replace settle write 2 settle switch settle";
    all(BOTH, &Outcome::default(), lines);
    // The event that took the last room counts as read when the next one is taken.
    let expected = Outcome {
        copies: 1,
        ..twice(40..=40)
    };
    let lines = "
        to a file that was empty, truncated early: start outage write 60 settle empty settle copy settle truncate settle
        truncated early: start outage write 250 write 250 write 250 write 250 write 250 settle copy settle truncate settle";
    all(BOTH, &expected, lines);
    // So is a copy that has less than was seen of its original, as if that was written on until the truncation.
    let lines = "
        truncated when it has grown: start outage write 250 write 250 write 250 write 250 write 250 settle copy settle write 10 settle truncate settle write 3";
    let expected = Outcome {
        gone: gone(1, 1251..1261).gone,
        ..expected
    };
    all(BOTH, &expected, lines);
    let lines = "
                truncated when it has grown, and a start: start outage write 250 write 250 write 250 write 250 write 250 settle copy settle write 10 settle truncate settle stop start settle write 3";
    let expected = Outcome {
        twice: BTreeSet::new(),
        ..expected
    };
    all(BOTH, &expected, lines);
}

#[test]
fn the_first_start_passes_over_what_was_there() {
    let lines = "
        renamed from a path: write 3 rename write 2
        renamed, written on: write 3 rename start settle write-old 2
        renamed again later: write 3 rename write 2 start settle stop rename write 2
        renamed before 0.1 was replaced: write 3 rename write 2 start settle stop upgrade";
    all(PATH, &passed(1..=3), lines);
    let lines = "
        renamed, of a pattern: write 3 rename write 2";
    all(GLOB, &Outcome::default(), lines);
    let lines = "
        compressed: write 3 rename gzip write 2
        compressed, renamed later: write 3 rename gzip write 2 start settle stop rename write 2
        from the end: write 3 half start settle write 2
        from the end, the next file: write 3 start settle rename write 2";
    all(BOTH, &passed(1..=3), lines);
    let lines = "
        compressed otherwise: zstd write 3 start settle stop start settle";
    all(BOTH, &Outcome::default(), lines);
}

#[test]
fn what_is_gone_is_reported_with_what_was_not_read() {
    let lines = "
        read, removed while it runs: start write 20 settle rename rename remove settle
        truncated after it was read: start write 20 settle truncate write 3 settle";
    all(BOTH, &Outcome::default(), lines);
    let lines = "
        read, removed meanwhile: start write 20 settle stop rename rename remove
        truncated meanwhile and again: start write 20 settle stop truncate write 3 start settle truncate write 3 settle
        truncated meanwhile: start write 20 settle stop truncate write 3
        beside a compressed one: start write 2 settle rename settle gzip settle write 20 settle stop truncate write 3
        compressed, and its inode another's meanwhile: start write 20 settle rename settle gzip wait 100 stop recycle write 30";
    all(BOTH, &gone(1, 1..1), lines);
    let lines = "
        not read, removed meanwhile: start write 60 outage settle kill rename rename remove
        reported once: start write 60 outage settle kill rename rename remove start settle deliver stop start settle";
    all(BOTH, &gone(1, 1..61), lines);
    let lines = "
        beside one that is not to be looked at: start write 3 settle rename write 5 settle rename write 60 outage settle kill remove hide start settle hide";
    all(BOTH, &gone(1, 1..4), lines);
    let lines = "
        removed while it was not to be looked at: start write 5 settle rename write 60 outage settle kill hide start settle vanish settle";
    all(BOTH, &gone(1, 6..66), lines);
    let lines = "
        in a directory that stays away: beside start write 20 settle stop unmount start settle wait 70";
    all(GLOB, &gone(1, 1..1), lines);
    // Half an event of one byte, of which nothing was read.
    let expected = Outcome {
        gone: (1, 1),
        ..Outcome::default()
    };
    let lines = "
        all closed, its inode a compressed one's: write 3 start switch move write-old 1 stub write 1 settle hide settle hide stub gzip";
    all(BOTH, &expected, lines);
    // What its first read brought does not count, though most of that found no room.
    let Outcome {
        gone: (_, bytes), ..
    } = gone(1, 1..1001);
    let expected = Outcome {
        gone: (1, bytes - (16 << 10)),
        malformed: 1,
        ..Outcome::default()
    };
    let lines = "
        truncated while it was read: start outage write 250 write 250 write 250 write 250 settle truncate write 3 settle
        removed while it can't be read any more: start outage write 250 write 250 write 250 write 250 settle rename rename write 3 settle break remove wait 250 settle deliver steps 90
        removed before it can't be read any more: start outage write 250 write 250 write 250 write 250 settle rename rename write 3 settle remove settle break wait 250 settle deliver steps 90";
    all(BOTH, &expected, lines);
}

#[test]
fn what_is_cut_off_before_it_was_read_is_reported() {
    let lines = "
        cut: start outage write 250 write 250 write 250 write 250 write 250 settle cut 10 settle
        cut meanwhile: start outage write 250 write 250 write 250 write 250 write 250 settle kill cut 10
        cut meanwhile, and reported once: start outage write 250 write 250 write 250 write 250 write 250 settle kill cut 10 start settle kill start settle";
    all(BOTH, &gone(1, 1241..1251), lines);
    let lines = "
        compressed before it was whole: start outage write 250 write 250 write 250 write 250 settle rename settle kill gzip-early 99 write 1
        compressed before it was whole, and reported once: start outage write 250 write 250 write 250 write 250 settle rename settle kill gzip-early 99 write 1 start deliver steps 90 deliver stop start settle
        compressed before it was whole, and killed when it is being read: start outage write 250 write 250 write 250 write 250 settle rename settle kill gzip-early 99 write 1 start settle kill start settle
        all closed, compressed before it was whole: start write 3 switch write 250 write 250 write 250 write 247 settle rename settle gzip-early 99 settle switch write 1";
    all(BOTH, &gone(1, 991..1001), lines);
    let lines = "
        truncated before its turn: start outage write 60 settle rename settle write 20 settle truncate settle write 3
        truncated before its turn, meanwhile: start outage write 60 settle rename settle write 20 settle kill truncate write 3";
    all(BOTH, &gone(1, 61..81), lines);
}

#[test]
fn without_a_checkpoint_that_can_be_used_all_is_read_again() {
    let lines = "
        damaged: start write 20 settle stop write 5 damage
        from the end, damaged: start write 20 settle stop write 5 damage
        damaged, and renamed: start write 20 settle stop write 5 rename write 2 damage";
    all(BOTH, &twice(1..=20), lines);
}

#[test]
fn a_copy_and_its_original_go_their_own_ways() {
    // The log is written to first: of two files that were changed in the same tick, the older one is read first.
    let lines = "
        both grow: start write 20 settle copy settle write 3 write-old 2 settle
        both grow by much: start write 20 settle copy settle write-both 40 settle";
    all(BOTH, &copies(1), lines);
    // What was read of an original that is gone is not final yet: its copy has it, too.
    let lines = "
        killed: start outage write 20 settle replace cut 1 settle write 1 settle kill
        the copy beside a stub, copied and truncated: start outage write 20 settle replace cut 1 settle stub settle copytruncate settle kill";
    all(BOTH, &gone(1, 1..21), lines);
    // What was not read of the original is read in the copy, as far as that goes. The event that took the last room
    // counts as read when the next one is taken.
    let expected = Outcome {
        gone: gone(1, 251..252).gone,
        copies: 1,
        ..twice(40..=40)
    };
    let lines = "
        read in part: start outage write 250 settle copy settle write 1 settle truncate settle";
    all(BOTH, &expected, lines);
    // As little may be the same by chance.
    let expected = Outcome {
        is_mixed: true,
        copies: 1,
        ..twice(1..=3)
    };
    let lines = "
        a few events: start write 3 settle copy settle write 3 write-old 2 settle";
    all(BOTH, &expected, lines);
    // Both complete the same event.
    let expected = Outcome {
        is_mixed: true,
        copies: 1,
        ..twice(21..=21)
    };
    let lines = "
        a copy: start write 20 half settle copy settle write-both 2 settle";
    all(BOTH, &expected, lines);
}
