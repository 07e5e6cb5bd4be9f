//! The list of labs is one list: what is generated from it, or stands beside it, says the same.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::socklab;
use socklab::workshop::labs::LABS;
use testkit::process::{Server, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn make(words: &[&str]) -> String {
    let output = Command::new("make").args(["--no-print-directory"]).args(words).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_bare_make_has_one_line_for_every_target_of_every_lab() {
    let help = make(&[]);
    let targets = help.lines().filter_map(|line| line.strip_prefix("  make ")?.split(' ').next());
    let targets: Vec<&str> = targets.collect();
    for lab in LABS {
        for kind in ["lab", "client", "demo", "check"] {
            let target = format!("{kind}{}", lab.number);
            assert_eq!(targets.iter().filter(|&&known| known == target).count(), 1, "{target}: {help}");
        }
        let diff = format!("diff{}", lab.number);
        assert_eq!(targets.contains(&diff.as_str()), lab.number > 1, "{diff}: {help}");
        for before in [lab.before_its_server(), lab.before_its_client()].into_iter().flatten() {
            let line = help.lines().find(|line| line.starts_with(&format!("  make {diff} "))).unwrap();
            assert!(line.contains(&format!("lab {}", before.number)), "{line}");
        }
    }
    let others: Vec<&&str> =
        targets.iter().filter(|target| !target.ends_with(|last: char| last.is_ascii_digit())).collect();
    let expected = [
        "help",
        "states",
        "scene",
        "learn",
        "progress",
        "list",
        "doctor",
        "test",
        "lint",
        "ci",
        "check-workshop",
        "recordings",
        "bench",
        "soak",
        "clean",
    ];
    assert_eq!(others, expected.iter().collect::<Vec<_>>());
    for target in ["ex1", "ex1.6", "hint1.6", "solution1.6", "reset1.6"] {
        assert!(targets.contains(&target), "{target}: {help}");
    }
    for variable in ["PORT=", "ADDR=", "CMD=", "ARGS="] {
        assert!(help.contains(variable), "{variable}: {help}");
    }
}

#[test]
fn every_lab_has_its_package_its_binaries_its_readme_and_its_place_in_the_documents() {
    let (readme, exercises) = (read("README.md"), read("EXERCISES.md"));
    for lab in LABS {
        let manifest = read(&format!("labs/{}/Cargo.toml", lab.package));
        for binary in [lab.server(), lab.client()] {
            assert!(manifest.contains(&format!("name = \"{binary}\"")), "{manifest}");
        }
        assert!(
            readme.contains(&format!("(labs/{}/README.md)", lab.package)),
            "README.md does not link {}",
            lab.package
        );
        for target in ["lab", "client", "demo"] {
            assert!(readme.contains(&format!("`make {target}{}`", lab.number)), "README.md: {target}{}", lab.number);
        }
        assert_eq!(readme.contains(&format!("`make diff{}`", lab.number)), lab.number > 1);
        assert!(read(&format!("labs/{}/README.md", lab.package)).len() > 1000);
        let numbered = exercises.lines().filter(|line| line.starts_with(&format!("### {}.", lab.number))).count();
        assert!(numbered >= 4, "lab {} has {numbered} exercises", lab.number);
    }
    for directory in fs::read_dir(root().join("labs")).unwrap() {
        let name = directory.unwrap().file_name().into_string().unwrap();
        assert!(name == "kit" || LABS.iter().any(|lab| lab.package == name), "labs/{name} is not in the list");
    }
}

#[test]
fn every_servers_own_port_is_the_one_in_the_list() {
    for lab in LABS {
        let help = run(Command::new(testkit::process::binary(&lab.server())).arg("--help"));
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(help.contains(&format!("[default: {}]", lab.port)), "{help}");
    }
}

#[test]
fn list_names_every_lab() {
    let list = run(&mut socklab(&["list"]));
    let list = String::from_utf8(list.stdout).unwrap();
    for lab in LABS {
        assert!(list.contains(&format!("lab {}  {}", lab.number, lab.package)), "{list}");
    }
}

/// What `socklab diff` prints for a lab.
fn diff(lab: u8) -> String {
    let ended = run(&mut socklab(&["diff", &lab.to_string()]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn diff_compares_each_program_with_that_of_the_lab_that_it_goes_on_from() {
    for lab in LABS {
        let (Some(server), Some(client)) = (lab.before_its_server(), lab.before_its_client()) else { continue };
        let told = diff(lab.number);
        for (file, before) in [("server.rs", server), ("client.rs", client)] {
            let heading = format!(": {} → {}", before.package, lab.package);
            let found = told.lines().find(|line| line.starts_with(file) && line.ends_with(&heading));
            assert!(found.is_some(), "{file}{heading}: {told}");
        }
        for change in told.lines().filter(|line| line.starts_with(['+', '-', '='])) {
            assert!(!change.contains("use ") || !change.ends_with(';') || change.contains("//"), "an import: {change}");
            assert!(!change[1..].trim_start().starts_with("//!"), "a header: {change}");
        }
    }
}

#[test]
fn diff_shows_the_idea_of_a_lab_and_names_what_it_has_taken_the_place_of() {
    let fork = diff(3);
    assert!(fork.lines().any(|line| line.starts_with('+') && line.contains("fork()")), "{fork}");
    let poll = diff(5);
    assert!(poll.lines().any(|line| line.starts_with('+') && line.contains("match poll(")), "{poll}");
    assert!(poll.lines().any(|line| line.starts_with("- ") && line.contains("fn reap, fn end_all")), "{poll}");
    assert!(!poll.contains("waitpid("), "what is gone as a whole is named, and not repeated: {poll}");
    // What lab 6's server has in a second file stood in lab 5's own: it is compared with that.
    let epoll = diff(6);
    assert!(epoll.contains("server.rs and connection.rs: lab05_poll → lab06_epoll"), "{epoll}");
    assert!(epoll.contains("    unsent: Vec<u8>,") && !epoll.contains("+    unsent: Vec<u8>,"), "{epoll}");
    let chat = diff(7);
    assert!(chat.contains("it uses the library lab07_chat: ") && chat.contains("labs/lab07_chat/hub.rs"), "{chat}");
}

#[test]
fn lab_1_has_no_lab_before_it() {
    let first = run(&mut socklab(&["diff", "1"]));
    assert_eq!(first.code, Some(1));
    assert!(first.stderr.contains("lab 1 is the first one"), "{}", first.stderr);
}

#[test]
fn doctor_says_what_is_there_what_it_is_for_and_how_to_get_the_rest() {
    let doctor = run(&mut socklab(&["doctor"]));
    assert_eq!(doctor.code, Some(0), "{}", doctor.stderr);
    let told = String::from_utf8(doctor.stdout).unwrap();
    for name in ["cargo", "make", "ss", "tcpdump", "strace", "tmux", "nc", "states", "7001", "7002", "7003"] {
        let starts = |line: &str| {
            line.trim_start().trim_start_matches("yes").trim_start_matches("no").trim_start().starts_with(name)
        };
        assert!(told.lines().any(starts), "{name}: {told}");
    }
    assert!(told.lines().any(|line| line.starts_with("  yes states")), "{told}");
    // Where nothing is along PATH, what is missing is named with the command that installs it.
    let bare = run(socklab(&["doctor"]).env("PATH", "/nonexistent"));
    let told = String::from_utf8(bare.stdout).unwrap();
    assert_eq!(bare.code, Some(1), "without cargo nothing can be built: {told}");
    assert!(told.contains("no  cargo") && told.contains("to install what is missing:"), "{told}");
}

#[test]
fn client_is_the_labs_client_with_its_exit_code() {
    let server = Server::start("lab1-server", &[]);
    let mut client = socklab(&["client", "1", "--port", &server.port().to_string()]);
    let mut client = testkit::process::Process::start(&mut client);
    client.type_line("hello");
    client.wait_for_line(|line| line == "hello");
    client.close_stdin();
    assert_eq!(client.wait().code(), Some(0));
    drop(server);
    let refused = run(&mut socklab(&["client", "1", "--port", "1"]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("connect 127.0.0.1:1: ECONNREFUSED"), "{}", refused.stderr);
}
