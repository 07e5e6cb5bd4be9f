//! What is asked and what is answered, over a real connection.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use common::{Peer, code, server};
use lab04_messages::Client;
use lab04_messages::messages::{Code, Request, Response, to_line};
use serde_json::{Value, json};

#[test]
fn echo_sends_any_json_back() {
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    for data in [
        json!("grüße, мир, 你好"),
        json!(""),
        json!(null),
        json!(false),
        json!(-17),
        json!(1.5),
        json!(u64::MAX),
        json!([]),
        json!({"a": [1, {"b": null}], "type": "TIME"}),
        json!("a newline\nand an escape \u{1b}[2J, a NUL \0, a quote \" and a backslash \\"),
    ] {
        let answer = peer.ask(&json!({"type": "ECHO", "data": data}));
        assert_eq!(answer, json!({"type": "OK", "re": "ECHO", "data": data}));
    }
    peer.finish();
    server.wait_for_line(|line| line.ends_with(" finished: 10 messages"));
}

#[test]
fn time_is_the_servers_own_in_rfc_3339() {
    let server = server(&[]);
    let before = jiff::Timestamp::now();
    let answer = Peer::new(&server).ask(&json!({"type": "TIME"}));
    let after = jiff::Timestamp::now();
    assert_eq!((&answer["type"], &answer["re"]), (&json!("OK"), &json!("TIME")));
    let text = answer["data"].as_str().unwrap();
    let time: jiff::Timestamp = text.parse().unwrap();
    assert!(text.ends_with('Z') && text.len() == "2026-01-31T12:00:00.000Z".len(), "{text}");
    // It is told in whole milliseconds.
    assert!(time.as_millisecond() >= before.as_millisecond() && time <= after, "{before} {time} {after}");
}

#[test]
fn an_answer_repeats_the_id_of_its_request_whatever_it_is() {
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    for id in [json!(1), json!(-2.5), json!("a"), json!(""), json!(null), json!([1]), json!({"a": 1})] {
        for request in [json!({"type": "TIME", "id": id}), json!({"type": "ECHO", "id": id}), json!({"id": id})] {
            let answer = peer.ask(&request);
            assert_eq!(answer.get("id"), Some(&id), "{answer}");
        }
    }
    for request in [json!({"type": "TIME"}), json!({"type": "ECHO"}), json!({"type": "X"}), json!({})] {
        assert_eq!(peer.ask(&request).get("id"), None);
    }
}

#[test]
fn the_type_is_read_in_any_case_and_answered_in_capitals() {
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    for kind in ["echo", "Echo", "ECHO", "eChO"] {
        assert_eq!(peer.ask(&json!({"type": kind, "data": 1})), json!({"type": "OK", "re": "ECHO", "data": 1}));
    }
    assert_eq!(peer.ask(&json!({"type": "time"}))["re"], "TIME");
    let answer = peer.ask(&json!({"type": "register", "data": "Alice"}));
    assert_eq!((code(&answer), &answer["re"]), ("UNKNOWN_TYPE", &json!("REGISTER")));
}

#[test]
fn every_frame_is_answered_whatever_is_in_it_and_the_connection_goes_on() {
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    let deep = |open: &str, count: usize| format!("{{\"type\":\"ECHO\",\"data\":{}", open.repeat(count)).into_bytes();
    let frames: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "BAD_JSON"),
        (b"   ".to_vec(), "BAD_JSON"),
        (b"hello".to_vec(), "BAD_JSON"),
        (b"{".to_vec(), "BAD_JSON"),
        (b"{\"type\":\"TIME\"} {\"type\":\"TIME\"}".to_vec(), "BAD_JSON"),
        (b"{\"type\":\"TIME\"}\0".to_vec(), "BAD_JSON"),
        (b"\0".to_vec(), "BAD_JSON"),
        (b"{\"type\":\"ECHO\",\"data\":\"a\0b\"}".to_vec(), "BAD_JSON"),
        (b"{\"type\":\"ECHO\",\"data\":\"\\ud800\"}".to_vec(), "BAD_JSON"),
        (b"{\"type\":\"ECHO\",\"data\":1e999}".to_vec(), "BAD_JSON"),
        (b"[]".to_vec(), "BAD_JSON"),
        (b"\"TIME\"".to_vec(), "BAD_JSON"),
        (b"null".to_vec(), "BAD_JSON"),
        // Deep enough for any recursion without a limit to leave a thread's stack of 2 MiB.
        (deep("[", 60_000), "BAD_JSON"),
        (deep("{\"a\":", 12_000), "BAD_JSON"),
        (b"[".repeat(65_000), "BAD_JSON"),
        (b"\xff".to_vec(), "BAD_UTF8"),
        (b"{\"type\":\"ECHO\",\"data\":\"\xc3\"}".to_vec(), "BAD_UTF8"),
        (b"{\"type\":\"ECHO\",\"data\":\"\xed\xa0\x80\"}".to_vec(), "BAD_UTF8"),
        (b"{}".to_vec(), "UNKNOWN_TYPE"),
        (b"{\"type\":5}".to_vec(), "UNKNOWN_TYPE"),
        (b"{\"type\":null}".to_vec(), "UNKNOWN_TYPE"),
        (b"{\"type\":\"\"}".to_vec(), "UNKNOWN_TYPE"),
        (b"{\"type\":\"ECHO \",\"data\":1}".to_vec(), "UNKNOWN_TYPE"),
        (b"{\"TYPE\":\"TIME\"}".to_vec(), "UNKNOWN_TYPE"),
        (b"{\"type\":\"ECHO\"}".to_vec(), "MISSING_DATA"),
        (vec![b'x'; 65_537], "TOO_LONG"),
    ];
    for (frame, expected) in frames {
        let shown = String::from_utf8_lossy(&frame[..frame.len().min(60)]).into_owned();
        peer.write([frame.as_slice(), b"\n"].concat());
        let answer = peer.answer();
        assert_eq!(code(&answer), expected, "{shown:?}: {answer}");
        assert!(!answer["message"].as_str().unwrap().is_empty());
        peer.is_served();
    }
    peer.finish();
}

