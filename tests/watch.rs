//! `socklab watch` and `socklab demo`: three lenses on one timeline, for any program, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::socklab;
use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::facts;
use testkit::namespace::{available, or_skip, python_or_skip};
use testkit::process::{Directory, Ended, Process, as_user, binary, run};
use testkit::tcp::wait_until;
use testkit::traffic::runs;

/// Whether programs can be watched in a network of their own.
fn can_watch(what: &str) -> bool {
    or_skip(what, available())
}

/// A finished run, and its events.
struct Watched {
    ended: Ended,
    events: Vec<Value>,
}

impl Watched {
    fn stdout(&self) -> String {
        String::from_utf8(self.ended.stdout.clone()).unwrap()
    }

    /// The segments as `client S`, `server S.`, `client . 7`: side, flags, and length where there is data.
    fn segments(&self, server_port: u16) -> Vec<String> {
        let port = format!(":{server_port}");
        let is_segment = |event: &&Value| event["what"] == "segment" && event["is"]["transport"] == "tcp";
        let text = |event: &Value| {
            let side = if event["is"]["from"].as_str().unwrap().ends_with(&port) { "server" } else { "client" };
            let length = match event["is"]["length"].as_u64().unwrap() {
                0 => String::new(),
                length => format!(" {length}"),
            };
            format!("{side} {}{length}", event["is"]["flags"].as_str().unwrap())
        };
        self.events.iter().filter(is_segment).map(text).collect()
    }

    /// The returned calls with this name, of programs in this role.
    fn calls(&self, role: &str, name: &str) -> Vec<&Value> {
        let is_it = |event: &&Value| {
            event["what"] == "returned" && event["is"]["name"] == name && event["who"]["program"]["role"] == role
        };
        self.events.iter().filter(is_it).collect()
    }

    /// The states through which the end with this local port went, each with whether a sample showed it.
    fn states(&self, is_local: impl Fn(&str) -> bool) -> Vec<(String, bool)> {
        let moved = self.events.iter().filter(|event| event["what"] == "moved");
        let ours = moved.filter(|event| is_local(event["is"]["local"].as_str().unwrap()));
        ours.map(|event| (event["is"]["after"].as_str().unwrap().into(), !event["is"]["seen"].is_null())).collect()
    }
}

/// Runs `socklab` with these arguments and reads what it wrote as JSON.
fn watched(arguments: &[&str]) -> Watched {
    let directory = Directory::new();
    let file = directory.path().join("events").display().to_string();
    let (command, rest) = arguments.split_first().unwrap();
    let ended = run(socklab(&[command, "--json", &file]).args(rest));
    let lines = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    let events = lines.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    Watched { ended, events }
}

/// A lab's server and client as command lines.
fn lab(number: u8) -> (String, String) {
    let path = |name: &str| binary(&format!("lab{number}-{name}")).display().to_string();
    (format!("{} --port {{port}}", path("server")), format!("{} 127.0.0.1 {{port}}", path("client")))
}

fn at(event: &Value) -> f64 {
    event["at"].as_f64().unwrap()
}

#[test]
fn the_handshakes_three_segments_lie_between_the_clients_connect_and_the_servers_accept() {
    if !can_watch("a handshake between its calls") {
        return;
    }
    let (server, client) = lab(1);
    let run = watched(&["watch", "--server", &server, "--client", &client, "--type", "hello\\n"]);
    assert_eq!(run.ended.code, Some(0), "{}", run.ended.stderr);
    let segments: Vec<&Value> = run.events.iter().filter(|event| event["what"] == "segment").collect();
    let [connect] = run.calls("client", "connect")[..] else { panic!("{:#?}", run.events) };
    let [accept] = run.calls("server", "accept4")[..1] else { panic!("{:#?}", run.events) };
    let entered = connect["is"]["outcome"]["entered"].as_f64().unwrap();
    for (segment, flags) in segments[..3].iter().zip(["S", "S.", "."]) {
        assert_eq!(segment["is"]["flags"], *flags);
        assert!(entered <= at(segment), "{segment} before {connect}");
        assert!(at(segment) <= at(accept), "{segment} after {accept}");
    }
    // SYN and SYN+ACK come before connect() returns; of the ACK that is not promised.
    assert!(at(segments[1]) <= at(connect));
    assert_eq!(run.segments(7000).iter().filter(|segment| segment.ends_with(" 6")).count(), 2);
}

