//! With pipes for a keyboard and a screen: what is sent for what is typed, what is shown for what arrives, how it ends.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};

use testkit::process::{PATIENCE, Process, binary, run};
use testkit::tcp::wait_until;
use testkit::traffic::{reset, taken_port};

use crate::peer::Peer;

fn stdout(client: &Process) -> String {
    String::from_utf8_lossy(&client.stdout()).into_owned()
}

#[test]
fn what_is_typed_is_sent_and_what_is_answered_is_shown() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    for (typed, request, re, data, shown) in [
        (
            "/name Alice",
            r#"{"type":"REGISTER","data":"Alice"}"#,
            "REGISTER",
            r#""Welcome, Alice.""#,
            "- Welcome, Alice.",
        ),
        ("Hello everyone!", r#"{"type":"MESSAGE","data":"Hello everyone!"}"#, "MESSAGE", "3", "- went to 3 others"),
        ("grüße, 你好 🦀", r#"{"type":"MESSAGE","data":"grüße, 你好 🦀"}"#, "MESSAGE", "1", "- went to 1 other"),
        ("LIST_USERS", r#"{"type":"LIST_USERS"}"#, "LIST_USERS", r#"["Alice","Bob"]"#, "- 2 here: Alice, Bob"),
        ("/history 1", r#"{"type":"LIST_MESSAGES","data":1}"#, "LIST_MESSAGES", "[]", "- nothing has been said yet"),
        ("/echo  x y", r#"{"type":"ECHO","data":"x y"}"#, "ECHO", r#""x y""#, "- x y"),
    ] {
        client.type_line(typed);
        connection.expect(request).ok(re, data);
        client.wait_for_line(|line| line == shown);
    }
    connection
        .send(r#"{"type":"JOINED","data":"Carol"}"#)
        .broadcast("Carol", "Hi!")
        .send(r#"{"type":"LEFT","data":"Carol"}"#);
    client.wait_for_line(|line| line == "* Carol has left");
    client.close_stdin();
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    let end = "* Carol has joined\n[2026-01-02 10:30:15] Carol: Hi!\n* Carol has left\n- Goodbye.\n";
    assert!(stdout(&client).ends_with(end), "{}", client.output());
    assert_eq!(client.stderr(), "");
}

#[test]
fn help_and_mistakes_are_the_clients_own_business() {
    let peer = Peer::new();
    let (mut client, connection) = peer.start(&[]);
    for (typed, shown) in [
        ("/help", "//text             a message that begins with a slash"),
        (
            "/usres",
            "! there is no /usres; did you mean /users? A message that begins with a slash begins with two: //usres",
        ),
        ("/name", "! /name needs a name: /name Alice"),
        ("/n\x1b[2Jx", "! there is no /n\\u{1b}[2Jx"),
    ] {
        client.type_line(typed);
        client.wait_for_line(|line| line.starts_with(shown));
    }
    client.type_line("");
    client.type_line("/quit");
    connection.let_go();
    assert_eq!(client.finish().code(), Some(1), "a program that typed them shall know: {}", client.output());
}

#[test]
fn the_end_of_input_waits_for_the_answers_and_only_then_quits() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    let mut keyboard = client.take_stdin().unwrap();
    keyboard.write_all(b"one\ntwo\nthree").unwrap();
    drop(keyboard);
    connection.expect_message("one").expect_message("two").expect_message("three");
    connection.ok("MESSAGE", "0").send(r#"{"type":"JOINED","data":"Bob"}"#).error(
        r#""MESSAGE""#,
        "RATE_LIMITED",
        "slower",
    );
    client.wait_for_line(|line| line == "! RATE_LIMITED: slower");
    assert!(!connection.has_more(), "{}", connection.request());
    connection.error("null", "TOO_LONG", "the line is too long");
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
}

#[test]
fn an_answer_that_cannot_come_any_more_is_a_failure() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    client.type_line("one");
    client.type_line("two");
    client.close_stdin();
    connection.expect_message("one").expect_message("two").ok("MESSAGE", "1");
    connection.into_stream().shutdown(Shutdown::Both).unwrap();
    assert_eq!(client.finish().code(), Some(1), "{}", client.output());
    client.wait_for_line(|line| line.starts_with("Error: ") && line.contains("read "));
}

#[test]
fn done_ends_the_input_and_can_be_said_all_the_same() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    client.type_line("Done it");
    client.type_line("MESSAGE Done");
    client.type_line("Done");
    connection.expect_message("Done it").ok("MESSAGE", "0").expect_message("Done").ok("MESSAGE", "0");
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_found_again_and_the_name_registered_anew() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&["--name", "Alice", "--reconnect", "9"]);
    connection.expect(r#"{"type":"REGISTER","data":"Alice"}"#).ok("REGISTER", r#""Welcome, Alice.""#);
    client.wait_for_line(|line| line == "- Welcome, Alice.");
    let address = peer.address();
    connection.error("null", "SHUTTING_DOWN", "the server is ending");
    drop((connection, peer));
    client.wait_for_line(|line| line == "! SHUTTING_DOWN: the server is ending");
    client.wait_for_line(|line| line.ends_with("the server closed the connection first"));
    client.wait_for_line(|line| line == "! trying again in 0.5 s");
    client.wait_for_line(|line| line.contains("ECONNREFUSED"));
    client.wait_for_line(|line| line == "! trying again in 1 s");
    // Typed while nobody is there: it is not lost.
    client.type_line("still there?");

    let peer = Peer::again(address);
    let mut connection = peer.accept();
    connection.expect(r#"{"type":"REGISTER","data":"Alice"}"#).ok("REGISTER", r#""Welcome back.""#);
    connection.expect_message("still there?").ok("MESSAGE", "0");
    client.wait_for_line(|line| line.ends_with(" again") && line.starts_with("! connected to 127.0.0.1:"));
    client.close_stdin();
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
}

#[test]
fn a_name_that_was_given_later_is_registered_anew_and_one_that_was_refused_is_not() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&["--reconnect", "9"]);
    client.type_line("/name Alice");
    connection.expect(r#"{"type":"REGISTER","data":"Alice"}"#).ok("REGISTER", r#""Welcome.""#);
    client.wait_for_line(|line| line == "- Welcome.");
    client.type_line("/name Eve");
    connection.expect(r#"{"type":"REGISTER","data":"Eve"}"#).error(
        r#""REGISTER""#,
        "ALREADY_REGISTERED",
        "you are Alice",
    );
    client.wait_for_line(|line| line == "! ALREADY_REGISTERED: you are Alice");
    drop(connection);
    let mut connection = peer.accept();
    connection.expect(r#"{"type":"REGISTER","data":"Alice"}"#).ok("REGISTER", r#""Welcome.""#);
    client.close_stdin();
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
}

#[test]
fn a_server_that_only_says_no_is_asked_less_and_less_often_and_then_given_up() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&["--reconnect", "2"]);
    for _ in 0..2 {
        connection.error("null", "SERVER_FULL", "512 clients are connected");
        drop(connection);
        connection = peer.accept();
    }
    connection.error("null", "SERVER_FULL", "512 clients are connected");
    drop(connection);
    assert_eq!(client.finish().code(), Some(1));
    let stderr = client.stderr();
    let pauses: Vec<_> = stderr.lines().filter(|line| line.contains("trying again")).collect();
    assert_eq!(pauses, ["! trying again in 0.5 s", "! trying again in 1 s"], "{stderr}");
    assert_eq!(client.count_lines("! SERVER_FULL: 512 clients are connected (try again when somebody has left)"), 3);
}

#[test]
fn without_a_person_the_end_of_the_server_is_the_end() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    connection.error("null", "SLOW_CONSUMER", "1000 messages were waiting");
    drop(connection);
    // Its input is open all the while.
    assert_eq!(client.finish().code(), Some(1));
    client.wait_for_line(|line| line.starts_with("! SLOW_CONSUMER: ") && line.contains("did not read fast enough"));
    client.wait_for_line(|line| line.starts_with("Error: read 127.0.0.1:") && line.contains("closed the connection"));
}

#[test]
fn a_reset_is_told_with_its_errno() {
    let peer = Peer::new();
    let (mut client, connection) = peer.start(&[]);
    reset(connection.into_stream());
    assert_eq!(client.finish().code(), Some(1));
    client.wait_for_line(|line| line.starts_with("Error: read 127.0.0.1:") && line.contains("ECONNRESET"));
}

#[test]
fn nothing_that_a_server_sends_reaches_the_screen_raw() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    connection.broadcast(r"Mal\u001b[2Jlory", r"\u0000\u001b]0;mine\u0007\u202e\r\nBob: hi");
    connection.send_bytes(b"\x1b[2J\xff\x00 no JSON at all\r\n\n{\"type\":\"NEW\"}\n");
    connection.send(&format!(r#"{{"type":"OK","re":"ECHO","data":{}1{}}}"#, "[".repeat(50_000), "]".repeat(50_000)));
    connection.send_bytes(&vec![b'x'; 17 << 20]).send("").broadcast("Bob", "all is well");
    client.wait_for_line(|line| line.ends_with("Bob: all is well"));
    client.close_stdin();
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    let shown = stdout(&client);
    assert!(
        shown.starts_with(
            "[2026-01-02 10:30:15] Mal\\u{1b}[2Jlory: \\u{0}\\u{1b}]0;mine\\u{7}\\u{202e}\\r\\nBob: hi\n\
         ! not a line of the chat's protocol: \\u{1b}[2J\\xff\\u{0} no JSON at all\\r\n"
        ),
        "{shown}"
    );
    assert!(shown.chars().all(|character| character == '\n' || !character.is_control()), "{shown}");
    client.wait_for_line(|line| line == "! a line of more than 16 MiB came, and was thrown away");
}

#[test]
fn json_shows_the_servers_lines_byte_by_byte() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&["--json"]);
    let sent = b"{\"type\" : \"OK\",\"re\":\"TIME\",\"data\":\"\xff\x1b\"}\r\n\n{\"type\":\"NEW\"}\n";
    connection.send_bytes(sent);
    client.wait_for_text("NEW");
    client.close_stdin();
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    assert_eq!(
        client.stdout(),
        [sent.as_slice(), b"{\"type\":\"OK\",\"re\":\"QUIT\",\"data\":\"Goodbye.\"}\n"].concat()
    );
}

