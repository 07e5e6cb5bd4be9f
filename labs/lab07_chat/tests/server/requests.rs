//! Each request, each answer, each code.

use std::io::Write;

use serde_json::{Value, json};

use crate::chat::{Client, code, request, server};

#[test]
fn each_request_is_answered_as_the_page_says() {
    let server = server(&[]);
    let mut alice = Client::named(server.address(), "Alice");
    let mut bob = Client::connect(server.address());
    let welcome = bob.register("Bob");
    assert_eq!((&welcome["type"], &welcome["re"]), (&json!("OK"), &json!("REGISTER")));
    assert!(welcome["data"].as_str().is_some_and(|text| text.contains("Bob")), "{welcome}");
    assert_eq!(alice.ask(&request("MESSAGE", "hello")), json!({"type":"OK","re":"MESSAGE","data":1}));
    assert_eq!(alice.ask(r#"{"type":"LIST_USERS"}"#), json!({"type":"OK","re":"LIST_USERS","data":["Alice","Bob"]}));
    let data = json!({"any": [1, null, "\n", {"thing": 1.5}]});
    let echoed = alice.ask(&json!({"type":"ECHO","data":data}).to_string());
    assert_eq!(echoed, json!({"type":"OK","re":"ECHO","data":data}));
    let time = alice.ask(r#"{"type":"TIME"}"#);
    let text = time["data"].as_str().expect("a string");
    assert!(text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'), "{time}");
    alice.send(r#"{"type":"QUIT"}"#);
    let (last, before) = alice.rest().pop().map(|last| (last, ())).expect("an answer to QUIT");
    assert_eq!((&last["type"], &last["re"], before), (&json!("OK"), &json!("QUIT"), ()));
    bob.send(r#"{"type":"QUIT","id":2}"#);
    let rest = bob.rest();
    assert_eq!(rest.last().map(|last| &last["id"]), Some(&json!(2)), "{rest:?}");
}

#[test]
fn a_message_goes_to_everybody_else_who_is_registered_and_comes_with_name_and_time() {
    let server = server(&[]);
    let mut alice = Client::named(server.address(), "Alice");
    let mut bob = Client::named(server.address(), "Bob");
    let mut nobody = Client::connect(server.address());
    assert_eq!(alice.event(), json!({"type":"JOINED","data":"Bob"}));
    assert_eq!(alice.say("grüße, \u{1b}[2J\n\u{0}"), 1);
    let heard = bob.event();
    assert_eq!((&heard["type"], &heard["from"]), (&json!("BROADCAST"), &json!("Alice")));
    assert_eq!(heard["data"], "grüße, \u{1b}[2J\n\u{0}");
    assert!(heard["time"].as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()), "{heard}");
    for client in [&mut alice, &mut bob, &mut nobody] {
        client.expect_nothing_more();
    }
}

#[test]
fn the_history_gives_the_most_recent_messages_last() {
    let server = server(&["--history", "5"]);
    let mut alice = Client::named(server.address(), "Alice");
    for number in 0..8 {
        assert_eq!(alice.say(&number.to_string()), 0);
    }
    let mut list = |data: &str| {
        let answer = alice.ask(&format!(r#"{{"type":"LIST_MESSAGES"{data}}}"#));
        let said = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        for one in &said {
            assert!(one["from"] == "Alice" && one["time"].is_string(), "{one}");
        }
        said.iter().map(|one| one["data"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(""), ["3", "4", "5", "6", "7"]);
    assert_eq!(list(r#","data":2"#), ["6", "7"]);
    assert!(list(r#","data":0"#).is_empty());
}

#[test]
fn a_bad_request_has_its_code_and_harms_nobody() {
    let server = server(&["--max-frame", "1000"]);
    let mut taken = Client::named(server.address(), "Taken");
    let mut client = Client::connect(server.address());
    let long = request("ECHO", &"x".repeat(1000));
    let deep = format!(r#"{{"type":"ECHO","data":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let requests: [(&[u8], &str, Value); 18] = [
        (b"hello", "BAD_JSON", Value::Null),
        (b"", "BAD_JSON", Value::Null),
        (b"\r", "BAD_JSON", Value::Null),
        (b"{\"type\":\"TIME\"", "BAD_JSON", Value::Null),
        (b"[\"TIME\"]", "BAD_JSON", Value::Null),
        (b"\0", "BAD_JSON", Value::Null),
        (b"{\"type\":\"TI\0ME\"}", "BAD_JSON", Value::Null),
        (deep.as_bytes(), "BAD_JSON", Value::Null),
        (b"{\"type\":\"TIME\",\"id\":\"\xff\"}", "BAD_UTF8", Value::Null),
        (b"\xed\xa0\x80", "BAD_UTF8", Value::Null),
        (br#"{"type":"SHOUT","data":"x"}"#, "UNKNOWN_TYPE", json!("SHOUT")),
        (br#"{"data":"x"}"#, "UNKNOWN_TYPE", Value::Null),
        (br#"{"type":"MESSAGE"}"#, "MISSING_DATA", json!("MESSAGE")),
        (br#"{"type":"REGISTER","data":7}"#, "BAD_DATA", json!("REGISTER")),
        (long.as_bytes(), "TOO_LONG", Value::Null),
        (br#"{"type":"MESSAGE","data":"x"}"#, "NOT_REGISTERED", json!("MESSAGE")),
        (br#"{"type":"REGISTER","data":"Taken"}"#, "NAME_TAKEN", json!("REGISTER")),
        (br#"{"type":"REGISTER","data":"two words"}"#, "BAD_NAME", json!("REGISTER")),
    ];
    for (frame, expected, re) in requests {
        client.send_bytes(&[frame, b"\n"].concat());
        let answer = client.answer();
        assert_eq!((code(&answer), &answer["re"]), (expected, &re), "{}", String::from_utf8_lossy(frame));
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    }
    assert_eq!(client.register("Free")["type"], "OK");
    assert_eq!(code(&client.register("Another")), "ALREADY_REGISTERED");
    assert_eq!(taken.event(), json!({"type":"JOINED","data":"Free"}));
    assert_eq!(client.say("and it may still speak"), 1);
    assert_eq!(taken.event()["data"], "and it may still speak");
    for client in [&mut client, &mut taken] {
        client.expect_nothing_more();
    }
}

#[test]
fn a_type_may_be_written_in_small_letters_and_an_id_comes_back_as_it_was() {
    let server = server(&[]);
    let mut client = Client::connect(server.address());
    for kind in ["time", "Time", "tImE", "TIME"] {
        let answer = client.ask(&format!(r#"{{"type":"{kind}"}}"#));
        assert_eq!((&answer["type"], &answer["re"]), (&json!("OK"), &json!("TIME")));
        assert_eq!(answer.get("id"), None);
    }
    for id in [json!(7), json!("seven"), json!(null), json!([1, {"a": null}]), json!(-0.5)] {
        assert_eq!(client.ask(&json!({"type":"TIME","id":id}).to_string()).get("id"), Some(&id));
        assert_eq!(client.ask(&json!({"type":"NO","id":id}).to_string()).get("id"), Some(&id));
    }
}

const CONVERSATION: &[u8] = b"{\"type\":\"REGISTER\",\"data\":\"Alice\",\"id\":0}\n{\"type\":\"MESSAGE\",\"data\":\"a\",\"id\":1}\nno\n\
    {\"type\":\"list_messages\",\"id\":3}\n{\"type\":\"ECHO\",\"data\":\"\xc3\xa9\",\"id\":4}\n{\"type\":\"QUIT\",\"id\":5}\n";

fn expect_the_answers(client: &mut Client) {
    let answers = client.rest();
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64()).collect();
    assert_eq!(ids, [Some(0), Some(1), None, Some(3), Some(4), Some(5)], "{answers:?}");
    assert_eq!((code(&answers[2]), &answers[4]["data"]), ("BAD_JSON", &json!("é")));
}

#[test]
fn requests_in_one_write_are_answered_in_their_order() {
    let server = server(&[]);
    let mut client = Client::connect(server.address());
    client.send_bytes(CONVERSATION);
    expect_the_answers(&mut client);
}

#[test]
fn requests_that_come_byte_by_byte_are_answered_the_same() {
    let server = server(&[]);
    let mut client = Client::connect(server.address());
    for byte in CONVERSATION {
        client.send_bytes(&[*byte]);
    }
    expect_the_answers(&mut client);
}

#[test]
fn who_half_closes_gets_every_answer_however_many() {
    let server = server(&[]);
    let mut client = Client::connect(server.address());
    let asked: Vec<u8> =
        (0..20_000).flat_map(|id| format!("{{\"type\":\"TIME\",\"id\":{id}}}\n").into_bytes()).collect();
    let mut writer = client.socket().try_clone().expect("a descriptor more");
    let writing = std::thread::spawn(move || {
        writer.write_all(&asked).expect("the server reads on as we read");
        writer.shutdown(std::net::Shutdown::Write).expect("connected");
    });
    let answers = client.rest();
    writing.join().expect("no panic");
    assert_eq!(answers.len(), 20_000);
    assert!(answers.iter().enumerate().all(|(number, answer)| answer["id"] == number && answer["type"] == "OK"));
    server.wait_for_text("finished");
}

#[test]
fn a_request_that_the_end_cuts_is_answered_with_an_error_and_not_carried_out() {
    let server = server(&[]);
    let mut bob = Client::named(server.address(), "Bob");
    let mut alice = Client::named(server.address(), "Alice");
    alice.send_bytes(b"{\"type\":\"MESSAGE\",\"data\":\"whole\"}\n{\"type\":\"MESSAGE\",\"data\":\"cut\"}");
    alice.shut_down();
    let answers = alice.rest();
    assert_eq!((answers.len(), &answers[0]["data"], code(&answers[1])), (2, &json!(1), "BAD_JSON"));
    let kinds = [bob.event(), bob.event(), bob.event()].map(|event| event["type"].clone());
    assert_eq!(kinds, ["JOINED", "BROADCAST", "LEFT"]);
    bob.expect_nothing_more();
}

#[test]
fn what_follows_quit_is_not_carried_out() {
    let server = server(&[]);
    let mut bob = Client::named(server.address(), "Bob");
    let mut alice = Client::named(server.address(), "Alice");
    alice.send_bytes(b"{\"type\":\"QUIT\"}\n{\"type\":\"MESSAGE\",\"data\":\"one more thing\"}\n");
    assert_eq!(alice.rest().len(), 1);
    let kinds = [bob.event(), bob.event()].map(|event| event["type"].clone());
    assert_eq!(kinds, ["JOINED", "LEFT"]);
    bob.expect_nothing_more();
}
