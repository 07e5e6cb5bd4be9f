//! What must hold whatever comes in. tests/protocol.rs calls it with what proptest makes up, and `fuzz/` with what libFuzzer does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is what a check is for")]

use jiff::Timestamp;
use lab07_chat::frames::{Frames, TooLong};
use lab07_chat::hub::{ConnectionId, HistoryLimits, Hub};
use lab07_chat::protocol::{Asked, LONGER, Line, Request, parse};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A stream of bytes, cut into reads of the given sizes, gives the frames that stand between its newlines.
pub fn frames(bytes: &[u8], limit: usize, sizes: &[usize]) {
    let mut frames = Frames::new(limit);
    let mut got: Vec<Result<Vec<u8>, TooLong>> = Vec::new();
    let mut sizes = sizes.iter().map(|&size| size.max(1)).chain(std::iter::repeat(usize::MAX));
    let mut rest = bytes;
    while !rest.is_empty() {
        let (read, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        frames.put(read);
        while let Some(frame) = frames.next_frame() {
            got.push(frame.map(<[u8]>::to_vec));
        }
        rest = after;
    }
    let as_told = |frame: &[u8]| if frame.len() > limit { Err(TooLong) } else { Ok(frame.to_vec()) };
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let cut = lines.pop().unwrap();
    let mut expected: Vec<_> = lines.into_iter().map(as_told).collect();
    // Of the one that has no end yet, only that it is too long can be known.
    expected.extend((cut.len() > limit).then_some(Err(TooLong)));
    assert_eq!(got, expected);
    assert_eq!(frames.is_cut(), !cut.is_empty() && cut.len() <= limit);
}

/// What any answer consists of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    re: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    code: Option<&'a str>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// One line, of JSON that any parser can read.
fn text(line: &[u8]) -> &str {
    let text = str::from_utf8(line).expect("a line is UTF-8");
    let text = text.strip_suffix('\n').expect("a line ends with a newline");
    assert!(!text.contains('\n'), "more than one line: {text}");
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => assert!(value.is_object(), "{text}"),
        // What was sent is repeated as it is, be the number ever so large.
        Err(error) => assert!(error.to_string().contains("number out of range"), "{error}: {text}"),
    }
    text
}

/// An answer to this frame: it says what it answers, repeats the id, and is not much longer.
fn answers(line: &Line, asked: &Asked<'_>, longest: usize) {
    let text = text(line);
    assert!(text.len() <= longest + LONGER, "{} bytes for {longest}: {text}", text.len());
    let answer: Answer<'_> = serde_json::from_str(text).expect("an answer has the keys of an answer");
    assert_eq!(answer.id.map(RawValue::get), asked.id.map(RawValue::get));
    match answer.kind {
        "OK" => {
            assert!(asked.request.is_ok() && answer.re.get() != "null", "{text}");
            assert!(answer.data.is_some() && answer.code.is_none() && answer.message.is_none(), "{text}");
            if let Ok(Request::Echo { data }) = &asked.request {
                assert_eq!(answer.data.map(RawValue::get), Some(data.get()));
            }
        }
        "ERROR" => assert!(answer.data.is_none() && answer.code.is_some() && answer.message.is_some(), "{text}"),
        other => panic!("{other}"),
    }
}

/// Whatever a conversation consists of, every frame has one answer, and whoever is told something is registered.
///
/// Each line is a frame, its first byte the connection that it comes from; the byte 255 ends a connection.
pub fn conversation(bytes: &[u8]) {
    let max_frame = bytes.len();
    let mut hub = Hub::new(HistoryLimits { messages: 5, bytes: 1000, max_frame });
    for line in bytes.split(|&byte| byte == b'\n') {
        let Some((&first, frame)) = line.split_first() else { continue };
        let from = ConnectionId::from(first % 4);
        let was_registered = hub.is_registered(from);
        let before = hub.count();
        if first == u8::MAX {
            let left = hub.leave(from);
            assert_eq!(left.is_some(), was_registered);
            left.iter().for_each(|line| assert!(text(line).contains("LEFT")));
        } else {
            let asked = parse(frame);
            let reaction = hub.handle(from, &asked, Timestamp::UNIX_EPOCH);
            let longest = match asked.request {
                Ok(Request::ListMessages { .. }) => max_frame,
                _ => frame.len(),
            };
            answers(&reaction.answer, &asked, longest);
            assert_eq!(reaction.ends, matches!(asked.request, Ok(Request::Quit)));
            if let Some(event) = &reaction.event {
                assert!(text(event).len() <= frame.len() + LONGER);
                assert!(hub.is_registered(from), "only who is registered is heard of");
            }
        }
        let others: Vec<_> = hub.others(from).collect();
        assert!(others.iter().all(|&other| hub.is_registered(other) && other != from));
        assert_eq!(others.len() + usize::from(hub.is_registered(from)), hub.count());
        assert!(hub.count().abs_diff(before) <= 1);
        let mut names: Vec<_> = (0..4).filter_map(|connection| hub.name(connection)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), hub.count(), "two have one name");
    }
}

/// One frame alone has one answer, as a yes and as a no.
pub fn frame(bytes: &[u8]) {
    let asked = parse(bytes);
    let refusal = asked.request.clone().err();
    if let Some(refusal) = refusal {
        answers(&asked.error(&refusal), &asked, bytes.len());
    } else {
        answers(&asked.ok(()), &asked, bytes.len());
    }
}
