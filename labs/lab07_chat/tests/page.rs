//! docs/chat-protocol.md says what the code does: its conversation is played, its tables are held against the code.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

use std::collections::{BTreeMap, VecDeque};

use lab07_chat::hub::{HistoryLimits, Hub};
use lab07_chat::protocol::{Code, DEEPEST, Kind, LONGER, parse};
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/chat-protocol.md");

/// The lines of all blocks of one kind.
fn lines_of(kind: &str) -> Vec<&'static str> {
    let opening = format!("```{kind}");
    let mut lines = Vec::new();
    let mut rest = PAGE.lines();
    while rest.by_ref().any(|line| line == opening) {
        lines.extend(rest.by_ref().take_while(|&line| line != "```"));
    }
    assert!(!lines.is_empty(), "the page has no block of {kind}");
    lines
}

#[test]
fn the_conversation_on_the_page_is_what_the_hub_says() {
    let now = "2026-03-21T14:05:09.123Z".parse().unwrap();
    let mut hub = Hub::new(HistoryLimits::default());
    let mut waiting: BTreeMap<u64, VecDeque<String>> = BTreeMap::new();
    let people = ["Alice", "Bob"];
    for line in lines_of("text") {
        let (who, what) = line.split_at(6);
        let from = people.iter().position(|&name| name == who.trim()).unwrap_or_else(|| panic!("{line}")) as u64;
        if let Some(expected) = what.strip_prefix("< ") {
            assert_eq!(waiting.entry(from).or_default().pop_front().as_deref(), Some(expected));
            continue;
        }
        let request = what.strip_prefix("> ").unwrap_or_else(|| panic!("{line}"));
        let reaction = hub.handle(from, &parse(request.as_bytes()), now);
        let mut tell = |whom: u64, line: &[u8]| {
            let line = str::from_utf8(line).unwrap().trim_end_matches('\n');
            waiting.entry(whom).or_default().push_back(line.to_owned());
        };
        tell(from, &reaction.answer);
        let left = if reaction.ends { hub.leave(from) } else { None };
        for event in reaction.event.iter().chain(&left) {
            hub.others(from).for_each(|other| tell(other, event));
        }
    }
    assert!(waiting.values().all(VecDeque::is_empty), "not on the page: {waiting:?}");
}

#[test]
fn every_line_of_json_on_the_page_is_json() {
    for line in lines_of("json") {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn the_page_has_a_row_for_every_request_and_every_code_and_no_others() {
    let rows = |heading: &str| -> Vec<&str> {
        let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
        let words = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        words.filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase())).collect()
    };
    assert_eq!(rows("Requests\n"), Kind::ALL.map(Kind::word));
    let (mut codes, mut expected) = (rows("Codes\n"), Code::ALL.map(Code::word));
    codes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(codes, expected);
}

#[test]
fn the_numbers_on_the_page_are_those_of_the_code() {
    assert!(PAGE.contains(&format!("more than {DEEPEST} arrays and objects")));
    assert!(PAGE.contains(&format!("At most {LONGER} bytes more than `--max-frame`")));
    assert!(PAGE.contains(&format!("; {} when it is left out", lab07_chat::hub::USUAL_COUNT)));
    assert!(PAGE.contains(&format!("1 to {} characters", lab07_chat::names::LONGEST)));
    let HistoryLimits { messages, bytes, max_frame } = HistoryLimits::default();
    assert_eq!((messages, bytes, max_frame), (1000, 1024 * 1024, 64 * 1024));
    assert!(PAGE.contains("| 1,000, or 1 MiB of them |") && PAGE.contains("| `--max-frame` | 64 KiB |"));
}
