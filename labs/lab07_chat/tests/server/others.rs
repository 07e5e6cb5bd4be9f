//! Clients that are not ours: all that they know is the protocol's page.

use std::process::Command;

use serde_json::json;
use testkit::namespace::or_skip;
use testkit::process::{Process, run};
use testkit::traffic::runs;

use crate::chat::{Client, server};

const PYTHON: &str = r#"
import json, socket, sys
chat = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20).makefile("rw", encoding="utf-8", newline="\n")
def ask(kind, data=None):
    chat.write(json.dumps({"type": kind, "data": data}) + "\n"); chat.flush()
    while True:
        line = json.loads(chat.readline())
        if line["type"] in ("OK", "ERROR"): return line
        print(line["type"], line.get("from", ""), line["data"], flush=True)
print(ask("register", "Python")["data"], flush=True)
print(ask("MESSAGE", "gr\u00fc\u00dfe")["data"], flush=True)
print(ask("REGISTER", "Again")["code"], flush=True)
print(ask("LIST_USERS")["data"], flush=True)
print(ask("QUIT")["type"], repr(chat.readline()), flush=True)
"#;

#[test]
fn python_speaks_to_it_with_its_standard_library_alone() {
    if !or_skip("a client in Python", runs("python3", &["-c", "import socket"])) {
        return;
    }
    let server = server(&[]);
    let mut alice = Client::named(server.address(), "Alice");
    let ended = run(Command::new("python3").args(["-c", PYTHON, &server.port().to_string()]));
    let expected = "Welcome, Python. 1 other is here.\n1\nALREADY_REGISTERED\n['Alice', 'Python']\nOK ''\n";
    assert_eq!((ended.code, String::from_utf8_lossy(&ended.stdout).as_ref()), (Some(0), expected), "{}", ended.stderr);
    assert_eq!(alice.event()["type"], "JOINED");
    assert_eq!(alice.event()["data"], "grüße");
    assert_eq!(alice.event(), json!({"type":"LEFT","data":"Python"}));
}

#[test]
fn netcat_speaks_to_it_with_lines_that_are_typed() {
    if !or_skip("nc as a client", runs("sh", &["-c", "command -v nc"])) {
        return;
    }
    let server = server(&[]);
    let mut alice = Client::named(server.address(), "Alice");
    let mut netcat = Process::start(Command::new("nc").args(["-N", "127.0.0.1", &server.port().to_string()]));
    netcat.type_line(r#"{"type":"register","data":"Netcat"}"#);
    netcat.wait_for_line(|line| line.contains("Welcome, Netcat"));
    alice.say("hello, nc");
    netcat.wait_for_line(|line| line.contains("BROADCAST") && line.contains("hello, nc"));
    netcat.type_line(r#"{"type":"TIME"}"#);
    netcat.close_stdin();
    assert_eq!(netcat.finish().code(), Some(0));
    netcat.wait_for_text(r#""re":"TIME""#);
    assert_eq!(alice.event()["type"], "JOINED");
    assert_eq!(alice.event(), json!({"type":"LEFT","data":"Netcat"}));
}
