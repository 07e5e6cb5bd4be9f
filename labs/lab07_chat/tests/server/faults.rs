//! Clients that break off, come in crowds or send rubbish, and a machine that has run out of something.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::facts;
use testkit::process::{Process, Server, binary};
use testkit::tcp::wait_until;
use testkit::traffic::{connect, reset};

use crate::chat::{Client, code, memory, request, server, still_serves};

#[test]
fn ten_megabytes_without_a_newline_are_one_error_and_no_memory() {
    let server = server(&[]);
    let mut client = Client::connect(server.address());
    client.expect_nothing_more();
    let before = memory(server.pid(), "VmHWM");
    for _ in 0..160 {
        client.send_bytes(&[b'x'; 64 * 1024]);
    }
    client.send_bytes(b"\n");
    assert_eq!(code(&client.answer()), "TOO_LONG");
    client.expect_nothing_more();
    let grown = memory(server.pid(), "VmHWM") - before;
    assert!(grown < 1 << 20, "{grown}");
}

#[test]
fn arrays_a_million_deep_are_one_error_and_do_not_end_the_server() {
    let server = server(&["--max-frame", "4000000"]);
    let mut client = Client::connect(server.address());
    let deep = "[".repeat(1_000_000);
    for line in [
        format!(r#"{{"type":"ECHO","data":{deep}"#),
        format!(r#"{{"type":"ECHO","data":{deep}1{}}}"#, "]".repeat(1_000_000)),
    ] {
        assert_eq!(code(&client.ask(&line)), "BAD_JSON");
    }
    client.expect_nothing_more();
}

#[test]
fn a_million_tiny_frames_are_a_million_answers_and_others_are_served_meanwhile() {
    const FRAMES: usize = 1_000_000;
    // However slow the machine is, nobody is let go for not registering.
    let server = server(&["--idle", "3600"]);
    let client = connect(server.address());
    let mut other = Client::connect(server.address());
    let mut writer = client.try_clone().expect("a descriptor more");
    let writing = thread::spawn(move || {
        for _ in 0..FRAMES / 10_000 {
            writer.write_all(&[b'\n'; 10_000]).expect("the server reads");
        }
        writer.shutdown(std::net::Shutdown::Write).expect("connected");
    });
    let mut reader = BufReader::with_capacity(1 << 20, client);
    let mut answers = 0;
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).expect("no reset") > 0 {
        let begin = br#"{"type":"ERROR","re":null,"code":"BAD_JSON""#;
        assert!(line.starts_with(begin), "{}", String::from_utf8_lossy(&line));
        line.clear();
        answers += 1;
        // In the middle of it all.
        if answers % 100_000 == 1 {
            other.expect_nothing_more();
        }
    }
    writing.join().expect("no panic");
    assert_eq!(answers, FRAMES);
    assert!(memory(server.pid(), "VmHWM") < 64 << 20);
}

#[test]
fn resets_in_the_middle_of_everything_harm_nobody_else() {
    let server = server(&[]);
    let to = server.address();
    let mut alice = Client::named(to, "Alice");
    let mut bob = Client::named(to, "Bob");
    assert_eq!(alice.event()["data"], "Bob");
    thread::scope(|scope| {
        for storm in 0..4 {
            scope.spawn(move || {
                for number in 0..100 {
                    let mut stream = connect(to);
                    let name = request("REGISTER", &format!("R{storm}.{number}"));
                    let sent = match number % 4 {
                        0 => String::new(),
                        1 => format!("{name}\n"),
                        2 => format!("{name}\n{}\n{{\"type\":\"LIST_MESS", request("MESSAGE", "x")),
                        _ => "{\"type\":\"TIME\"}\n".repeat(1000),
                    };
                    // What was sent before may be refused already: that is no fault.
                    let _ = stream.write_all(sent.as_bytes());
                    reset(stream);
                }
            });
        }
        for number in 0..200 {
            let text = format!("Alice {number}");
            alice.say(&text);
            loop {
                let event = bob.event();
                if event["from"] == "Alice" {
                    assert_eq!(event["data"], text);
                    break;
                }
            }
        }
    });
    let users = json!({"type":"OK","re":"LIST_USERS","data":["Alice","Bob"]});
    wait_until("none of them is left", || alice.ask(r#"{"type":"LIST_USERS"}"#) == users);
}

#[test]
fn a_storm_of_clients_that_connect_and_close_leaves_nothing_behind() {
    let server = server(&[]);
    let to = server.address();
    let before = facts::open_files(server.pid()).len();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || (0..500).for_each(|_| drop(connect(to))));
        }
    });
    wait_until("every connection is closed", || facts::open_files(server.pid()).len() == before);
    still_serves(&server);
}

