//! `socklab check`: each fault fails the check that names it and no other, and a program that misbehaves is judged as what it
//! is, with nothing of it left.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::socklab;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use socklab::workshop::check::list::of_lab;
use socklab::workshop::labs::LABS;
use testkit::facts;
use testkit::namespace::{or_skip, python_or_skip};
use testkit::process::{Directory, Ended, Process, as_user, run};
use testkit::tcp::wait_until;
use testkit::traffic::runs;

/// A report, and how the command ended that made it.
struct Checked {
    ended: Ended,
    report: Value,
}

impl Checked {
    /// The names of the checks with this outcome.
    fn with(&self, outcome: &str) -> Vec<&str> {
        let checks = self.report["checks"].as_array().unwrap();
        checks.iter().filter(|check| check["outcome"] == outcome).map(|check| check["name"].as_str().unwrap()).collect()
    }

    /// The one check that has failed.
    fn failure(&self) -> &Value {
        let checks = self.report["checks"].as_array().unwrap();
        let failed: Vec<&Value> = checks.iter().filter(|check| check["outcome"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{:#}\nof {:#}\n{}", json!(failed), self.report["command"], self.ended.stderr);
        failed[0]
    }

    fn passes(&self) {
        assert_eq!(self.ended.code, Some(0), "{:#}\n{}", self.report, self.ended.stderr);
        assert!(self.with("passed").len() > 2 && self.report["verdict"] == "passed");
    }
}

/// Runs `socklab check` with these arguments.
fn check(arguments: &[&str]) -> Checked {
    check_as(&mut socklab(&[]), arguments)
}

fn check_as(command: &mut Command, arguments: &[&str]) -> Checked {
    let ended = run(command.args(["check", "--json", "-"]).args(arguments));
    let stdout = String::from_utf8(ended.stdout.clone()).unwrap();
    let report = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{}", ended.stderr));
    Checked { ended, report }
}

/// A server in Python under a name by which its processes are found.
struct Server {
    python: String,
    _directory: Directory,
    file: PathBuf,
}

impl Server {
    fn new(source: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let python = python_or_skip("a server in Python")?;
        let directory = Directory::new();
        let file = directory.path().join(format!("checked-{}.py", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::write(&file, source).unwrap();
        Some(Self { python, _directory: directory, file })
    }

    /// One of `tests/servers/`, with a fault: each text stands there exactly once, and another takes its place.
    fn with(name: &str, changes: &[(&str, &str)]) -> Option<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(name);
        let mut source = fs::read_to_string(path).unwrap();
        for (from, to) in changes {
            assert_eq!(source.matches(from).count(), 1, "{from:?} in {name}");
            source = source.replace(from, to);
        }
        Self::new(&source)
    }

    fn command(&self) -> [&str; 3] {
        [&self.python, self.file.to_str().unwrap(), "{port}"]
    }

    /// The report of these checks, after which no process of the server is there any more.
    fn check(&self, arguments: &[&str]) -> Checked {
        let checked = check(&[arguments, &["--"], &self.command()].concat());
        self.is_gone();
        checked
    }

    fn is_gone(&self) {
        assert_eq!(processes_with(self.file.to_str().unwrap()), Vec::<i32>::new(), "left behind");
    }
}

/// The processes that run this file: their interpreter's first argument. Those that check it have it further behind.
fn processes_with(file: &str) -> Vec<i32> {
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).nth(1) == Some(file.as_bytes())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_it).collect()
}

#[test]
fn each_lab_keeps_what_it_promises() {
    for lab in LABS.iter().filter(|lab| of_lab(lab).next().is_some()) {
        let checked = check(&[&lab.number.to_string()]);
        checked.passes();
        let promised: Vec<&str> = of_lab(lab).filter(|check| !check.is_extra).map(|check| check.name).collect();
        assert_eq!(checked.with("passed"), promised);
    }
}

#[test]
fn a_correct_server_in_another_language_passes() {
    let Some(echo) = Server::with("echo.py", &[]) else { return };
    echo.check(&["1"]).passes();
    echo.check(&["2"]).passes();
    let Some(fork) = Server::with("fork.py", &[]) else { return };
    fork.check(&["3"]).passes();
}

/// A fault of the server in Python: what is changed, the lab whose checks find it, and the one that does.
struct Fault {
    changes: &'static [(&'static str, &'static str)],
    lab: &'static str,
    caught_by: &'static str,
    /// The kind, and a part of the reason.
    because: (&'static str, &'static str),
}

fn is_caught(file: &str, faults: &[Fault]) {
    for Fault { changes, lab, caught_by, because: (kind, why) } in faults {
        let Some(server) = Server::with(file, changes) else { return };
        let checked = server.check(&[lab]);
        assert_eq!(checked.with("failed"), [*caught_by], "{changes:?}: {:#}", checked.report);
        let failure = checked.failure();
        assert_eq!(failure["kind"], *kind, "{changes:?}: {failure:#}");
        assert!(failure.to_string().contains(why), "{changes:?}: {why:?} is missing: {failure:#}");
        assert_eq!(checked.ended.code, Some(1));
        assert!(checked.with("not-judged").is_empty(), "{:#}", checked.report);
    }
}

#[test]
fn each_fault_of_a_server_for_one_client_at_a_time_fails_the_check_that_names_it() {
    let faults = [
        Fault {
            changes: &[("sendall(data)", "send(data[:1000])")],
            lab: "1",
            caught_by: "echo",
            because: ("wrong-bytes", "from byte "),
        },
        Fault {
            changes: &[("connection.sendall(data)", "connection.sendall(data.upper())")],
            lab: "1",
            caught_by: "echo",
            because: ("wrong-bytes", r#"it got \"HELLO"#),
        },
        Fault {
            changes: &[
                ("while True:\n    conn", "kept = []\nwhile True:\n    conn"),
                ("connection.close()", "kept.append(connection)"),
            ],
            lab: "1",
            caught_by: "half-close",
            because: ("wrong-state", "the server has not closed it (CLOSE-WAIT"),
        },
        Fault {
            changes: &[("    connection.close()", "    connection.close()\n    break")],
            lab: "1",
            caught_by: "next-client",
            because: ("crashed", "exited with code 0 meanwhile"),
        },
        Fault {
            changes: &[("except OSError", "except ZeroDivisionError")],
            lab: "1",
            caught_by: "reset",
            because: ("crashed", "ConnectionResetError"),
        },
        Fault {
            changes: &[
                ("while True:\n    conn", "kept = []\nwhile True:\n    conn"),
                ("connection.close()", "connection.close()\n    kept.append(socket.socket())"),
            ],
            lab: "1",
            caught_by: "no-leak",
            because: ("wrong-state", "of them sockets"),
        },
        Fault {
            changes: &[("listener.setsockopt(", "print(")],
            lab: "2",
            caught_by: "restart",
            because: ("never-listened", "SO_REUSEADDR"),
        },
    ];
    is_caught("echo.py", &faults);
}

/// accept() and recv() as the C library has them: Python's own begin anew by themselves after EINTR.
const AS_IN_C: &str = "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def accept(listener):
    fd = libc.accept(listener.fileno(), None, None)
    if fd < 0:
        sys.exit('accept: ' + os.strerror(ctypes.get_errno()))
    return socket.socket(fileno=fd), None
def recv(connection):
    buffer = ctypes.create_string_buffer(65536)
    length = libc.recv(connection.fileno(), buffer, 65536, 0)
    if length < 0:
        raise OSError(ctypes.get_errno(), 'recv')
    return buffer.raw[:length]
import socket
";

#[test]
fn a_call_that_is_not_made_again_after_eintr_is_found_in_a_server_that_handles_no_signal() {
    const IN_C: (&str, &str) = ("import socket\n", AS_IN_C);
    let faults = [
        Fault {
            changes: &[IN_C, ("listener.accept()", "accept(listener)")],
            lab: "2",
            caught_by: "interrupted",
            because: ("crashed", "accept: Interrupted system call"),
        },
        Fault {
            changes: &[IN_C, ("connection.recv(65536)", "recv(connection)")],
            lab: "2",
            caught_by: "interrupted",
            because: ("wrong-bytes", "the server closed (FIN)"),
        },
    ];
    is_caught("echo.py", &faults);
}

#[test]
fn each_fault_of_a_server_with_a_process_for_each_client_fails_the_check_that_names_it() {
    let faults = [
        Fault {
            changes: &[("    connection.close()\n    signal", "    signal")],
            lab: "3",
            caught_by: "lets-go",
            because: ("wrong-state", "is still open in the parent (pid "),
        },
        Fault {
            changes: &[
                ("children = set()", "children = set()\nkept = []"),
                ("    connection.close()\n    signal", "    kept.append(connection)\n    signal"),
            ],
            lab: "3",
            caught_by: "lets-go",
            because: ("wrong-state", "so the kernel keeps the connection half-open"),
        },
        Fault {
            changes: &[("signal.signal(signal.SIGCHLD, reap)\n", "")],
            lab: "3",
            caught_by: "reaps",
            because: ("wrong-state", "has not called waitpid() for them"),
        },
        Fault {
            changes: &[(
                "    while True:\n        try:\n            pid",
                "    for _ in range(1):\n        try:\n            pid",
            )],
            lab: "3",
            caught_by: "reaps",
            because: ("wrong-state", "one SIGCHLD may stand for many children"),
        },
        Fault {
            changes: &[(
                "        serve(connection)\n        os._exit(0)",
                "        serve(connection)\n        signal.pause()",
            )],
            lab: "3",
            caught_by: "reaps",
            because: ("wrong-state", "it has not called _exit()"),
        },
        Fault {
            changes: &[(
                "signal.pthread_sigmask(signal.SIG_BLOCK, HELD)\n    pid = os.fork()",
                "serve(connection)\n    continue",
            )],
            lab: "3",
            caught_by: "concurrent",
            because: ("timed-out", "waits in the accept queue"),
        },
        Fault {
            changes: &[(
                "signal.pthread_sigmask(signal.SIG_BLOCK, HELD)\n    pid = os.fork()",
                "import threading\n    threading.Thread(target=serve, args=[connection]).start()\n    continue",
            )],
            lab: "3",
            caught_by: "process-each",
            because: ("wrong-state", "serves clients itself"),
        },
        Fault {
            changes: &[("listener.setsockopt(", "print(")],
            lab: "3",
            caught_by: "restart",
            because: ("never-listened", "TIME-WAIT"),
        },
        Fault {
            changes: &[("        os.kill(pid, signal.SIGTERM)", "        pass")],
            lab: "3",
            caught_by: "ends-all",
            because: ("wrong-state", "has sent its children no signal"),
        },
        Fault {
            changes: &[("signal.signal(signal.SIGTERM, end_all)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")],
            lab: "3",
            caught_by: "ends-all",
            because: ("wrong-state", "ignores SIGTERM"),
        },
        Fault {
            changes: &[("        children.discard(pid)", "        os._exit(1)")],
            lab: "3",
            caught_by: "child-killed",
            because: ("crashed", "exited with code 1 meanwhile"),
        },
        Fault {
            changes: &[("os.waitpid(-1, os.WNOHANG)", "os.waitpid(-1, 0)")],
            lab: "3",
            caught_by: "child-killed",
            because: ("timed-out", "accept queue"),
        },
    ];
    is_caught("fork.py", &faults);
}

/// Text for each side, as a program of its own: only what it is, not how it is found.
const LISTEN: &str = "import os, socket, sys, time
port = int(sys.argv[1])
def listen(address, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.bind(address)
    s.listen()
    return s
def serve(s):
    while True:
        c, _ = s.accept()
        try:
            while data := c.recv(65536):
                c.sendall(data)
        except OSError:
            pass
        c.close()
";

/// How a program misbehaves, and what is to be said of it: its kind, and parts of the failure.
struct Misbehaviour {
    source: &'static str,
    kind: &'static str,
    parts: &'static [&'static str],
}

#[test]
fn a_program_that_is_no_server_for_these_clients_is_told_what_it_is() {
    let misbehaviours = [
        Misbehaviour {
            source: "time.sleep(1000)",
            kind: "never-listened",
            parts: &["has run for 1 s and listens nowhere"],
        },
        Misbehaviour { source: "pass", kind: "never-listened", parts: &["it exited with code 0 after"] },
        Misbehaviour {
            source: "print('my last words', file=sys.stderr); sys.exit(3)",
            kind: "crashed",
            parts: &["it exited with code 3 after", "my last words"],
        },
        Misbehaviour { source: "os.kill(os.getpid(), 11)", kind: "crashed", parts: &["it was ended by SIGSEGV after"] },
        Misbehaviour {
            source: "serve(listen(('127.0.0.1', port + 1)))",
            kind: "never-listened",
            parts: &["it listens on 127.0.0.1:7002", "the port is 7001"],
        },
        Misbehaviour {
            source: "serve(listen(('127.0.0.2', port)))",
            kind: "never-listened",
            parts: &["it listens on 127.0.0.2:7001", "clients come to 127.0.0.1"],
        },
        Misbehaviour {
            source: "serve(listen(('::1', port), socket.AF_INET6))",
            kind: "never-listened",
            parts: &["it listens on [::1]:7001", "IPv6 only"],
        },
        Misbehaviour {
            source: "s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind(('::', port)); s.listen(); serve(s)",
            kind: "never-listened",
            parts: &["ECONNREFUSED", "IPv6 only", "IPV6_V6ONLY"],
        },
        Misbehaviour {
            source: "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.1', port))
s.recv(1000)",
            kind: "never-listened",
            parts: &["it has a UDP socket on 127.0.0.1:7001", "SOCK_STREAM"],
        },
        Misbehaviour {
            source: "s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind('\\0checked-' + str(os.getpid())); s.listen(); serve(s)",
            kind: "never-listened",
            parts: &["it has a Unix socket, @checked-"],
        },
        Misbehaviour {
            source: "while True: os.fork()",
            kind: "wrong-state",
            parts: &["processes", "and was ended", "faster than they end"],
        },
        Misbehaviour {
            source: "s = listen(('127.0.0.1', port))
if os.fork() == 0:
    while True: os.fork()
serve(s)",
            kind: "wrong-state",
            parts: &["and was ended"],
        },
    ];
    for Misbehaviour { source, kind, parts } in misbehaviours {
        let Some(server) = Server::new(&format!("{LISTEN}{source}\n")) else { return };
        let begun = Instant::now();
        let checked = server.check(&["1", "--patience", "1"]);
        let failure = checked.failure();
        assert_eq!(failure["kind"], kind, "{source}: {failure:#}");
        for part in parts {
            assert!(failure.to_string().contains(part), "{source}: {part:?} is missing: {failure:#}");
        }
        assert_eq!(checked.ended.code, Some(1));
        assert_eq!(checked.with("passed").len() + checked.with("skipped").len() + 1, 7, "{:#}", checked.report);
        // Generous: the machine may be slow. None of them takes the time of all checks.
        assert!(begun.elapsed() < Duration::from_secs(15), "{source}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_server_with_strange_habits_is_judged_by_what_it_does_for_its_clients() {
    let habits = [
        // Ignores SIGTERM.
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
serve(listen(('127.0.0.1', port)))",
        // Prints without end.
        "import threading
def flood():
    while True: print('x' * 5000)
s = listen(('127.0.0.1', port))
if os.fork() == 0: flood()
serve(s)",
        // Closes what it was given.
        "os.close(0); os.close(1); os.close(2)
serve(listen(('127.0.0.1', port)))",
        // Is for IPv6 and IPv4.
        "s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(('::', port)); s.listen(); serve(s)",
        // Puts itself into the background, in a session of its own.
        "if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
time.sleep(0.2)
serve(listen(('127.0.0.1', port)))",
        // Takes the port out of its environment.
        "serve(listen(('127.0.0.1', int(os.environ['PORT']))))",
    ];
    for source in habits {
        let Some(server) = Server::new(&format!("{LISTEN}{source}\n")) else { return };
        server.check(&["1"]).passes();
    }
}

#[test]
fn a_server_that_has_a_port_of_its_own_is_spoken_to_there_if_its_command_names_none() {
    let Some(server) = Server::new(&format!("{LISTEN}serve(listen(('127.0.0.1', 7055)))\n")) else { return };
    let command = [server.python.as_str(), server.file.to_str().unwrap(), "1"];
    check(&[&["1", "--"], &command[..]].concat()).passes();
    server.is_gone();
}

#[test]
fn what_cannot_be_executed_is_not_judged() {
    let directory = Directory::new();
    let file = directory.path().join("no-program");
    fs::write(&file, "serve").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    for (program, why) in [("/no/such/server", "ENOENT"), (file.to_str().unwrap(), "EACCES")] {
        let checked = check(&["3", "--", program, "{port}"]);
        assert_eq!(checked.ended.code, Some(2));
        assert_eq!(checked.with("not-judged"), ["listens"]);
        assert_eq!(checked.report["verdict"], "not-judged");
        assert!(checked.report.to_string().contains(why), "{:#}", checked.report);
    }
}

#[test]
fn however_a_check_is_ended_nobody_is_left_of_the_server() {
    for untraced in [false, true] {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
            // It takes its time in the check that is to be interrupted.
            let source = format!(
                "{LISTEN}import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
s = listen(('127.0.0.1', port))
if os.fork() == 0:
    os.setsid()
    print('ready', flush=True)
    time.sleep(1000)
time.sleep(1000)
"
            );
            let Some(server) = Server::new(&source) else { return };
            let arguments = [&["check", "1", "--only", "echo", "--"], &server.command()[..]].concat();
            let mut check = if untraced {
                let mut command = Command::new("strace");
                if !or_skip("a check under strace", runs("strace", &["true"])) {
                    return;
                }
                command.args(["-f", "-qq", "-o", "/dev/null", env!("CARGO_BIN_EXE_socklab")]).args(arguments);
                Process::start(&mut command)
            } else {
                Process::start(socklab(&[]).args(arguments))
            };
            wait_until("the server runs", || processes_with(server.file.to_str().unwrap()).len() == 2);
            let socklab = if untraced { facts::children_of(check.pid())[0].pid } else { check.pid() };
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(socklab), signal).unwrap();
            let code = check.finish().code();
            if signal != Signal::SIGKILL {
                assert_eq!(code, Some(128 + signal as i32), "{}", check.output());
            }
            wait_until("nobody is left", || processes_with(server.file.to_str().unwrap()).is_empty());
        }
    }
}

#[test]
fn where_nothing_can_be_followed_the_checks_judge_all_the_same_and_say_so() {
    // Whom strace follows, nobody else can, nor whoever that one makes.
    if !or_skip("a check under strace", runs("strace", &["true"])) {
        return;
    }
    let under_strace = || {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=none", "-o", "/dev/null", env!("CARGO_BIN_EXE_socklab")]);
        command
    };
    let checked = check_as(&mut under_strace(), &["3"]);
    checked.passes();
    assert!(checked.report["rung"].as_str().unwrap().contains("its calls cannot be followed (ptrace: EPERM"));
    let Some(server) = Server::with("fork.py", &[("    connection.close()\n    signal", "    signal")]) else { return };
    let checked = check_as(&mut under_strace(), &[&["3", "--only", "lets-go", "--"], &server.command()[..]].concat());
    let failure = checked.failure();
    assert!(failure["name"] == "lets-go" && failure["calls"].is_null(), "{failure:#}");
    server.is_gone();
}

#[test]
fn an_ordinary_user_checks_as_well_as_root() {
    let directory = Directory::new();
    let program = directory.copy_of("socklab");
    directory.copy_of("lab3-server");
    let mut command = Command::new(program);
    if nix::unistd::geteuid().is_root() {
        as_user(&mut command, 65534);
    }
    check_as(&mut command, &["3"]).passes();
}

#[test]
fn checks_that_only_an_exercise_asks_for_are_run_when_they_are_named() {
    let named = check(&["3", "--only", "max-clients"]);
    named.passes();
    assert_eq!(named.with("passed"), ["listens", "echo", "max-clients"]);
    let Some(server) = Server::with("fork.py", &[]) else { return };
    let unbounded = server.check(&["3", "--only", "max-clients"]);
    let failure = unbounded.failure();
    assert!(failure.to_string().contains("calls accept() though it serves two clients already"), "{failure:#}");

    let info =
        ("connection, client = listener.accept()\n", "connection, client = listener.accept()\n    tell(connection)\n");
    let import = (
        "import sys\n",
        "import sys\nNAMES = ['', 'ESTABLISHED', '', '', '', '', '', '', 'CLOSE-WAIT']
def tell(c): print('state', NAMES[c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]], flush=True)
",
    );
    let Some(tells) = Server::with("echo.py", &[info, import]) else { return };
    tells.check(&["1", "--only", "tells-state"]).passes();
    let always = ("import sys\n", "import sys\ndef tell(c): print('state ESTABLISHED', flush=True)\n");
    let Some(pretends) = Server::with("echo.py", &[info, always]) else { return };
    let failure = pretends.check(&["1", "--only", "tells-state"]);
    assert!(failure.failure().to_string().contains("it printed: state ESTABLISHED"), "{:#}", failure.report);
}

#[test]
fn a_failure_reads_from_the_steps_that_were_passed_to_the_reason_and_what_to_type() {
    let Some(server) = Server::with("fork.py", &[("    connection.close()\n    signal", "    signal")]) else { return };
    let directory = Directory::new();
    let (json, html) = (directory.path().join("report.json"), directory.path().join("report.html"));
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let arguments = [&["check", "3", "--only", "lets-go"], &files[..], &["--"], &server.command()].concat();
    let ended = run(&mut socklab(&arguments));
    let stdout = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(1), "{stdout}");
    let mut rest = stdout.as_str();
    for part in [
        "pass listens",
        "FAIL lets-go        the parent lets go of the connection\n",
        "1 start and listen ok   2 connect ok   3 echo ok",
        "client shutdown(WR) ok",
        "x expected a FIN from the server within 1 s; none was seen\n",
        "(wrong kernel state)",
        "last calls:\n",
        "[server ",
        "accept4(",
        "sockets:\n",
        "LISTEN 127.0.0.1:7003",
        "CLOSE-WAIT 127.0.0.1:7003 ← 127.0.0.1:",
        "why: fd ",
        "is still open in the parent (pid ",
        "see: socklab run 3 -- ",
        "ss -tanp 'sport = :7003'",
        "lab 3: 2 passed, 1 failed (lets-go), in ",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing, or in another order:\n{stdout}"));
        rest = &rest[at + part.len()..];
    }
    assert!(!stdout.contains('\x1b'));
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["checks"][2]["kind"], "wrong-state");
    let page = fs::read_to_string(html).unwrap();
    for part in ["<!DOCTYPE html>", "lets-go", "still open in the parent", "default-src 'none'"] {
        assert!(page.contains(part), "{part:?}: {page}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"));
}

#[test]
fn a_check_that_does_not_exist_is_answered_with_those_that_do() {
    let unknown = run(&mut socklab(&["check", "3", "--only", "let-go"]));
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("no check \"let-go\"") && unknown.stderr.contains("lets-go"), "{}", unknown.stderr);
    let list = run(&mut socklab(&["check", "3", "--list"]));
    assert!(String::from_utf8(list.stdout).unwrap().contains("max-clients"));
}