#[test]
fn a_carriage_return_before_the_newline_does_no_harm() {
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    peer.write("{\"type\":\"ECHO\",\"data\":\"from telnet\"}\r\n");
    assert_eq!(peer.answer()["data"], "from telnet");
    peer.finish();
}

#[test]
fn a_message_may_be_127_levels_deep_and_no_deeper() {
    let server = server(&[]);
    let mut peer = Peer::new(&server);
    for (levels, kind) in [(126, "OK"), (127, "ERROR")] {
        // And one for the object around it.
        let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        peer.write(format!("{{\"type\":\"ECHO\",\"data\":{nested}}}\n"));
        let answer = peer.answer();
        assert_eq!(answer["type"], kind, "{levels}");
        let data = if kind == "OK" { serde_json::from_str(&nested).unwrap() } else { Value::Null };
        assert_eq!(answer["data"], data);
    }
}

#[test]
fn a_program_asks_with_two_calls_of_the_library() {
    let server = server(&[]);
    let mut client = Client::connect(server.address(), None).unwrap();
    let answer = client.request(&Request::Echo(json!(["any", 1]))).unwrap();
    assert_eq!(answer, Response::Ok { re: "ECHO".into(), data: json!(["any", 1]), id: None });
    assert!(matches!(client.request(&Request::Time).unwrap(), Response::Ok { re, .. } if re == "TIME"));
    client.send(b"{\"type\":\"what\",\"id\":null}\n").unwrap();
    let Response::Error { re, code, id, .. } = client.receive().unwrap() else { panic!("not refused") };
    assert_eq!((re.as_deref(), code, id), (Some("WHAT"), Code::UnknownType, Some(Value::Null)));
    client.finish().unwrap();
    server.wait_for_line(|line| line.ends_with(" finished: 3 messages"));
}

#[test]
fn messages_are_written_as_the_protocol_says() {
    let line = |message: &Request| String::from_utf8(to_line(message).unwrap()).unwrap();
    assert_eq!(line(&Request::Time), "{\"type\":\"TIME\"}\n");
    assert_eq!(line(&Request::Echo("a\nb".into())), "{\"type\":\"ECHO\",\"data\":\"a\\nb\"}\n");
    let answer = Response::Error { re: None, code: Code::BadUtf8, message: "m".into(), id: Some(Value::Null) };
    let line = String::from_utf8(to_line(&answer).unwrap()).unwrap();
    assert_eq!(line, "{\"type\":\"ERROR\",\"code\":\"BAD_UTF8\",\"message\":\"m\",\"id\":null}\n");
    assert_eq!(serde_json::from_str::<Response>(&line).unwrap(), answer);
}

#[test]
fn a_code_of_a_newer_server_is_still_an_error_to_an_older_client() {
    let answer = "{\"type\":\"ERROR\",\"re\":\"MESSAGE\",\"code\":\"NOT_REGISTERED\",\"message\":\"who are you?\"}";
    let Response::Error { code, .. } = serde_json::from_str(answer).unwrap() else { panic!("not an error") };
    assert_eq!(code, Code::Other);
}
