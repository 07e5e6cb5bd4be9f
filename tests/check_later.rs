//! `socklab check` for labs 4 to 7, held against servers in another language: what is right passes, and each fault fails the
//! check that names it. (The labs' own servers are tried in `check.rs`, faults in them by `make check-workshop`.)

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::fs;
use std::path::Path;

use common::socklab;
use serde_json::Value;
use testkit::namespace::{or_skip, python_or_skip};
use testkit::process::Directory;
use testkit::traffic::runs;

/// Texts of a server, each there exactly once, and what takes their places.
type Changes<'a> = &'a [(&'a str, &'a str)];

/// The names of the checks that one of `tests/servers/` does not pass, those apart that were skipped for it; `None` where
/// there is nothing here that runs it.
fn failed(lab: u8, name: &str, only: &[&str], changes: Changes) -> Option<Vec<String>> {
    let interpreter = if name.ends_with(".js") {
        or_skip("a server in JavaScript", runs("node", &["--version"])).then(|| "node".to_owned())?
    } else {
        python_or_skip("a server in Python")?
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(name);
    let mut source = fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert_eq!(source.matches(from).count(), 1, "{from:?} in {name}");
        source = source.replace(from, to);
    }
    let directory = Directory::new();
    let file = directory.path().join(name);
    fs::write(&file, source).unwrap();
    let lab = lab.to_string();
    let arguments =
        [&["check", "--json", "-", &lab], only, &["--", &interpreter, file.to_str().unwrap(), "{port}"]].concat();
    // Each check has a time limit of its own; how many seconds all of them take says nothing.
    let ended = socklab(&arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let checks = report["checks"].as_array().unwrap();
    checks.iter().filter(|check| check["outcome"] == "failed").for_each(|check| eprintln!("{check:#}"));
    let is_bad = |check: &&Value| check["outcome"] != "passed" && check["outcome"] != "skipped";
    let bad: Vec<String> =
        checks.iter().filter(is_bad).map(|check| check["name"].as_str().unwrap().to_owned()).collect();
    // 2 would be that something could not be judged.
    assert_eq!(ended.status.code(), Some(i32::from(!bad.is_empty())), "{bad:?}: {report:#}\n{errors}");
    assert_eq!(processes_with(file.to_str().unwrap()), Vec::<i32>::new(), "left behind");
    Some(bad)
}

/// The processes that run this file: their interpreter's first argument.
fn processes_with(file: &str) -> Vec<i32> {
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).nth(1) == Some(file.as_bytes())
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it).collect()
}

fn passes(lab: u8, name: &str) {
    let failed = failed(lab, name, &[], &[]).unwrap_or_default();
    assert!(failed.is_empty(), "lab {lab}, {name}: {failed:?}");
}

fn is_caught(lab: u8, name: &str, check: &str, changes: Changes) {
    // With those that it needs. That no other fails is tried with faults of the labs' own servers, by `make check-workshop`.
    if let Some(failed) = failed(lab, name, &["--only", check], changes) {
        assert_eq!(failed, [check], "lab {lab}, {name}");
    }
}

/// What `ready.py` asks for when it could not write all, or could at last; and while it waits for room, also for bytes.
const ASKS: &str = "selector.modify(client, selectors.EVENT_WRITE if unsent[client] else selectors.EVENT_READ)";
const ASKS_FOR_BOTH: &str =
    "selector.modify(client, selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent[client] else 0))";
/// Where it finds that nothing can be written.
const TRIES_AGAIN: &str = "        pass\n    except OSError:\n        return end(client)";
/// Sockets that wait for room, but for no longer than 0.8 s (SO_SNDTIMEO).
const SENDS_FOR_A_WHILE: &str = "client.setblocking(True)\n            client.setsockopt(socket.SOL_SOCKET, 21, (800000 << 64).to_bytes(16, \"little\"))";
/// It reads on until it has 4 MiB that it cannot write.
const KEEPS_MUCH: Changes = &[
    (
        "        if not unsent[client]:\n            data = client.recv(65536)",
        "        if len(unsent[client]) < 4 << 20 and select.select([client], [], [], 0)[0]:
            data = client.recv(65536)",
    ),
    ("            unsent[client] = data\n", "            unsent[client] += data\n"),
    ("import socket\n", "import select\nimport socket\n"),
    (
        "    if bool(unsent[client]) != before:\n",
        "    if True:\n        asked = selectors.EVENT_READ * (len(unsent[client]) < 4 << 20)\n",
    ),
    (ASKS, "selector.modify(client, asked | (selectors.EVENT_WRITE if unsent[client] else 0))"),
];

