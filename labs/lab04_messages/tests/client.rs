//! The interactive client: what it sends, what it shows, and how it ends.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};

use common::server;
use serde_json::{Value, json};
use testkit::namespace::or_skip;
use testkit::process::{Ended, Process, Server, binary, run};
use testkit::traffic::runs;

fn client(port: u16, arguments: &[&str]) -> Process {
    Process::start(Command::new(binary("lab4-client")).args(["127.0.0.1", &port.to_string()]).args(arguments))
}

fn shown(client: &Process) -> String {
    String::from_utf8(client.stdout()).unwrap()
}

/// The client's output for this input, after which it must have ended well.
fn played(server: &Server, arguments: &[&str], input: impl AsRef<[u8]>) -> String {
    let mut client = client(server.port(), arguments);
    client.take_stdin().unwrap().write_all(input.as_ref()).unwrap();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    shown(&client)
}

/// A server that reads one line and does `then`. In the end it throws the connection away.
fn fake(then: impl FnOnce(&mut TcpStream) + Send + 'static) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
        then(&mut stream);
    });
    (port, server)
}

fn fails_with(port: u16, words: &[&str]) {
    let mut client = client(port, &[]);
    client.type_line("hello");
    let code = client.finish().code();
    assert_eq!(code, Some(1), "{}", client.output());
    for word in words {
        assert!(client.stderr().contains(word), "no {word:?} in:\n{}", client.stderr());
    }
    assert!(!client.stderr().contains("panicked") && !client.stderr().contains('\u{1b}'), "{}", client.stderr());
}

#[test]
fn lines_come_back_and_done_ends_the_client() {
    let server = server(&[]);
    let mut client = client(server.port(), &[]);
    for line in ["hello", "", "grüße, мир", "Done is a word", " Done", "a \"quoted\" \\ word", "TIMES"] {
        client.type_line(line);
        client.wait_for_line(|seen| seen == line);
    }
    client.type_line("Done");
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    server.wait_for_line(|line| line.ends_with(" finished: 7 messages"));
}

#[test]
fn the_end_of_input_ends_it_and_a_last_line_needs_no_newline() {
    let server = server(&[]);
    assert_eq!(played(&server, &[], "one\ntwo"), "one\ntwo\n");
    assert_eq!(played(&server, &[], ""), "");
}

#[test]
fn time_is_asked_for_json_is_sent_as_it_is_and_an_error_is_shown_whole() {
    let server = server(&[]);
    let input = "/time\nTIME\n{\"type\":\"ECHO\",\"data\":[1, {\"a\":null}]}\n{\"type\":\"ECHO\",\"id\":7}\n{\n";
    let output = played(&server, &[], input);
    let lines: Vec<&str> = output.lines().collect();
    for time in &lines[..2] {
        time.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{error}: {time}"));
    }
    assert_eq!(lines[2], "[1,{\"a\":null}]");
    let answer: Value = serde_json::from_str(lines[3]).unwrap();
    assert_eq!((&answer["code"], &answer["id"]), (&json!("MISSING_DATA"), &json!(7)));
    assert!(lines[4].contains("BAD_JSON"), "{output}");
    assert_eq!(lines.len(), 5);
}

#[test]
fn bytes_that_are_no_text_are_left_to_the_server_to_refuse() {
    let server = server(&[]);
    let output = played(&server, &[], b"\xff\xfe\nhello\n");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].contains("BAD_UTF8") && lines[1] == "hello", "{output}");
}

#[test]
fn a_line_longer_than_any_read_of_the_keyboard_is_one_message() {
    let server = server(&[]);
    let long = "x".repeat(60_000);
    assert_eq!(played(&server, &[], format!("{long}\n")), format!("{long}\n"));
    let too_long = played(&server, &[], format!("{}\nstill there?\n", "x".repeat(100_000)));
    assert!(too_long.contains("TOO_LONG") && too_long.ends_with("\nstill there?\n"), "{too_long}");
    assert_eq!(too_long.lines().count(), 2);
}

#[test]
fn byte_by_byte_the_server_reads_many_pieces_and_the_answers_are_the_same() {
    let server = server(&["--show-reads"]);
    let input = "hello\n/time\n";
    let output = played(&server, &["--byte-by-byte"], input);
    assert!(output.starts_with("hello\n") && output.lines().count() == 2, "{output}");
    server.wait_for_line(|line| line.ends_with(" finished: 2 messages"));
    let reads = server.count_lines(" read ");
    // 28 and 16 bytes. On a busy machine a read may find some of them together, but not all.
    assert!(reads > 10, "{reads} reads");
    assert_eq!(server.count_lines("whole messages 1, bytes kept 0"), 2);
}

