//! What one client may take: memory, requests, time, a place.

use std::io::Write;
use std::thread;

use serde_json::json;
use testkit::tcp::wait_until;

use crate::chat::{Client, code, memory, request, server, still_serves};

/// How much somebody may have been sent in vain before it has to be noticed: more than all of the kernel's buffers.
const PLENTY: usize = 64 << 20;

#[test]
fn who_does_not_read_is_let_go_and_everybody_else_hears_all_of_it() {
    let server = server(&[]);
    let to = server.address();
    let mut deaf = Client::named(to, "Deaf");
    let deaf_address = deaf.address().to_string();
    let mut listener = Client::named(to, "Listener");
    let mut speaker = Client::named(to, "Speaker");
    assert_eq!(listener.event()["data"], "Speaker");
    let text = "x".repeat(60_000);
    let mut said = 0;
    // Step by step: the listener and the speaker get on at every step, before, while and after the other is let go.
    let say_one = |speaker: &mut Client, listener: &mut Client, said: &mut usize| {
        *said += 1;
        assert!(*said * text.len() < PLENTY, "it is still there");
        speaker.say(&format!("{said} {text}"));
        loop {
            let event = listener.event();
            if event["type"] == "BROADCAST" {
                assert_eq!(event["data"].as_str().and_then(|data| data.split(' ').next()), Some(&*said.to_string()));
                break;
            }
            assert_eq!(event, json!({"type":"LEFT","data":"Deaf"}));
        }
    };
    while server.count_lines("SLOW_CONSUMER") == 0 {
        say_one(&mut speaker, &mut listener, &mut said);
    }
    let line = server.wait_for_line(|line| line.contains("SLOW_CONSUMER"));
    assert!(line.starts_with(&deaf_address) && line.contains("(Deaf)") && line.contains("dropped"), "{line}");
    let said_to_it = said;
    for _ in 0..5 {
        say_one(&mut speaker, &mut listener, &mut said);
    }
    // It reads after all: whole lines, the first ones of all, in order, and then why there are no more.
    let mut heard = deaf.rest();
    assert_eq!(code(&heard.pop().expect("a last line")), "SLOW_CONSUMER");
    let broadcasts: Vec<_> = heard.iter().filter(|line| line["type"] == "BROADCAST").collect();
    for (number, line) in broadcasts.iter().enumerate() {
        let data = line["data"].as_str().expect("a text");
        assert_eq!(data.split(' ').next(), Some(&*(number + 1).to_string()));
    }
    assert!(broadcasts.len() < said_to_it, "{} of {said_to_it}", broadcasts.len());
    assert_eq!(server.count_lines("SLOW_CONSUMER"), 1);
}

#[test]
fn a_queue_of_one_byte_or_one_message_is_enough_for_who_reads() {
    for limit in ["--queue-bytes", "--queue-messages"] {
        let server = server(&[limit, "1"]);
        let mut speaker = Client::named(server.address(), "Speaker");
        let mut listener = Client::named(server.address(), "Listener");
        let lines: String = (0..1000).map(|n| request("MESSAGE", &n.to_string()) + "\n").collect();
        speaker.send_bytes(lines.as_bytes());
        for number in 0..1000 {
            assert_eq!(listener.event()["data"], number.to_string());
        }
        for _ in 0..1000 {
            assert_eq!(speaker.answer()["data"], 1);
        }
        assert_eq!(server.count_lines("SLOW_CONSUMER"), 0);
    }
}

#[test]
fn a_queue_is_bounded_by_its_messages_too() {
    let server = server(&["--queue-messages", "10", "--queue-bytes", "1073741824"]);
    let _deaf = Client::named(server.address(), "Deaf");
    let mut speaker = Client::named(server.address(), "Speaker");
    let text = "x".repeat(60_000);
    let mut said = 0;
    while server.count_lines("SLOW_CONSUMER") == 0 {
        said += text.len();
        assert!(said < PLENTY, "it is still there");
        speaker.say(&text);
    }
    // The kernel has taken a part of the first line, whose rest goes out all the same; or it has not.
    let line = server.wait_for_line(|line| line.contains("SLOW_CONSUMER"));
    assert!(["; 10 lines", "; 9 lines"].iter().any(|lost| line.contains(lost)), "{line}");
}

#[test]
fn ten_who_do_not_read_hold_no_more_than_their_ten_queues() {
    const QUEUE: usize = 256 * 1024;
    let server = server(&["--queue-bytes", &QUEUE.to_string(), "--history", "0"]);
    let mut speaker = Client::named(server.address(), "Speaker");
    let _deaf: Vec<_> = (0..10).map(|n| Client::named(server.address(), &format!("Deaf{n}"))).collect();
    let text = "x".repeat(60_000);
    let before = memory(server.pid(), "VmHWM");
    let mut said = 0;
    while server.count_lines("SLOW_CONSUMER") < 10 {
        said += text.len();
        assert!(said < PLENTY, "they are still there");
        speaker.say(&text);
    }
    // A vector grows by doubling: twice the queue and a line at the most, while it is moved three times.
    let grown = memory(server.pid(), "VmHWM") - before;
    assert!(said * 10 > 4 * grown && grown < 10 * 3 * (QUEUE + 64 * 1024), "{grown} bytes for {said} that were said");
}

