//! Bytes are not messages: however the stream is cut, the same messages come out; and what is kept of it is bounded.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Instant;

use common::{Peer, code, server, status};
use serde_json::json;
use testkit::traffic::expect_end;

const MESSAGE: &str = "{\"type\":\"ECHO\",\"data\":\"grüße\"}\n";

#[test]
fn a_message_may_be_cut_at_any_byte() {
    let server = server(&["--show-reads"]);
    for cut in 1..MESSAGE.len() {
        let mut peer = Peer::new(&server);
        let name = peer.name();
        peer.write(&MESSAGE.as_bytes()[..cut]);
        let first = format!("{name} read {cut} bytes: whole messages 0, bytes kept {cut}");
        server.wait_for_line(|line| line == first);
        peer.write(&MESSAGE.as_bytes()[cut..]);
        assert_eq!(peer.answer(), json!({"type": "OK", "re": "ECHO", "data": "grüße"}), "cut after {cut} bytes");
        let second = format!("{name} read {} bytes: whole messages 1, bytes kept 0", MESSAGE.len() - cut);
        server.wait_for_line(|line| line == second);
        peer.finish();
    }
}

#[test]
fn a_message_may_come_byte_by_byte() {
    let server = server(&["--show-reads"]);
    let mut peer = Peer::new(&server);
    let name = peer.name();
    for (index, byte) in MESSAGE.as_bytes().iter().enumerate() {
        peer.write([*byte]);
        let kept = (index + 1) % MESSAGE.len();
        server.wait_for_line(|line| line.starts_with(&name) && line.ends_with(&format!("bytes kept {kept}")));
    }
    assert_eq!(peer.answer()["data"], "grüße");
    peer.finish();
    assert_eq!(server.count_lines("read 1 bytes"), MESSAGE.len());
}

#[test]
fn ten_messages_in_one_write_are_ten_messages_and_a_beginning_behind_them_waits_for_its_end() {
    let server = server(&["--show-reads"]);
    let mut peer = Peer::new(&server);
    let ten: String = (0..10).map(|id| format!("{{\"type\":\"TIME\",\"id\":{id}}}\n")).collect();
    peer.write(ten + "{\"type\":\"TI");
    for id in 0..10 {
        assert_eq!(peer.answer()["id"], id);
    }
    server.wait_for_line(|line| line.ends_with("whole messages 10, bytes kept 11"));
    peer.write("ME\",\"id\":10}\n");
    assert_eq!(peer.answer()["id"], 10);
    peer.finish();
}

#[test]
fn nodelay_lets_ten_answers_go_out_without_waiting_for_an_acknowledgement_of_the_first() {
    let fastest = |arguments: &[&str]| {
        let server = server(arguments);
        let mut peer = Peer::new(&server);
        let turn = |_| {
            let begin = Instant::now();
            peer.write("{\"type\":\"TIME\"}\n".repeat(10));
            (0..10).for_each(|_| drop(peer.answer()));
            begin.elapsed()
        };
        // At first a kernel acknowledges at once; it has to see a conversation before it takes its time.
        (0..40).map(turn).skip(20).min().unwrap()
    };
    let (without, with) = (fastest(&[]), fastest(&["--nodelay"]));
    assert!(without > 3 * with, "{without:?} without, {with:?} with it");
}

#[test]
fn twenty_thousand_requests_may_be_under_way_and_are_answered_in_their_order() {
    const COUNT: u64 = 20_000;
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    let mut writer = peer.stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let all: String = (0..COUNT).map(|id| format!("{{\"type\":\"ECHO\",\"data\":{id},\"id\":{id}}}\n")).collect();
        // Pieces that never end where a message does, but for chance.
        all.as_bytes().chunks(1013).for_each(|piece| writer.write_all(piece).unwrap());
    });
    for id in 0..COUNT {
        assert_eq!(peer.answer(), json!({"type": "OK", "re": "ECHO", "data": id, "id": id}));
    }
    sender.join().unwrap();
    peer.finish();
    server.wait_for_line(|line| line.ends_with(&format!(" finished: {COUNT} messages")));
}

#[test]
fn a_hundred_thousand_empty_lines_are_as_many_answers_and_no_memory() {
    const COUNT: usize = 100_000;
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    peer.is_served();
    let before = status(server.pid(), "VmHWM");
    let mut writer = peer.stream.try_clone().unwrap();
    let sender = thread::spawn(move || writer.write_all(&vec![b'\n'; COUNT]).unwrap());
    for _ in 0..COUNT {
        assert_eq!(code(&peer.answer()), "BAD_JSON");
    }
    sender.join().unwrap();
    peer.is_served();
    let grown = status(server.pid(), "VmHWM") - before;
    assert!(grown < 2048, "{grown} KiB more");
}

#[test]
fn ten_megabytes_without_a_newline_are_refused_once_cost_no_memory_and_the_next_message_is_served() {
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    peer.is_served();
    let before = status(server.pid(), "VmHWM");
    peer.write(vec![b'x'; 10_000_000]);
    // It is said before the end of the line is there.
    assert_eq!(code(&peer.answer()), "TOO_LONG");
    peer.write("\n");
    peer.is_served();
    let grown = status(server.pid(), "VmHWM") - before;
    assert!(grown < 1024, "{grown} KiB more");
    peer.finish();
    server.wait_for_line(|line| line.ends_with(" finished: 3 messages"));
}

#[test]
fn a_message_as_long_as_the_limit_is_served_and_one_byte_more_is_not() {
    for (arguments, limit) in [(vec!["--max-frame", "100"], 100), (vec![], 64 * 1024)] {
        let server = server(&arguments);
        let mut peer = Peer::new(&server);
        let message = |length: usize| {
            let text = "x".repeat(length - "{\"type\":\"ECHO\",\"data\":\"\"}".len());
            format!("{{\"type\":\"ECHO\",\"data\":\"{text}\"}}\n")
        };
        peer.write(message(limit));
        assert_eq!(peer.answer()["type"], "OK");
        peer.write(message(limit + 1));
        assert_eq!(code(&peer.answer()), "TOO_LONG");
        peer.write(message(limit));
        assert_eq!(peer.answer()["type"], "OK");
        peer.finish();
    }
}

#[test]
fn a_message_that_the_end_of_the_connection_cuts_off_is_not_answered_and_the_log_says_so() {
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    peer.is_served();
    // Whole to the eye, but nobody can know that nothing would have followed.
    peer.write("{\"type\":\"TIME\"}");
    peer.stream.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut peer.stream);
    server.wait_for_line(|line| line.ends_with(" finished: 1 messages, and one cut off by the end"));
}

#[test]
fn a_reset_in_the_middle_of_a_message_harms_only_the_client_that_it_came_from() {
    let server = server(&["--show-reads"]);
    let mut other = Peer::new(&server);
    other.is_served();
    let mut peer = Peer::new(&server);
    peer.is_served();
    peer.write("{\"type\":");
    server.wait_for_line(|line| line.ends_with("bytes kept 8"));
    peer.reset();
    server.wait_for_line(|line| line.contains(" lost after 1 messages: read ") && line.contains("ECONNRESET"));
    other.is_served();
    Peer::new(&server).is_served();
}