#[test]
fn a_server_of_messages_in_another_language_passes() {
    passes(4, "messages.py");
}

#[test]
fn a_server_with_one_thread_in_another_language_passes() {
    passes(5, "ready.py");
    passes(6, "ready.py");
}

#[test]
fn a_server_whose_runtime_has_threads_of_its_own_has_one_for_its_clients_all_the_same() {
    passes(5, "ready.js");
    passes(6, "ready.js");
}

#[test]
fn a_server_that_lets_go_of_who_is_silent_passes_and_each_fault_of_it_fails() {
    let failed = |changes: Changes| failed(5, "time_out.py", &["--only", "time-out"], changes).unwrap_or_default();
    assert!(failed(&[]).is_empty());
    let caught = |changes: Changes| is_caught(5, "time_out.py", "time-out", changes);
    // Too early, never, and the one that speaks as well.
    caught(&[("LIMIT = 1.0", "LIMIT = 0.4")]);
    caught(&[("LIMIT = 1.0", "LIMIT = 600.0")]);
    caught(&[("        return end(client)\n    heard[client] = time.monotonic()", "        return end(client)")]);
    // Whose thread never sleeps, or looks at the clock ten times a second; who says goodbye before it lets go.
    caught(&[("selector.select(wait)", "selector.select(0)")]);
    caught(&[("selector.select(wait)", "selector.select(0.1)")]);
    caught(&[(">= LIMIT]:\n", ">= LIMIT]:\n        client.send(b\"bye\\n\")\n")]);
}

#[test]
fn a_chat_in_another_language_passes() {
    passes(7, "chat.py");
}

#[test]
fn each_fault_of_a_server_of_messages_fails_the_check_that_names_it() {
    let caught = |check: &str, changes: Changes| is_caught(4, "messages.py", check, changes);
    caught("cut-anywhere", &[("kept += data", "kept = data")]);
    caught("many-in-one", &[("for line in lines:", "for line in lines[:10]:")]);
    // What was answered is kept; and what was thrown away.
    let keeps = ("LONGEST = 64 * 1024\n", "LONGEST = 64 * 1024\nkeep = []\n");
    caught("too-long", &[keeps, ("kept += data", "kept += data\n                keep.append(data)")]);
    caught(
        "too-long",
        &[
            keeps,
            (
                "                    kept = b\"\"\n",
                "                    keep.append(kept)\n                    kept = b\"\"\n",
            ),
        ],
    );
    caught("bad-request", &[("raise Refusal(\"BAD_JSON\")\n        if not", "raise OSError\n        if not")]);
    caught("concurrent", &[("daemon=True).start()", "daemon=True).run()")]);
    caught(
        "thread-each",
        &[("OSError:\n            pass", "OSError:\n            pass\n        threading.Event().wait()")],
    );
    caught(
        "no-leak",
        &[
            ("    with client:\n", "    keep.append(client)\n    if client:\n"),
            ("LONGEST = 64 * 1024\n", "LONGEST = 64 * 1024\nkeep = []\n"),
            ("except OSError:\n            pass", "except OSError:\n            pass\n        client.shutdown(2)"),
        ],
    );
}