#[test]
fn lines_may_arrive_in_any_pieces() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    for byte in "{\"type\":\"JOINED\",\"data\":\"Žofie\"}\n".as_bytes() {
        connection.send_bytes(&[*byte]);
    }
    let many: String = (0..10_000).map(|number| format!("{{\"type\":\"LEFT\",\"data\":\"{number}\"}}\n")).collect();
    connection.send_bytes(many.as_bytes());
    client.wait_for_line(|line| line == "* 9999 has left");
    client.close_stdin();
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0));
    let expected: String = (0..10_000).map(|number| format!("* {number} has left\n")).collect();
    assert_eq!(stdout(&client), format!("* Žofie has joined\n{expected}- Goodbye.\n"));
}

#[test]
fn a_line_that_no_message_can_hold_is_not_sent_and_the_next_one_is() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    let mut keyboard = client.take_stdin().unwrap();
    let long = vec![b'x'; 1 << 20];
    let largest = "y".repeat(60 * 1024 - 1);
    let typing = std::thread::spawn({
        let largest = largest.clone();
        move || {
            for line in [b"\xff\xfe", long.as_slice(), largest.as_bytes(), b"good"] {
                keyboard.write_all(&[line, b"\n"].concat()).unwrap();
            }
        }
    });
    connection.expect_message(&largest).ok("MESSAGE", "0").expect_message("good").ok("MESSAGE", "0");
    typing.join().unwrap();
    connection.let_go();
    client.wait_for_line(|line| line == "! a line was not sent: it is not UTF-8");
    client.wait_for_line(|line| line.starts_with("! a line was not sent: it is longer than"));
    assert_eq!(client.finish().code(), Some(1));
}

