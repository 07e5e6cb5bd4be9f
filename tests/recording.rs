//! Recordings, from the library that writes them through the command that replays them to the tools that read the rest.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;
#[path = "common/events.rs"]
mod events;
#[path = "common/sample.rs"]
mod sample;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::socklab;
use events::{any_event, any_header, cases};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use socklab::event::{Event, What};
use socklab::record::{Header, Reader, Writer};
use testkit::namespace::or_skip;
use testkit::process::{Directory, Ended, run};
use testkit::traffic::runs;

fn recorded(header: &Header, events: &[Event], with_packets: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header, with_packets).unwrap();
    events.iter().for_each(|event| writer.event(event).unwrap());
    writer.finish().unwrap()
}

/// The sample run as a file in a directory of its own.
fn sample_file() -> (Directory, PathBuf) {
    let directory = Directory::new();
    let path = directory.path().join("run.jsonl");
    fs::write(&path, recorded(&sample::header(), &sample::events(), true)).unwrap();
    (directory, path)
}

fn replay(file: &Path, options: &[&str]) -> Ended {
    run(socklab(&["replay"]).arg(file).args(options))
}

fn stdout_of(ended: &Ended) -> String {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    String::from_utf8(ended.stdout.clone()).unwrap()
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn whatever_is_recorded_is_read_back_as_it_was(header in any_header(), events in vec(any_event(), 0..6)) {
        let bytes = recorded(&header, &events, true);
        let reader = Reader::open(bytes.as_slice()).unwrap();
        prop_assert_eq!(reader.header(), &header);
        let read: Vec<Event> = reader.map(Result::unwrap).collect();
        prop_assert_eq!(read, events);
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), bytes.split(|b| *b == b'\n').count() - 1);
    }
}