#[test]
fn ten_at_once_the_server_reads_one_piece_and_answers_ten_times() {
    for arguments in [&["--show-reads"][..], &["--show-reads", "--nodelay"]] {
        let server = server(arguments);
        assert_eq!(played(&server, &["--ten-at-once"], "hello\n"), "hello\n".repeat(10));
        server.wait_for_line(|line| line.ends_with(" finished: 10 messages"));
        let line = server.wait_for_line(|line| line.contains(" read "));
        assert!(line.ends_with(" read 310 bytes: whole messages 10, bytes kept 0"), "{line}");
    }
}

#[test]
fn both_flags_together_are_ten_messages_in_many_pieces() {
    let server = server(&[]);
    assert_eq!(played(&server, &["--ten-at-once", "--byte-by-byte"], "a\n"), "a\n".repeat(10));
}

#[test]
fn an_answer_may_come_byte_by_byte_and_with_the_next_one_behind_it() {
    let answers =
        "{\"type\":\"OK\",\"re\":\"ECHO\",\"data\":\"one\"}\n{\"re\":\"X\",\"data\":2,\"id\":3,\"type\":\"OK\"}\n";
    let (port, server) = fake(|stream| {
        stream.set_nodelay(true).unwrap();
        answers.as_bytes().iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let mut client = client(port, &[]);
    client.type_line("hello");
    client.wait_for_line(|line| line == "one");
    client.type_line("hello");
    client.wait_for_line(|line| line == "2");
    client.close_stdin();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    server.join().unwrap();
}

#[test]
fn a_server_that_ends_before_it_answers_is_an_error() {
    let (port, server) = fake(|stream| stream.write_all(b"{\"type\":\"OK\"").unwrap());
    fails_with(port, &["read 127.0.0.1:", "the server closed the connection while an answer was due"]);
    server.join().unwrap();
}

#[test]
fn an_answer_that_is_none_is_an_error_and_cannot_reach_the_terminal_raw() {
    for answer in ["hello\n", "{}\n", "{\"type\":\"\\u001b[2J\"}\n", "\n", "{\"type\":\"OK\",\"re\":\"ECHO\"}\n"] {
        let (port, server) = fake(|stream| stream.write_all(answer.as_bytes()).unwrap());
        fails_with(port, &["read 127.0.0.1:", "not an answer: "]);
        server.join().unwrap();
    }
}

#[test]
fn an_answer_without_an_end_is_given_up_once_it_is_longer_than_any_answer() {
    let (port, server) = fake(|stream| {
        // Until the client has given up.
        let piece = vec![b'x'; 64 * 1024];
        let pieces = (0..1000).take_while(|_| stream.write_all(&piece).is_ok()).count();
        assert!(pieces < 1000, "the client goes on reading");
    });
    fails_with(port, &["an answer of more than 1048576 bytes"]);
    server.join().unwrap();
}

/// Written from this lab's README and nothing else.
const PYTHON_CLIENT: &str = r#"
import json, socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as connection:
    lines = connection.makefile("rw", encoding="utf-8", newline="\n")
    for request in [{"type": "ECHO", "data": "from python"}, {"type": "TIME", "id": 2}, {"type": "DANCE", "id": 3}]:
        print(json.dumps(request), file=lines, flush=True)
        answer = json.loads(lines.readline())
        print(answer["type"], answer.get("code"), answer.get("id"), flush=True)
"#;

/// A server in Python that knows ECHO alone: the lab's client works with it.
const PYTHON_SERVER: &str = r#"
import json, socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            answer = {"type": "OK", "re": "ECHO", "data": json.loads(line).get("data")}
            self.wfile.write(json.dumps(answer).encode() + b"\n")
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
print("listening on 127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
"#;

#[test]
fn a_client_in_python_works_with_the_server_and_the_client_with_a_server_in_python() {
    if !or_skip("programs in Python", runs("python3", &["-c", "import json, socketserver"])) {
        return;
    }
    let server = server(&[]);
    let Ended { code, stdout, stderr } =
        run(Command::new("python3").args(["-c", PYTHON_CLIENT, &server.port().to_string()]));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&stdout), "OK None None\nOK None 2\nERROR UNKNOWN_TYPE 3\n");
    let server = Server::start_command(Command::new("python3").args(["-c", PYTHON_SERVER]));
    assert_eq!(played(&server, &[], "to python\n"), "to python\n");
}

#[test]
fn netcat_is_a_client_too() {
    if !or_skip("nc", runs("nc", &["-h"])) {
        return;
    }
    let server = server(&[]);
    let mut nc = Process::start(Command::new("nc").args(["127.0.0.1", &server.port().to_string()]));
    nc.type_line("{\"type\":\"echo\",\"data\":\"from netcat\",\"id\":1}");
    nc.wait_for_line(|line| line == "{\"type\":\"OK\",\"re\":\"ECHO\",\"data\":\"from netcat\",\"id\":1}");
    nc.type_line("hello");
    nc.wait_for_line(|line| line.contains("BAD_JSON"));
}
