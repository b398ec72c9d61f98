//! Random streams, cut anywhere.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_split_gives_the_same_frames(
        stream in vec(prop_oneof![
            4 => r#"[{}\[\]",:\\ \n\raé1]{0,30}"#.prop_map(String::into_bytes),
            4 => written().prop_map(|(text, _)| text.into_bytes()),
            2 => garbage().prop_map(String::into_bytes),
            3 => framing::item().prop_map(|item| item.text.into_bytes()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"\xef\xbb\xbf".to_vec()),
            1 => vec(any::<u8>(), 0..20),
            1 => (200usize..400).prop_map(|n| vec![b'y'; n]),
        ], 0..12).prop_map(|parts| parts.concat()),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
        limit in 1usize..400,
    ) {
        let whole = frames(&[&stream], limit);
        let bytes: Vec<_> = stream.chunks(1).collect();
        prop_assert_eq!(&frames(&bytes, limit), &whole);
        prop_assert_eq!(&frames(&pieces(&stream, &cuts), limit), &whole);
    }

    #[test]
    fn a_new_framer_goes_on_from_what_is_unfinished(
        parts in vec(prop_oneof![
            6 => written().prop_map(|(text, _)| text),
            4 => framing::item().prop_map(|item| item.text),
            2 => garbage(),
            1 => r#"[{}\[\]",:\\ \n\raé1]{0,30}"#.prop_map(String::from),
            1 => Just("\n".to_owned()),
            1 => (200usize..400).prop_map(|n| "y".repeat(n)),
        ], 0..12),
        cut in any::<prop::sample::Index>(),
        limit in 1usize..400,
    ) {
        let stream = parts.concat().into_bytes();
        let (first, _) = stream.split_at(cut.index(stream.len() + 1));
        let mut framer = Framer::new(limit);
        let mut found = Vec::new();
        for piece in first.chunks(7) {
            framer.space()[..piece.len()].copy_from_slice(piece);
            framer.filled(piece.len());
            while let Some(frame) = framer.next() {
                found.push(line(frame));
            }
        }
        let from = first.len() - usize::try_from(framer.unfinished()).unwrap();
        found.extend(frames(&[&stream[from..]], limit));
        let whole: Vec<_> = frames(&[&stream], limit).into_iter().flatten().collect();
        let found: Vec<_> = found.into_iter().flatten().collect();
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn any_mixture_of_objects_and_garbage_lines_gives_back_every_object(
        parts in vec(prop_oneof![
            3 => written().prop_map(Ok),
            1 => garbage().prop_map(Err),
        ], 0..12),
        comma in any::<bool>(),
    ) {
        let separator = if comma { ",\n" } else { "\n" };
        let stream: String = parts
            .iter()
            .map(|part| match part {
                Ok((text, _)) => text.clone() + separator,
                Err(text) => text.clone() + separator,
            })
            .collect();
        let expected: Vec<_> = parts.iter().flatten().map(|(_, line)| line.clone()).collect();
        let found = frames(&[stream.as_bytes()], 1 << 20);
        let lost = found.iter().filter(|frame| frame.is_err()).count();
        let found: Vec<_> = found.into_iter().flatten().collect();
        prop_assert_eq!(found, expected);
        let garbage = parts.iter().filter(|part| part.is_err()).count();
        prop_assert_eq!(lost > 0, garbage > 0);
        prop_assert!(lost <= garbage);
    }
}