#[test]
fn a_replay_prints_what_the_recording_says_about_itself_and_a_line_per_event() {
    let (_directory, file) = sample_file();
    let expected = "\
an echo of six bytes
recorded 2026-03-21T14:05:09.123456789Z Linux 6.18.5 x86_64
observed: calls, states and segments
command: target/debug/lab1-server --port 7001
command: target/debug/lab1-client --port 7001

0.000100 [server 812]   starts: target/debug/lab1-server --port 7001
0.001000 [kernel]       127.0.0.1:7001  new → LISTEN  accept queue 0/128  lab1-server[812] fd 3
0.002000 [client 815]   connect(3<TCP>, 127.0.0.1:7001, 16) …
0.002010 [wire]         client :51234 → server  S  seq 0 win 64240 <mss 65495,sackOK,ws 7>
0.002015 [wire]         server → client :51234  S. seq 0 ack 1 win 65483 <mss 65495,sackOK,ws 7>
0.002020 [wire]         client :51234 → server  .  ack 1 win 502
0.002040 [client 815]   … connect(3<TCP>, 127.0.0.1:7001, 16) = 0  after 40 µs
0.002100 [server 812]   accept4(3<listen :7001>, SOCK_CLOEXEC) = 4<127.0.0.1:7001 ← :51234>
0.003000 [client 815]   sendto(3<127.0.0.1:51234 → :7001>, \"hello\\n\", 6, MSG_NOSIGNAL) …
0.003010 [wire]         client :51234 → server  P. seq 1:7 ack 1 win 502 length 6
0.003030 [client 815]   … sendto(3<127.0.0.1:51234 → :7001>, \"hello\\n\", 6, MSG_NOSIGNAL) = 6  after 30 µs
0.003040 [wire]         server → client :51234  .  ack 7 win 512
0.004000 [client 815]   close(3<127.0.0.1:51234 → :7001>) …
0.004010 [wire]         client :51234 → server  F. seq 7 ack 1 win 502
0.004030 [client 815]   … close(3<127.0.0.1:51234 → :7001>) = 0  after 30 µs
0.005000 [wire]         server → client :51234  .  ack 8 win 512
0.005500 [client 815]   has ended, exit code 0
";
    let shown = stdout_of(&replay(&file, &[]));
    let shown: Vec<&str> = shown.lines().map(str::trim_start).collect();
    assert_eq!(shown, expected.lines().collect::<Vec<_>>());
}

#[test]
fn a_replay_writes_the_same_recording_again_with_packets_or_without() {
    let (directory, file) = sample_file();
    let bytes = fs::read(&file).unwrap();
    assert_eq!(replay(&file, &["--record", "-"]).stdout, bytes);
    let bare = recorded(&sample::header(), &sample::events(), false);
    assert!(bare.len() < bytes.len());
    assert_eq!(replay(&file, &["--json", "-"]).stdout, bare);
    let (json, record) = (directory.path().join("json"), directory.path().join("record"));
    let options = ["--quiet", "--json", json.to_str().unwrap(), "--record", record.to_str().unwrap()];
    assert_eq!(stdout_of(&replay(&file, &options)), "");
    assert_eq!((fs::read(&json).unwrap(), fs::read(&record).unwrap()), (bare, bytes));
}

#[test]
fn a_recording_may_come_through_a_pipe() {
    let (_directory, file) = sample_file();
    let from_pipe = |file: &Path| {
        let mut command = socklab(&["replay", "-"]);
        command.stdin(File::open(file).unwrap()).stderr(Stdio::piped()).output().unwrap()
    };
    let output = from_pipe(&file);
    assert!(output.status.success());
    assert_eq!(output.stdout, replay(&file, &[]).stdout);
    fs::write(&file, "{").unwrap();
    let told = String::from_utf8(from_pipe(&file).stderr).unwrap();
    assert!(told.starts_with("socklab: standard input:1:2: no recording: the last line is cut off"), "{told}");
}

#[test]
fn a_malformed_recording_is_shown_up_to_the_fault_and_the_fault_is_told_with_its_place() {
    let (directory, file) = sample_file();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let bad = lines[3].replace("\"called\"", "\"cal\x1b[2Jled\"");
    assert_ne!(bad, lines[3]);
    let bad = [&lines[..3], &[bad.as_str()], &lines[4..]].concat().join("\n").replace('\x1b', "\\u001b");
    fs::write(&file, bad).unwrap();
    let json = directory.path().join("json");
    let ended = replay(&file, &["--json", json.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    let column = lines[3].find("\"called\"").unwrap() + "\"cal\\u001b[2Jled\"".len();
    let expected = format!("socklab: {}:4:{column}: unknown variant `cal\\u{{1b}}[2Jled`, expected", file.display());
    assert!(ended.stderr.starts_with(&expected) && ended.stderr.contains("`called`"), "{}", ended.stderr);
    let shown = String::from_utf8(ended.stdout).unwrap();
    assert!(shown.ends_with("new → LISTEN  accept queue 0/128  lab1-server[812] fd 3\n"), "{shown}");
    let kept = recorded(&sample::header(), &sample::events()[..2], false);
    assert_eq!(fs::read(&json).unwrap(), kept);
}

#[test]
fn a_recording_that_is_not_there_or_is_none_is_told_by_its_name() {
    let directory = Directory::new();
    for (name, expected) in [
        ("missing", format!("read {}/missing: ENOENT (No such file or directory)", directory.path().display())),
        (".", format!("read {}/.: EISDIR (Is a directory) (line 1)", directory.path().display())),
    ] {
        let ended = replay(&directory.path().join(name), &[]);
        assert_eq!((ended.code, ended.stderr), (Some(1), format!("socklab: {expected}\n")));
    }
    let ended = replay(Path::new("/proc/self/exe"), &[]);
    assert!(ended.stderr.starts_with("socklab: /proc/self/exe:1:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("no recording"), "{}", ended.stderr);
}

#[test]
fn a_file_that_cannot_be_written_is_told_of_before_anything_is_shown() {
    let (directory, file) = sample_file();
    for option in ["--json", "--record", "--pcapng", "--html"] {
        let ended = replay(&file, &[option, "/nowhere/x"]);
        assert_eq!(ended.code, Some(1));
        assert_eq!(ended.stderr, "socklab: write /nowhere/x: ENOENT (No such file or directory)\n");
        assert!(ended.stdout.is_empty());
    }
    // What was in the other file is still there.
    let other = directory.path().join("other");
    fs::write(&other, "kept").unwrap();
    replay(&file, &["--json", other.to_str().unwrap(), "--record", "/nowhere/x"]);
    assert_eq!(fs::read(&other).unwrap(), b"kept");
}

#[test]
fn a_full_disk_is_told_by_the_name_of_the_file() {
    let (_directory, file) = sample_file();
    for option in ["--json", "--record", "--pcapng"] {
        let ended = replay(&file, &["--quiet", option, "/dev/full"]);
        assert_eq!(ended.code, Some(1), "{option}");
        assert_eq!(ended.stderr, "socklab: write /dev/full: ENOSPC (No space left on device)\n");
    }
    let mut command = socklab(&["replay", "--record", "-"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command.arg(&file).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "socklab: write to standard output: ENOSPC (No space left on device)\n");
}

#[test]
fn one_file_is_never_written_twice_nor_while_it_is_read() {
    let (directory, file) = sample_file();
    let before = fs::read(&file).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let ended = replay(&file, &["--record", link.to_str().unwrap()]);
    assert!(ended.stderr.contains("that is the recording itself"), "{}", ended.stderr);
    let other = directory.path().join("other");
    let other = other.to_str().unwrap();
    for (one, another) in [(other, other), ("-", "-")] {
        let ended = replay(&file, &["--json", one, "--record", another]);
        assert!(ended.stderr.starts_with("socklab: --json and --record would both write"), "{}", ended.stderr);
        assert_eq!((ended.code, ended.stdout.len()), (Some(1), 0));
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn nothing_in_a_hostile_recording_reaches_the_terminal_as_it_is() {
    let mut runner = TestRunner::deterministic();
    let events = vec(any_event(), 1500..1501).new_tree(&mut runner).unwrap().current();
    for kind in names_of::<What>("{\"what\":\"\",\"is\":0}") {
        let is_there = |event: &Event| serde_json::to_value(event).unwrap()["what"] == kind.as_str();
        assert!(events.iter().any(is_there), "no event of kind {kind}");
    }
    let evil = || "\x1b]0;owned\x07\u{9b}2J\r\n\x7f\u{202e}".to_owned();
    let mut header = sample::header();
    (header.title, header.rung, header.kernel, header.machine) = (evil(), evil(), evil(), evil());
    header.commands = vec![evil()];
    let directory = Directory::new();
    let file = directory.path().join("hostile\x1b[2J.jsonl");
    fs::write(&file, [recorded(&header, &events, true), b"{\"at\x1b\":".to_vec()].concat()).unwrap();
    // Colours on: without them, escape sequences would be taken out again at the end.
    let ended = run(socklab(&["replay"]).arg(&file).env("CLICOLOR_FORCE", "1"));
    assert_eq!(ended.code, Some(1));
    let shown = String::from_utf8(ended.stdout).unwrap();
    assert!(shown.lines().count() > 1000);
    for text in [&without_own_styles(&shown), &ended.stderr] {
        let is_bad = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
        let bad = text.lines().find(|line| line.chars().any(|c| is_bad(&c)));
        assert_eq!(bad, None);
    }
    // Each of its lines begins as a line of the timeline does, or is one of the lines about the run.
    let plain = run(socklab(&["replay"]).arg(&file).env("NO_COLOR", "1"));
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(!plain.contains('\x1b'));
    for line in plain.lines().skip(5) {
        let (time, _) = line.trim_start().split_once(' ').unwrap();
        assert!(time.parse::<f64>().is_ok(), "{line:?}");
    }
}

/// Without the escape sequences that the timeline itself puts around an owner or a state: colours and weights.
fn without_own_styles(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, behind)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let (code, behind) = behind.split_once('m').unwrap();
        let is_own = ["0", "1", "2", "32", "33", "34", "35", "36"].contains(&code);
        plain.push_str(if is_own { "" } else { "\x1b" });
        rest = behind;
    }
    plain + rest
}

/// The names of an enum's variants, as the parser tells them to whoever gives it another one.
fn names_of<T: serde::de::DeserializeOwned>(json: &str) -> Vec<String> {
    let Err(error) = serde_json::from_str::<T>(json) else { panic!("{json} is one of them") };
    let error = error.to_string();
    let (_, expected) = error.split_once(", expected ").unwrap_or_else(|| panic!("{error}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What tshark reads of each packet, a field per column.
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    // Its colours, its profile and its names for addresses are nobody's here.
    command.env("HOME", "/nowhere").args(["-n", "-T", "fields", "-E", "occurrence=f", "-r"]).arg(file);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = String::from_utf8(output.stdout).unwrap();
    rows.lines().map(|row| row.split('\t').map(str::to_owned).collect()).collect()
}

/// The sample run's capture, as the command writes it; `None` where there is no tshark.
fn capture(what: &str, events: &[Event]) -> Option<(Directory, PathBuf)> {
    if !or_skip(what, runs("tshark", &["--version"])) {
        return None;
    }
    let directory = Directory::new();
    let (recording, capture) = (directory.path().join("run.jsonl"), directory.path().join("run.pcapng"));
    fs::write(&recording, recorded(&sample::header(), events, true)).unwrap();
    stdout_of(&replay(&recording, &["--pcapng", capture.to_str().unwrap()]));
    Some((directory, capture))
}

#[test]
fn tshark_reads_every_segment_as_the_events_tell_it() {
    let Some((_directory, file)) = capture("the capture in tshark", &sample::events()) else { return };
    let fields = [
        "frame.time_epoch",
        "tcp.srcport",
        "tcp.dstport",
        "tcp.flags",
        "tcp.seq",
        "tcp.ack",
        "tcp.len",
        "frame.cap_len",
        "frame.len",
        "tcp.options.mss_val",
        "tcp.options.wscale.shift",
    ];
    let expected: Vec<Vec<String>> = sample::events()
        .iter()
        .filter_map(|event| match &event.what {
            What::Segment(segment) => Some((event.at, segment)),
            _ => None,
        })
        .map(|(at, segment)| {
            let nanos = u64::from(sample::STARTED.1) + at.as_nanos() as u64;
            let (mss, scale) = if segment.flags.syn() { ("65495", "7") } else { ("", "") };
            vec![
                format!("{}.{nanos:09}", sample::STARTED.0),
                segment.from.port().to_string(),
                segment.to.port().to_string(),
                format!("0x{:04x}", segment.flags.0),
                segment.relative_seq.to_string(),
                segment.relative_ack.to_string(),
                segment.length.to_string(),
                segment.packet.len().to_string(),
                segment.packet_length.to_string(),
                mss.into(),
                scale.into(),
            ]
        })
        .collect();
    assert_eq!(expected.len(), 7);
    assert_eq!(tshark(&file, &fields), expected);
}

#[test]
fn tshark_reads_the_direction_of_each_packet_and_the_call_during_which_it_was_sent() {
    let Some((_directory, file)) = capture("directions and comments in tshark", &sample::events()) else { return };
    let read = tshark(&file, &["frame.packet_flags_direction", "frame.comment"]);
    let connect = "during connect(3<TCP>, 127.0.0.1:7001, 16) by client (pid 815)";
    let send = r#"during sendto(3<127.0.0.1:51234 → :7001>, "hello\n", 6, MSG_NOSIGNAL) by client (pid 815)"#;
    let close = "during close(3<127.0.0.1:51234 → :7001>) by client (pid 815)";
    let expected = [
        ("0x00000001", connect),
        // What answers a segment is sent by the kernel, during no call of its own side.
        ("0x00000002", ""),
        ("0x00000001", ""),
        ("0x00000001", send),
        ("0x00000002", ""),
        ("0x00000001", close),
        ("0x00000002", ""),
    ];
    let read: Vec<(&str, &str)> = read.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    assert_eq!(read, expected);
}

#[test]
fn tshark_reads_what_the_capture_says_about_the_run() {
    if !or_skip("the capture's header in capinfos", runs("capinfos", &["--version"])) {
        return;
    }
    let Some((_directory, file)) = capture("the capture's header", &sample::events()) else { return };
    let output = Command::new("capinfos").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "Wireshark/... - pcapng",
        "Raw IP",
        "nanoseconds (9)",
        "Number of packets:   7",
        "Capture hardware:    x86_64",
        "Capture oper-sys:    Linux 6.18.5",
        &format!("Capture application: socklab {}", env!("CARGO_PKG_VERSION")),
        "Capture comment:     an echo of six bytes",
        "Name = lo",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn a_packet_of_which_only_the_beginning_was_captured_has_its_whole_length_too() {
    let mut events = sample::events();
    for event in &mut events {
        if let What::Segment(segment) = &mut event.what {
            segment.packet.truncate(40);
        }
    }
    let Some((_directory, file)) = capture("cut packets in tshark", &events) else { return };
    let lengths = tshark(&file, &["frame.cap_len", "frame.len"]);
    assert_eq!(lengths[3], ["40", "46"]);
}

#[test]
fn segments_without_their_bytes_are_counted_and_told_of() {
    let directory = Directory::new();
    let (bare, file) = (directory.path().join("bare"), directory.path().join("x.pcapng"));
    fs::write(&bare, recorded(&sample::header(), &sample::events(), false)).unwrap();
    let expected = format!("{}: 0 packets; the bytes of 7 more segments were not recorded", file.display());
    let shown = stdout_of(&replay(&bare, &["--pcapng", file.to_str().unwrap()]));
    assert_eq!(shown.lines().last().unwrap(), expected);
    let ended = replay(&bare, &["--quiet", "--pcapng", file.to_str().unwrap()]);
    assert_eq!(ended.stderr, format!("socklab: {expected}\n"));
}

#[test]
fn the_port_of_the_server_is_learned_from_the_recording_where_the_header_does_not_know_it() {
    let directory = Directory::new();
    let file = directory.path().join("run.jsonl");
    let header = Header { server_port: None, ..sample::header() };
    fs::write(&file, recorded(&header, &sample::events(), true)).unwrap();
    let shown = stdout_of(&replay(&file, &[]));
    assert!(shown.contains("client :51234 → server  S  seq 0"), "{shown}");
}

const DOCUMENT: &str = include_str!("../docs/events.md");

/// The lines of every block of JSON in the document.
fn documented_lines() -> Vec<&'static str> {
    let blocks = DOCUMENT.split("```json\n").skip(1);
    blocks.flat_map(|block| block.split_once("\n```").unwrap().0.lines()).collect()
}

/// Every object in the value, itself included, with the key that it stands under.
fn walk<'a>(key: &'a str, value: &'a serde_json::Value, visit: &mut impl FnMut(&'a str, &'a serde_json::Value)) {
    visit(key, value);
    match value {
        serde_json::Value::Object(object) => object.iter().for_each(|(key, value)| walk(key, value, visit)),
        serde_json::Value::Array(values) => values.iter().for_each(|value| walk(key, value, visit)),
        _ => {}
    }
}

/// The names of variants that stand under a key: a text, or the only key of an object.
fn variants_under(key: &str) -> BTreeSet<String> {
    let values: Vec<serde_json::Value> =
        documented_lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut names = BTreeSet::new();
    for value in &values {
        walk("", value, &mut |under, value| match value {
            serde_json::Value::String(name) if under == key => drop(names.insert(name.clone())),
            serde_json::Value::Object(object) if under == key => names.extend(object.keys().cloned()),
            _ => {}
        });
    }
    names
}

#[test]
fn every_line_in_the_document_is_a_line_as_it_would_be_written() {
    let lines = documented_lines();
    assert!(lines.len() > 20);
    let mut events = Vec::new();
    for line in &lines {
        match serde_json::from_str::<Event>(line) {
            Ok(event) => {
                assert_eq!(&serde_json::to_string(&event).unwrap(), line);
                events.push(event);
            }
            Err(error) => assert!(line.starts_with("{\"socklab\":1,"), "{line}: {error}"),
        }
    }
    let header = recorded(&sample::header(), &[], true);
    assert_eq!(String::from_utf8(header).unwrap().trim_end(), lines[0]);
    // Each can be shown as well.
    let directory = Directory::new();
    let file = directory.path().join("run.jsonl");
    fs::write(&file, recorded(&sample::header(), &events, true)).unwrap();
    let shown = stdout_of(&replay(&file, &[]));
    assert!(shown.contains("option 253 of 2 bytes") && shown.contains("has ended"), "{shown}");
}

#[test]
fn every_kind_of_event_owner_descriptor_and_option_is_in_the_document_with_a_line_of_its_own() {
    use socklab::event::{End, Named, SegmentOption, Who};
    let whats: BTreeSet<String> = documented_lines()
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["what"].as_str().map(str::to_owned))
        .collect();
    let wrong = r#"{"?":0}"#;
    for (known, documented) in [
        (names_of::<What>(r#"{"what":"?","is":0}"#), whats),
        (names_of::<Who>(wrong), variants_under("who")),
        (names_of::<Named>(wrong), variants_under("names")),
        (names_of::<SegmentOption>(wrong), variants_under("options")),
    ] {
        assert!(known.len() >= 4, "{known:?}");
        let missing: Vec<&String> = known.iter().filter(|name| !documented.contains(*name)).collect();
        assert!(missing.is_empty(), "not in docs/events.md: {missing:?}");
    }
    for name in names_of::<End>(wrong) {
        assert!(DOCUMENT.contains(&format!("{{\"{name}\":")), "not in docs/events.md: {name}");
    }
}

#[test]
fn every_key_is_explained_in_the_document() {
    let mut keys = BTreeSet::new();
    for line in documented_lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        walk("", &value, &mut |_, value| {
            keys.extend(value.as_object().into_iter().flat_map(serde_json::Map::keys).cloned());
        });
    }
    let explained =
        |key: &String| DOCUMENT.contains(&format!("`{key}`")) || DOCUMENT.contains(&format!("`{{\"{key}\":"));
    let missing: Vec<&String> = keys.iter().filter(|key| !explained(key)).collect();
    assert!(keys.len() > 50 && missing.is_empty(), "of {} keys these are not explained: {missing:?}", keys.len());
}

#[test]
fn every_name_of_a_state_a_protocol_and_a_timer_is_in_the_document() {
    use socklab::event::{Protocol, State, TimerKind, Transport};
    let names = [
        State::ALL.iter().map(|state| state.name().to_owned()).collect(),
        names_of::<Protocol>("\"?\""),
        names_of::<TimerKind>("\"?\""),
        names_of::<Transport>("\"?\""),
    ];
    for name in names.concat() {
        assert!(DOCUMENT.contains(&format!("`{name}`")), "not in docs/events.md: {name}");
    }
}
