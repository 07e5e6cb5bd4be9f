//! Any bytes, cut anywhere: the frames are what stands between the newlines. Any frame: it is read or refused.

use lab04_messages::frames::{Frames, TooLong};
use lab04_messages::messages::{Request, Response, to_line};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes with many newlines among them, or there would be few frames.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![1 => Just(b'\n'), 4 => any::<u8>()], 0..400)
}

/// What `Frames` hands out when `bytes` come in pieces of these lengths, and the rest at once.
fn taken(frames: &mut Frames, bytes: &[u8], lengths: &[usize]) -> Vec<Result<Vec<u8>, TooLong>> {
    let mut taken = Vec::new();
    let mut rest = bytes;
    for &length in lengths.iter().chain([&usize::MAX]) {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        frames.put(piece);
        while let Some(frame) = frames.next_frame() {
            taken.push(frame.map(<[u8]>::to_vec));
        }
        rest = after;
    }
    taken
}

proptest! {
    #[test]
    fn however_bytes_are_cut_the_frames_are_what_stands_before_each_newline(
        bytes in bytes(), lengths in vec(0_usize..40, 0..40)
    ) {
        let mut frames = Frames::new(1000);
        let mut expected: Vec<_> = bytes.split(|&byte| byte == b'\n').map(|frame| Ok(frame.to_vec())).collect();
        let rest = expected.pop().unwrap_or(Ok(Vec::new())).unwrap_or_default();
        prop_assert_eq!(taken(&mut frames, &bytes, &lengths), expected);
        prop_assert_eq!(frames.is_cut(), !rest.is_empty());
        prop_assert_eq!(frames.kept(), rest.len());
        // And the rest is whole as soon as its newline is there.
        prop_assert_eq!(taken(&mut frames, b"\n", &[]), vec![Ok(rest)]);
    }

    #[test]
    fn a_frame_beyond_the_limit_is_reported_once_and_what_is_kept_never_exceeds_the_limit(
        bytes in bytes(), lengths in vec(0_usize..40, 0..40), limit in 0_usize..20
    ) {
        let mut frames = Frames::new(limit);
        let judge = |frame: &[u8]| if frame.len() > limit { Err(TooLong) } else { Ok(frame.to_vec()) };
        let mut expected: Vec<_> = bytes.split(|&byte| byte == b'\n').map(judge).collect();
        // The last one has no end: only that it is too long can be said of it already.
        if expected.last().is_some_and(Result::is_ok) {
            expected.pop();
        }
        prop_assert_eq!(taken(&mut frames, &bytes, &lengths), expected);
        prop_assert!(frames.kept() <= limit);
    }

    #[test]
    fn whatever_a_frame_holds_it_is_a_request_or_gets_an_answer_of_one_line(
        frame in prop_oneof![
            vec(any::<u8>(), 0..60),
            "[ -~]{0,60}".prop_map(String::into_bytes),
            "\\{\"type\":\"?(ECHO|time|x|5)\"?,\"(data|id)\":[\\[\"0-9{e:.,-]{0,9}[\\]}\"]{0,4}\\}".prop_map(String::into_bytes),
        ]
    ) {
        if let Err(refusal) = Request::read(&frame) {
            let line = to_line(&refusal).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            prop_assert_eq!(serde_json::from_slice::<Response>(&line).ok(), Some(refusal));
        }
    }

    #[test]
    fn any_text_survives_the_way_into_a_frame_and_out_of_it(text in any::<String>()) {
        let request = Request::Echo(text.into());
        let line = to_line(&request).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut frames = Frames::new(usize::MAX);
        frames.put(&line);
        let frame = frames.next_frame().and_then(Result::ok);
        prop_assert_eq!(frame.map(Request::read), Some(Ok((request, None))));
        prop_assert!(!frames.is_cut());
    }
}