#[test]
fn every_state_of_both_ends_is_shown_from_syn_sent_to_time_wait() {
    if !can_watch("the states of both ends") {
        return;
    }
    let (server, client) = lab(1);
    let run = watched(&["watch", "--server", &server, "--client", &client, "--type", "hello\\n"]);
    let names = |states: Vec<(String, bool)>| states.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let servers = run.states(|local| local.ends_with(":7000"));
    let clients = run.states(|local| !local.ends_with(":7000"));
    assert!(clients.contains(&("TIME-WAIT".into(), true)), "the kernel's table shows it: {clients:?}");
    let clients = names(clients);
    assert_eq!(clients[..2], ["SYN-SENT", "ESTABLISHED"], "{clients:?}");
    assert_eq!(clients[2], "FIN-WAIT-1");
    assert_eq!(clients.last().unwrap(), "TIME-WAIT");
    assert_eq!(names(servers), ["SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"]);
    let stdout = run.stdout();
    assert!(stdout.contains("● ") && stdout.contains("○ "), "{stdout}");
}

#[test]
fn a_demo_as_an_ordinary_user_prints_all_three_lenses_and_exits_with_0() {
    if !can_watch("a demo") {
        return;
    }
    let directory = Directory::new();
    let socklab = directory.copy_of("socklab");
    directory.copy_of("lab3-server");
    directory.copy_of("lab3-client");
    let mut command = Command::new(socklab);
    command.args(["demo", "3"]);
    if nix::unistd::geteuid().is_root() {
        as_user(&mut command, 65534);
    }
    let ended = run(&mut command);
    let stdout = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(0), "{stdout}\n{}", ended.stderr);
    for part in [
        "connect(3<TCP>, 127.0.0.1:7003) = 0, now 3<127.0.0.1:",
        "accept4(3<listen :7003>",
        "S  seq 0 win",
        "S. seq 0 ack 1 win",
        "mss 1460",
        "SYN-SENT → ESTABLISHED",
        "→ TIME-WAIT",
        "a new process: server/child 1",
        "3 segments opened it",
        "the client closed first",
        "yes every child has ended, and none is left as a zombie",
    ] {
        assert!(stdout.contains(part), "{part:?} is missing:\n{stdout}");
    }
    assert!(!stdout.contains("  NO  "), "{stdout}");
}

#[test]
fn demos_1_and_2_show_what_the_labs_say() {
    if !can_watch("demos") {
        return;
    }
    for lab in ["1", "2"] {
        let run = watched(&["demo", lab]);
        assert_eq!(run.ended.code, Some(0), "{}\n{}", run.stdout(), run.ended.stderr);
        assert!(run.stdout().contains("'s end is left in TIME-WAIT"), "{}", run.stdout());
    }
}

#[test]
fn demos_4_to_7_show_what_the_labs_say() {
    if !can_watch("demos") {
        return;
    }
    let parts: [&[&str]; 4] = [
        &["a new thread: server/thread 2", "yes ten messages in one write"],
        &[
            "poll([4<← :",
            "POLLIN, 3<listen> POLLIN], no time limit) = ",
            " ready: ",
            "yes poll waits for all of them at once",
        ],
        &[
            "EPOLL_CTL_ADD, 5<127.0.0.1:7006 ← :",
            "epoll_wait(4<epoll>, no time limit) = 1 ready: ",
            "yes epoll_ctl puts",
        ],
        &["typed: Hello everyone!", "] Alice: Hello everyone!", "] Bob: Hi Alice", "yes on the wire, too"],
    ];
    for (lab, parts) in (4..).zip(parts) {
        let run = watched(&["demo", &lab.to_string()]);
        let stdout = run.stdout();
        assert_eq!(run.ended.code, Some(0), "lab {lab}: {stdout}\n{}", run.ended.stderr);
        for part in parts {
            assert!(stdout.contains(part), "lab {lab}: {part:?} is missing:\n{stdout}");
        }
        assert!(!stdout.contains("  NO  ") && !stdout.contains("was not started"), "{stdout}");
    }
}