#[test]
fn a_client_whose_output_is_closed_fails_without_a_panic() {
    let peer = Peer::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = peer.command(&["--reconnect", "5"]);
    command.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped());
    let mut client = Process::start_as_is(&mut command);
    drop(command);
    let mut connection = peer.accept();
    connection.broadcast("Bob", "one");
    let mut line = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut line).unwrap();
    assert!(line.ends_with("Bob: one\n"), "{line}");
    drop(reader);
    // The reader is gone, but for the moment in which another test's program, between fork and exec, has a copy of it.
    let mut stream = connection.into_stream();
    wait_until("the loss is noticed", || {
        let _ = stream.write_all(b"{\"type\":\"LEFT\",\"data\":\"Bob\"}\n");
        client.stderr().contains("EPIPE")
    });
    assert_eq!(client.finish().code(), Some(1), "{}", client.output());
    assert!(client.stderr().starts_with("Error: write standard output: EPIPE"), "{}", client.stderr());
}

#[test]
fn where_nobody_listens_the_first_attempt_is_the_last() {
    let (_taken, address) = taken_port();
    let mut command = Command::new(binary("lab7-client"));
    let ended = run(command.args(["127.0.0.1", &address.port().to_string(), "--reconnect", "5"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with(&format!("Error: connect {address}: ECONNREFUSED")), "{}", ended.stderr);
    assert!(ended.stderr.contains("is the server running?"), "{}", ended.stderr);
}

#[test]
fn a_message_does_not_wait_for_the_acknowledgement_of_the_one_before() {
    let peer = Peer::new();
    let (mut client, mut connection) = peer.start(&[]);
    let mut keyboard = client.take_stdin().unwrap();
    // This end answers, so its kernel delays acknowledgements by 40 ms, to send them along with the answer. With Nagle's
    // algorithm each second message would wait for that, and all of it take 10 s.
    let begin = std::time::Instant::now();
    for _ in 0..200 {
        keyboard.write_all(b"one\ntwo\n").unwrap();
        connection.expect_message("one").expect_message("two").ok("MESSAGE", "1").ok("MESSAGE", "1");
    }
    assert!(begin.elapsed() < PATIENCE / 4, "{:?}", begin.elapsed());
}