#[test]
fn who_asks_and_does_not_read_the_answers_is_not_read_from_and_loses_nothing() {
    const REQUESTS: usize = 20_000;
    let server = server(&["--queue-bytes", "200000"]);
    let mut client = Client::connect(server.address());
    let mut writer = client.socket().try_clone().expect("a descriptor more");
    let writing = thread::spawn(move || {
        let piece = (request("ECHO", &"x".repeat(1000)) + "\n").repeat(100);
        for _ in 0..REQUESTS / 100 {
            writer.write_all(piece.as_bytes()).expect("the server goes on reading");
        }
    });
    // Until the writer is stuck: our own kernel has bytes that the server's does not take.
    let mut last = (0, 0);
    wait_until("back-pressure has reached the writer", || {
        let ours = testkit::tcp::socket_between(client.address(), server.address());
        let now = ours.map_or((0, 0), |ours| (ours.tx_queue, ours.rx_queue));
        let is_stuck = now.0 > 0 && now.1 > 0 && now == std::mem::replace(&mut last, now);
        assert!(!writing.is_finished(), "all of it was taken in");
        is_stuck
    });
    for _ in 0..REQUESTS {
        assert!(client.line().expect("an answer").starts_with(br#"{"type":"OK","re":"ECHO""#));
    }
    writing.join().expect("no panic");
    assert_eq!(server.count_lines("SLOW_CONSUMER"), 0);
}

#[test]
fn a_server_that_is_full_says_so_and_takes_the_next_when_one_has_left() {
    let server = server(&["--max-clients", "2"]);
    let to = server.address();
    let (alice, mut bob) = (Client::named(to, "Alice"), Client::named(to, "Bob"));
    for _ in 0..3 {
        let refused = Client::connect(to).rest();
        assert_eq!((refused.len(), code(&refused[0])), (1, "SERVER_FULL"));
    }
    drop(alice);
    assert_eq!(bob.event(), json!({"type":"LEFT","data":"Alice"}));
    wait_until("there is a place", || {
        let mut next = Client::connect(to);
        next.send(r#"{"type":"TIME"}"#);
        next.answer()["type"] == "OK"
    });
}

#[test]
fn a_request_may_be_as_long_as_the_limit_and_the_one_after_a_longer_one_is_heard() {
    let server = server(&["--max-frame", "100"]);
    let mut client = Client::connect(server.address());
    let around = request("ECHO", "").len();
    assert_eq!(client.ask(&request("ECHO", &"x".repeat(100 - around)))["type"], "OK");
    let longer = request("ECHO", &"x".repeat(101 - around));
    assert_eq!(code(&client.ask(&longer)), "TOO_LONG");
    client.send_bytes(format!("{longer}\n{{\"type\":\"TIME\"}}\n").repeat(3).as_bytes());
    for _ in 0..3 {
        assert_eq!(code(&client.answer()), "TOO_LONG");
        assert_eq!(client.answer()["re"], "TIME");
    }
    client.expect_nothing_more();
}

#[test]
fn who_asks_too_often_is_told_so_and_may_ask_again_later() {
    let server = server(&["--rate", "5"]);
    let mut client = Client::connect(server.address());
    let mut other = Client::connect(server.address());
    client.send_bytes("{\"type\":\"TIME\",\"id\":1}\n".repeat(100).as_bytes());
    let answers: Vec<_> = (0..100).map(|_| client.answer()).collect();
    let (heard, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["type"] == "OK");
    // Five at once, and as many more as seconds have gone by meanwhile.
    assert!((5..50).contains(&heard.len()), "{}", heard.len());
    assert!(answers[..5].iter().all(|answer| answer["type"] == "OK"), "{answers:?}");
    assert!(refused.iter().all(|answer| code(answer) == "RATE_LIMITED" && answer["id"] == 1 && answer["re"] == "TIME"));
    assert_eq!(other.ask(r#"{"type":"TIME"}"#)["type"], "OK");
    wait_until("it may ask again", || client.ask(r#"{"type":"TIME"}"#)["type"] == "OK");
}

#[test]
fn who_does_not_register_is_let_go_in_time_and_who_has_may_be_silent() {
    let server = server(&["--idle", "1"]);
    let mut alice = Client::named(server.address(), "Alice");
    let mut silent = Client::connect(server.address());
    let mut busy = Client::connect(server.address());
    wait_until("asking for the time is not enough", || {
        busy.send(r#"{"type":"TIME"}"#);
        busy.answer()["type"] == "ERROR"
    });
    let told = silent.rest();
    assert_eq!((told.len(), code(&told[0])), (1, "NOT_REGISTERED"));
    wait_until("the log names both", || server.count_lines("NOT_REGISTERED") == 2);
    alice.expect_nothing_more();
}

#[test]
fn who_sends_a_byte_now_and_then_holds_no_more_than_what_it_has_sent() {
    const CLIENTS: usize = 500;
    let server = server(&[]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.address())).collect();
    clients.iter_mut().for_each(Client::expect_nothing_more);
    let before = memory(server.pid(), "VmRSS");
    let line = request("ECHO", &"x".repeat(100));
    for byte in line.bytes() {
        for client in &mut clients {
            client.send_bytes(&[byte]);
        }
    }
    // All have been read: nothing is left in the kernel.
    wait_until("every byte is read", || {
        testkit::tcp::sockets_of(server.port()).iter().all(|socket| socket.rx_queue == 0)
    });
    let grown = memory(server.pid(), "VmRSS").saturating_sub(before);
    assert!(grown < CLIENTS * 2 * 1024, "{} bytes each", grown / CLIENTS);
    for client in &mut clients {
        assert_eq!(client.ask("")["type"], "OK");
    }
    still_serves(&server);
}
