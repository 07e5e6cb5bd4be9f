//! `socklab check`: each fault fails the check that names it and no other, and a program that misbehaves is judged as what it
//! is, with nothing of it left.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod misbehaviour;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use common::socklab;
use misbehaviour::LISTEN;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use socklab::workshop::check::list::of_lab;
use socklab::workshop::labs::{LABS, Lab};
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
    // Not as long as any program may take, but as long as all checks together may: each of them has its limit.
    let output = command.args(["check", "--json", "-"]).args(arguments).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let ended = Ended { code: output.status.code(), stdout: output.stdout, stderr };
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
    let keeps_its_promises = |lab: &Lab| {
        let checked = check(&[&lab.number.to_string()]);
        checked.passes();
        let promised: Vec<&str> = of_lab(lab).filter(|check| !check.is_extra).map(|check| check.name).collect();
        assert_eq!(checked.with("passed"), promised);
    };
    let labs: Vec<&Lab> = LABS.iter().filter(|lab| of_lab(lab).next().is_some()).collect();
    // Most of what a check does is wait.
    for some in labs.chunks(3) {
        thread::scope(|scope| some.iter().for_each(|lab| drop(scope.spawn(|| keeps_its_promises(lab)))));
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
            // It never listens, and that is waited for with much patience: the check does not end by itself.
            let source = format!(
                "{LISTEN}import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    print('ready', flush=True)
    time.sleep(1000)
time.sleep(1000)
"
            );
            let Some(server) = Server::new(&source) else { return };
            let arguments = [&["check", "1", "--patience", "600", "--"], &server.command()[..]].concat();
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
fn without_namespaces_the_machines_loopback_serves_as_well() {
    let tools = runs("unshare", &["-Ur", "true"]).and_then(|()| runs("setpriv", &["--version"]));
    if !or_skip("a machine without namespaces", tools) {
        return;
    }
    let script =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all \"$@\"";
    let without = || {
        let mut command = Command::new("unshare");
        command.args(["-Ur", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_socklab")]);
        command
    };
    let checked = check_as(&mut without(), &["3"]);
    checked.passes();
    assert!(checked.report["rung"].as_str().unwrap().contains("on the machine's loopback (unshare: ENOSPC"));
    let Some(server) = Server::with("fork.py", &[("listener.setsockopt(", "print(")]) else { return };
    let checked = check_as(&mut without(), &[&["3", "--"], &server.command()[..]].concat());
    assert_eq!(checked.failure()["name"], "restart");
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
    // Not 1: no server was judged.
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("no check \"let-go\"") && unknown.stderr.contains("lets-go"), "{}", unknown.stderr);
    let list = run(&mut socklab(&["check", "3", "--list"]));
    assert!(String::from_utf8(list.stdout).unwrap().contains("max-clients"));
}

#[test]
fn a_report_that_cannot_be_written_is_no_judgement() {
    for file in
        [&["--html", "-"], &["--html", "/no/such/directory/page.html"], &["--json", "/no/such/directory/report"]]
    {
        let ended = run(&mut socklab(&[&["check", "1"], &file[..]].concat()));
        assert_eq!(ended.code, Some(2), "{file:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("socklab: "), "{file:?}: {}", ended.stderr);
    }
    // What only tells something is as it was.
    assert_eq!(run(&mut socklab(&["replay", "/no/such/recording"])).code, Some(1));
}