/// A demo whose server or client is another program; each pair is whose place is taken, and by whom.
fn demo_with(lab: &str, others: &[(&str, &str)]) -> Ended {
    let directory = Directory::new();
    let socklab = directory.copy_of("socklab");
    for (place, program) in others {
        fs::copy(binary(program), directory.path().join(place)).unwrap();
    }
    run(Command::new(socklab).args(["demo", lab, "--quiet"]))
}

#[test]
fn a_demo_fails_where_the_server_is_not_what_the_lab_says() {
    if !can_watch("demos of the wrong servers") {
        return;
    }
    let cases: [(&str, &str, &[&str]); 3] = [
        ("5", "lab6-server", &["poll waits for all of them at once"]),
        (
            "6",
            "lab5-server",
            &["epoll_wait waits for all of them", "epoll_ctl puts each socket on the kernel's list once"],
        ),
        (
            "5",
            "lab3-server",
            &["the server is one process", "no call on a socket of the server can sleep", "it says EAGAIN"],
        ),
    ];
    for (lab, server, claims) in cases {
        let client = format!("lab{lab}-client");
        let ended = demo_with(lab, &[(&format!("lab{lab}-server"), server), (&client, &client)]);
        let stdout = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.code, Some(1), "{stdout}\n{}", ended.stderr);
        for claim in claims {
            let found = stdout.lines().find(|line| line.contains(claim));
            assert!(found.is_some_and(|line| line.starts_with("  NO  ")), "{claim}: {stdout}");
        }
    }
}

#[test]
fn a_client_whose_cue_is_never_given_is_not_started_and_the_demo_says_so_and_fails() {
    if !can_watch("a cue that is never given") {
        return;
    }
    // The first client ends at once and says nothing.
    let directory = Directory::new();
    let socklab = directory.copy_of("socklab");
    directory.copy_of("lab5-server");
    fs::copy("/bin/true", directory.path().join("lab5-client")).unwrap();
    let ended = run(Command::new(socklab).args(["demo", "5"]));
    let stdout = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(1), "{stdout}\n{}", ended.stderr);
    assert!(stdout.contains("client 2 was not started: client 1 has never said \"hello\""), "{stdout}");
    assert!(stdout.contains("  NO  every client exits with code 0"), "{stdout}");
}