#[test]
fn a_thousand_clients_hear_each_other() {
    const CLIENTS: usize = 1000;
    facts::limit(std::process::id().cast_signed(), libc::RLIMIT_NOFILE, u64::MAX);
    let server = server(&[]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|n| Client::named(server.address(), &format!("C{n}"))).collect();
    clients[0].send(&request("MESSAGE", "to all"));
    for (number, client) in clients.iter_mut().enumerate() {
        // Who came first has heard of all who came after.
        for _ in number + 1..CLIENTS {
            let line = client.line().expect("an event");
            assert!(line.starts_with(br#"{"type":"JOINED""#), "{}", String::from_utf8_lossy(&line));
        }
        let line = client.next().expect("the message, or the answer to it");
        assert_eq!(line["data"], if number == 0 { json!(999) } else { json!("to all") });
    }
}

/// `ulimit -n`, set while the server runs.
fn allow_no_descriptor_more(server: &Server) {
    let taken = facts::open_files(server.pid());
    let free = (0i32..).find(|fd| taken.iter().all(|(other, _)| other != fd)).expect("there are many");
    facts::limit(server.pid(), libc::RLIMIT_NOFILE, u64::from(free.cast_unsigned()));
}

#[test]
fn without_a_free_descriptor_others_are_served_and_who_waits_is_let_in_when_one_leaves() {
    let server = server(&[]);
    let to = server.address();
    let (mut alice, bob) = (Client::named(to, "Alice"), Client::named(to, "Bob"));
    allow_no_descriptor_more(&server);
    let mut waiting = Client::connect(to);
    waiting.send(&request("REGISTER", "Carol"));
    let (before, begin) = (facts::cpu_time(server.pid()), Instant::now());
    wait_until("it has tried three times", || {
        alice.say("still here");
        server.count_lines("EMFILE") >= 3
    });
    // It breathes for 500 ms after each attempt. A loop without that makes thousands in this time.
    let lasted = begin.elapsed();
    let attempts = server.count_lines("EMFILE");
    assert!(attempts as u128 <= lasted.as_millis() / 450 + 2, "{attempts} attempts in {lasted:?}");
    assert!(before.is_some());
    drop(bob);
    assert_eq!(waiting.answer()["type"], "OK");
    alice.expect_only(&["JOINED", "LEFT", "JOINED"]);
}

#[test]
fn without_a_free_descriptor_the_server_rests() {
    let server = server(&[]);
    allow_no_descriptor_more(&server);
    let mut waiting = Client::connect(server.address());
    let before = facts::cpu_time(server.pid()).expect("it lives");
    wait_until("it has tried three times", || server.count_lines("EMFILE") >= 3);
    let used = facts::cpu_time(server.pid()).expect("it lives") - before;
    assert!(used <= Duration::from_millis(100), "{used:?} of processor time");
    facts::limit(server.pid(), libc::RLIMIT_NOFILE, 1024);
    waiting.expect_nothing_more();
}

impl Client {
    fn expect_only(&mut self, kinds: &[&str]) {
        for kind in kinds {
            assert_eq!(self.event()["type"], *kind);
        }
        self.expect_nothing_more();
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_nobody() {
    for is_full in [true, false] {
        let mut command = Command::new(binary("lab7-server"));
        let port = free_port();
        command.args(["--port", &port.to_string()]).stdin(Stdio::null()).stderr(Stdio::piped());
        if is_full {
            command.stdout(File::options().write(true).open("/dev/full").expect("Linux has it"));
        } else {
            testkit::process::with_closed(command.stdout(Stdio::null()), 1);
        }
        let server = Process::start_as_is(&mut command);
        let to = ([127, 0, 0, 1], port).into();
        wait_until("it listens", || match TcpStream::connect(to) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                false
            }
        });
        let mut alice = Client::named(to, "Alice");
        let mut bob = Client::named(to, "Bob");
        assert_eq!((alice.event()["data"].as_str(), bob.say("no log")), (Some("Bob"), 1));
        assert_eq!(alice.event()["data"], "no log");
        if is_full {
            server.wait_for_text("the server goes on without its log");
        }
        assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
    }
}

/// One that nobody had a moment ago; the log, which would name the port, is what is broken here.
fn free_port() -> u16 {
    let (socket, address) = testkit::traffic::taken_port();
    drop(socket);
    address.port()
}

#[test]
fn the_log_has_a_line_for_each_thing_and_not_one_byte_that_moves_a_cursor() {
    let server: Server = server(&[]);
    let mut client = Client::connect(server.address());
    for text in ["\u{1b}[2J", "\r", "a\u{9b}b", "\u{202e}"] {
        client.register(text);
        client.ask(&request(text, text));
        client.ask(text);
    }
    client.send_bytes(b"\x1b[2J\xff\n");
    client.answer();
    assert_eq!(client.register("Zoë")["type"], "OK");
    client.send(r#"{"type":"QUIT"}"#);
    client.rest();
    server.wait_for_text("(Zoë) has quit");
    let log = String::from_utf8(server.stdout()).expect("UTF-8");
    assert!(log.lines().all(|line| !line.chars().any(char::is_control)), "{log:?}");
}