#[test]
fn each_fault_of_a_server_with_one_thread_fails_the_check_that_names_it() {
    let caught = |lab: u8, check: &str, changes: Changes| is_caught(lab, "ready.py", check, changes);
    caught(
        5,
        "all-bytes",
        &[(
            "unsent[client] = unsent[client][client.send(unsent[client]) :]",
            "client.send(unsent[client])\n        unsent[client] = b\"\"",
        )],
    );
    // Who could not write is told of bytes that it does not read: always; and so that it rests in between.
    caught(5, "all-bytes", &[(ASKS, "pass")]);
    caught(5, "all-bytes", &[(ASKS, ASKS_FOR_BOTH)]);
    caught(5, "all-bytes", &[(ASKS, "pass"), (TRIES_AGAIN, &TRIES_AGAIN.replace("pass", "time.sleep(0.02)"))]);
    // A thread for each client; and none that is new, but several that read.
    let thread = "import threading\n            threading.Thread(target=time.sleep, args=[1000], daemon=True).start()";
    let accepted = "            client, _ = listener.accept()\n";
    caught(5, "one-thread", &[(accepted, &format!("{accepted}            {thread}\n"))]);
    let pools = "from concurrent.futures import ThreadPoolExecutor\npools = [ThreadPoolExecutor(1) for _ in range(2)]
[pool.submit(int).result() for pool in pools]\nunsent = {}\n";
    let reads = "pools[client.fileno() % 2].submit(client.recv, 65536).result()";
    caught(5, "one-thread", &[("unsent = {}\n", pools), ("client.recv(65536)", reads)]);
    caught(5, "slow-reader", &[("client.setblocking(False)\n            unsent", "unsent")]);
    caught(
        5,
        "idle",
        &[(
            "selector.register(client, selectors.EVENT_READ)",
            "selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)",
        )],
    );
    caught(
        5,
        "slow-reader",
        &[("client.setblocking(False)\n            unsent", &format!("{SENDS_FOR_A_WHILE}\n            unsent"))],
    );
    caught(
        6,
        "emfile",
        &[("        selector.unregister(listener)\n", ""), ("rests_until = time.monotonic() + 0.3", "pass")],
    );
    let sleeps = "time.sleep(0.5)";
    caught(6, "emfile", &[("selector.unregister(listener)", sleeps), ("rests_until = time.monotonic() + 0.3", "pass")]);
    caught(6, "back-pressure", &[(ASKS, ASKS_FOR_BOTH)]);
    caught(6, "back-pressure", KEEPS_MUCH);
}

#[test]
fn each_fault_of_a_chat_fails_the_check_that_names_it() {
    let caught = |check: &str, changes: Changes| is_caught(7, "chat.py", check, changes);
    caught("name-taken", &[("        if name in members:\n            raise Refusal(\"NAME_TAKEN\")\n", "")]);
    // Who leaves takes all names with him.
    caught(
        "name-free",
        &[
            ("members, history, tasks = {}, [], set()", "members, history, tasks, taken = {}, [], set(), set()"),
            ("        if name in members:\n", "        if name in taken:\n"),
            (
                "members[name], client.name = client, name",
                "members[name], client.name = client, name\n        taken.add(name)",
            ),
            ("        del members[client.name]\n", "        del members[client.name]\n        taken.clear()\n"),
        ],
    );
    caught("history", &[("history[-count:]", "history[:count]")]);
    caught(
        "broadcast",
        &[
            ("if other is not self]:", "]:"),
            (
                "client.tell_others({\"type\": \"JOINED\", \"data\": name})",
                "[other.tell({\"type\": \"JOINED\", \"data\": name}) for other in members.values() if other is not client]",
            ),
        ],
    );
    caught("slow-reader", &[("get_write_buffer_size() > QUEUE", "get_write_buffer_size() > 2**40")]);
    // Whatever it talks about, it keeps no check for ever: to who has said something, and to the others.
    let many_times = "for _ in range(1000 if len(str(request)) > 1000 else 0):";
    let talks = format!("    {many_times}\n        client.tell({{\"type\": \"TIME\"}})\n    client.tell(reply)\n");
    caught("slow-reader", &[("    client.tell(reply)\n", &talks)]);
    let left = "client.tell_others({\"type\": \"LEFT\", \"data\": \"Deaf\"})";
    let leaves = format!("{many_times}\n            {left}\n        client.tell_others({{\"type\": \"BROADCAST\"");
    caught("slow-reader", &[("client.tell_others({\"type\": \"BROADCAST\"", &leaves)]);
    caught("ends-well", &[("signal.SIGTERM", "signal.SIGINT")]);
}