const PYTHON_SERVER: &str = "-c 'import socket
s = socket.create_server((\"127.0.0.1\", {port}))
c, _ = s.accept()
c.sendall(c.recv(100))
c.recv(100)
c.close()'";

const NODE_CLIENT: &str =
    "node -e 'const s = require(\"net\").connect({port}, \"127.0.0.1\", () => s.write(\"hello\\n\"));
s.on(\"data\", data => { process.stdout.write(data); s.end(); });'";

#[test]
fn a_python_server_and_a_node_client_are_watched_as_well_as_the_labs() {
    if !can_watch("Python and Node") || !or_skip("Node", runs("node", &["--version"])) {
        return;
    }
    let Some(python) = python_or_skip("Python") else { return };
    let server = format!("{python} {PYTHON_SERVER}");
    let run = watched(&["watch", "--server", &server, "--client", NODE_CLIENT]);
    assert_eq!(run.ended.code, Some(0), "{}\n{}", run.stdout(), run.ended.stderr);
    assert_eq!(run.segments(7000)[..3], ["client S", "server S.", "client ."]);
    let [connect] = run.calls("client", "connect")[..] else { panic!("{}", run.stdout()) };
    assert_eq!(connect["is"]["outcome"]["error"], "EINPROGRESS");
    assert_eq!(run.calls("server", "accept4").len(), 1);
    assert_eq!(run.calls("server", "recvfrom").len(), 2);
    assert!(run.stdout().contains("epoll_"), "{}", run.stdout());
    let states = run.states(|local| local.ends_with(":7000"));
    assert!(states.iter().any(|(state, _)| state == "CLOSE-WAIT"), "{states:?}");
}

#[test]
fn a_port_where_nobody_listens_is_answered_with_a_reset() {
    if !can_watch("a refused connection") {
        return;
    }
    let client = binary("lab1-client").display().to_string();
    let run = watched(&["watch", "--", &client, "127.0.0.1", "{port}"]);
    assert_eq!(run.ended.code, Some(1), "the client's own exit code");
    assert_eq!(run.segments(7000), ["client S", "server R."]);
    let [connect] = run.calls("program", "connect")[..] else { panic!("{}", run.stdout()) };
    assert_eq!(connect["is"]["outcome"]["error"], "ECONNREFUSED");
    assert!(run.stdout().contains("ECONNREFUSED (Connection refused)"), "{}", run.stdout());
}

/// Datagrams, IPv6 and a Unix socket, each with its peer in one process; a reset, and a half-close.
const MANY_KINDS: &str = r#"
import os, socket, struct
def pair(family, address):
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.bind(address); listening.listen(1)
    client = socket.socket(family, socket.SOCK_STREAM)
    client.connect(listening.getsockname())
    return client, listening.accept()[0]
a, b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b.bind(("127.0.0.1", 7000)); a.sendto(b"datagram", ("127.0.0.1", 7000)); b.recv(100)
c, s = pair(socket.AF_INET6, ("::1", 7001))
c.sendall(b"six"); s.recv(100); c.shutdown(socket.SHUT_WR); s.recv(100); s.sendall(b"half-closed"); c.recv(100)
s.close(); c.close()
c, s = pair(socket.AF_INET, ("127.0.0.1", 7002))
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close()
try: c.recv(100)
except ConnectionResetError: pass
c, s = pair(socket.AF_UNIX, "\0socklab-test-%d" % os.getpid())
c.sendall(b"unix"); s.recv(100)
"#;

#[test]
fn datagrams_ipv6_unix_sockets_a_reset_and_a_half_close_are_shown() {
    if !can_watch("many kinds of sockets") {
        return;
    }
    let Some(python) = python_or_skip("a program in Python") else { return };
    let run = watched(&["watch", "--", &python, "-c", MANY_KINDS]);
    let stdout = run.stdout();
    assert_eq!(run.ended.code, Some(0), "{stdout}\n{}", run.ended.stderr);
    for part in
        ["UDP length 8", "[::1]:7001", "ECONNRESET", "R. seq 1 ack 1", "UNIX @socklab-test-", "FIN-WAIT-2", "LAST-ACK"]
    {
        assert!(stdout.contains(part), "{part:?} is missing:\n{stdout}");
    }
}

#[test]
fn what_comes_on_standard_input_is_typed_for_the_client() {
    if !can_watch("a typed line") {
        return;
    }
    let (server, client) = lab(3);
    let mut watch = Process::start(&mut socklab(&["watch", "--server", &server, "--client", &client]));
    watch.type_line("from the terminal");
    watch.wait_for_line(|line| line.contains("[client ") && line.ends_with("typed: from the terminal"));
    watch.wait_for_line(|line| {
        line.contains("[client ") && line.ends_with(" from the terminal") && !line.contains("typed: ")
    });
    watch.close_stdin();
    assert!(watch.finish().success(), "{}", watch.output());
}

#[test]
fn several_clients_are_told_apart_and_each_is_typed_its_own_text() {
    if !can_watch("several clients") {
        return;
    }
    let (server, client) = lab(3);
    let run = watched(&[
        "watch", "--server", &server, "--client", &client, "--client", &client, "--type", "one\\n", "--type", "two\\n",
    ]);
    let stdout = run.stdout();
    assert_eq!(run.ended.code, Some(0), "{stdout}");
    let said = |role: &str, text: &str| {
        run.events
            .iter()
            .any(|event| event["what"] == "said" && event["who"]["program"]["role"] == role && event["is"] == text)
    };
    assert!(said("client 1", "one") && said("client 2", "two"), "{stdout}");
    assert_eq!(run.segments(7000).iter().filter(|segment| *segment == "client S").count(), 2);
}

#[test]
fn a_server_that_never_listens_ends_at_once_or_is_not_there_is_told_apart() {
    if !can_watch("servers that do not listen") {
        return;
    }
    let cases = [
        (
            "sh -c 'echo why >&2; exit 3'",
            "the server exited with code 3 before it listened; its last words on standard error:\n    why",
        ),
        ("/no/such/server", "exec /no/such/server: ENOENT"),
        ("sh -c 'kill -SEGV $$'", "the server was ended by SIGSEGV before it listened"),
    ];
    for (server, message) in cases {
        let ended = run(&mut socklab(&["watch", "--server", server, "--client", "true"]));
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(message), "{message:?}: {}", ended.stderr);
    }
}

/// A server that listens only after its first process has ended, as programs do that put themselves into the background.
const IN_THE_BACKGROUND: &str = "-c 'import os, socket
if os.fork(): os._exit(0)
os.setsid()
s = socket.create_server((\"127.0.0.1\", {port}))
c, _ = s.accept()
c.sendall(c.recv(100))
c.close(); s.close()'";

#[test]
fn a_server_that_puts_itself_into_the_background_is_watched_all_the_same() {
    if !can_watch("a server in the background") {
        return;
    }
    let Some(python) = python_or_skip("a server in Python") else { return };
    let server = format!("{python} {IN_THE_BACKGROUND}");
    let (_, client) = lab(1);
    let run = watched(&["watch", "--server", &server, "--client", &client, "--type", "hello\\n"]);
    assert_eq!(run.ended.code, Some(0), "{}\n{}", run.stdout(), run.ended.stderr);
    let accepts = run.events.iter().filter(|event| event["what"] == "returned" && event["is"]["name"] == "accept4");
    let roles: Vec<&str> = accepts.map(|event| event["who"]["program"]["role"].as_str().unwrap()).collect();
    assert!(matches!(roles[..], [role] if role.starts_with("server/child ")), "{roles:?}: {}", run.stdout());
}

#[test]
fn a_time_limit_ends_programs_that_go_on_for_ever() {
    if !can_watch("a time limit") {
        return;
    }
    let (server, _) = lab(1);
    let client = "sh -c 'trap \"\" TERM INT; echo $$; while :; do sleep 1000; done'";
    let run = watched(&["watch", "--for", "1", "--server", &server, "--client", client]);
    assert_eq!(run.ended.code, Some(1));
    assert!(run.stdout().contains("time is up"), "{}", run.stdout());
    let said = run.events.iter().find(|event| event["what"] == "said" && event["who"]["program"]["role"] == "client");
    let pid: i32 = said.unwrap()["is"].as_str().unwrap().parse().unwrap();
    assert!(!facts::exists(pid), "it ignored SIGTERM");
}

#[test]
fn however_a_watch_is_ended_nobody_is_left_of_those_it_watched() {
    if !can_watch("a watch that is ended") {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let script =
            "trap '' TERM INT HUP; setsid sh -c 'trap \"\" TERM INT HUP; sleep 1000 & echo ready $$ $!; wait' & wait";
        let mut watch = Process::start(&mut socklab(&["watch", "--", "sh", "-c", script]));
        // Behind a short pid there are more spaces.
        let pids = |line: &str| Some(line.split_once("] ")?.1.trim_start().strip_prefix("ready ")?.to_owned());
        let line = watch.wait_for_line(|line| pids(line).is_some());
        let family: Vec<i32> = pids(&line).unwrap().split(' ').map(|pid| pid.parse().unwrap()).collect();
        watch.signal(signal);
        watch.wait();
        wait_until("the family is gone", || family.iter().all(|&pid| !facts::exists(pid)));
    }
}

#[test]
fn the_exit_code_of_a_single_command_is_its_own() {
    if !can_watch("an exit code") {
        return;
    }
    assert_eq!(run(&mut socklab(&["watch", "--", "sh", "-c", "exit 5"])).code, Some(5));
    assert_eq!(run(&mut socklab(&["watch", "--", "sh", "-c", "kill -9 $$"])).code, Some(128 + 9));
}

#[test]
fn what_programs_print_and_send_cannot_reach_the_terminal_raw() {
    if !can_watch("hostile output") {
        return;
    }
    let Some(python) = python_or_skip("a program in Python") else { return };
    let script = "import socket, sys
a, b = socket.socketpair()
a.send(b'\\x1b[2J\\x9b\\xff'); b.recv(10)
sys.stdout.buffer.write(b'\\x1b]0;title\\x07\\xe2\\x80\\xae\\n'); sys.stderr.buffer.write(b'\\x1bc\\n')";
    let ended = run(&mut socklab(&["watch", "--", &python, "-c", script]));
    let text = String::from_utf8(ended.stdout).unwrap();
    let is_harmless = |character: char| character == '\n' || !(character.is_control() || character == '\u{202e}');
    assert!(text.chars().all(is_harmless), "{text:?}");
    assert!(text.contains("\\u{1b}]0;title"), "{text}");
}

/// Starts `socklab` where no namespace can be made, and no segment captured: in a user namespace that forbids further ones,
/// without capabilities.
fn without_namespaces(socklab: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let script =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all \"$@\"";
    command.args(["-Ur", "sh", "-c", script, "sh"]).arg(socklab).args(arguments);
    command
}

#[test]
fn without_namespaces_calls_and_states_are_shown_and_the_rung_is_said() {
    let tools = runs("unshare", &["-Ur", "true"]).and_then(|()| runs("setpriv", &["--version"]));
    if !or_skip("a machine without namespaces", tools) {
        return;
    }
    let (server, client) = lab(1);
    let ended = run(&mut without_namespaces(
        Path::new(env!("CARGO_BIN_EXE_socklab")),
        &["watch", "--server", &server, "--client", &client, "--type", "hello\\n"],
    ));
    let stdout = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(0), "{stdout}\n{}", ended.stderr);
    assert!(stdout.contains("on the machine's network, without segments"), "{stdout}");
    assert!(stdout.contains("ENOSPC") && stdout.contains("sudo sysctl user.max_user_namespaces"), "{stdout}");
    assert!(stdout.contains("rung: no namespace, no segments"), "{stdout}");
    assert!(stdout.contains("accept4(") && stdout.contains("LISTEN"), "{stdout}");
    let doctor = run(&mut without_namespaces(Path::new(env!("CARGO_BIN_EXE_socklab")), &["doctor"]));
    let stdout = String::from_utf8(doctor.stdout).unwrap();
    assert!(stdout.contains("rung: no namespace: calls and states, without segments"), "{stdout}");
    let demo = run(&mut without_namespaces(Path::new(env!("CARGO_BIN_EXE_socklab")), &["demo", "1"]));
    assert_eq!(demo.code, Some(2), "not all of it could be shown: {}", String::from_utf8_lossy(&demo.stdout));
}

#[test]
fn where_nothing_can_be_followed_it_says_why_and_a_recording_can_still_be_looked_at() {
    // Whom strace follows, nobody else can, nor whoever that one makes.
    if !can_watch("the last rung") || !or_skip("a command under strace", runs("strace", &["true"])) {
        return;
    }
    let directory = Directory::new();
    let recording = directory.path().join("recording").display().to_string();
    assert_eq!(run(&mut socklab(&["watch", "--quiet", "--record", &recording, "--", "true"])).code, Some(0));
    let under_strace = |arguments: &[&str]| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", env!("CARGO_BIN_EXE_socklab")]).args(arguments);
        run(&mut command)
    };
    let watch = under_strace(&["watch", "--", "true"]);
    assert_eq!(watch.code, Some(1));
    assert!(watch.stderr.contains("ptrace: EPERM") && watch.stderr.contains("socklab replay FILE"), "{}", watch.stderr);
    assert!(watch.stderr.contains("follows this command already"), "{}", watch.stderr);
    let doctor = String::from_utf8(under_strace(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains("rung: replay: recordings only"), "{doctor}");
    let replay = under_strace(&["replay", &recording]);
    assert_eq!(replay.code, Some(0), "{}", replay.stderr);
    assert!(String::from_utf8_lossy(&replay.stdout).contains("has ended, exit code 0"));
}
