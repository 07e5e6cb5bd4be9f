//! The views on real runs: one `socklab watch`, and what the page, the capture, the ladder and the replay make of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is what a test is for")]

#[path = "page/browser.rs"]
#[allow(dead_code, reason = "tests/page.rs uses the rest")]
mod browser;
mod common;
#[path = "views/watched.rs"]
mod watched;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use browser::Browser;
use common::socklab;
use nix::pty::{Winsize, openpty};
use serde_json::{Value, json};
use socklab::event::{Event, Segment, What, Who};
use socklab::view::notation;
use testkit::namespace::{available, or_skip, python_or_skip};
use testkit::process::{Directory, run};
use testkit::terminal::{Terminal, TerminalOptions};
use testkit::traffic::runs;
use watched::{Watched, users};

fn can_watch(what: &str) -> bool {
    or_skip(what, available())
}

/// What is on the page: the first call of this name whose label holds `with`, from its entry to its return.
fn call_on_page(browser: &mut Browser, who: &str, name: &str, with: &str) -> Value {
    browser.value(&format!(
        "(() => {{
            const call = [...document.querySelectorAll('.thing.call')].find((it) => {{
                const label = it.getAttribute('aria-label');
                return label.startsWith({who:?}) && label.includes({name:?}) && label.includes({with:?});
            }});
            const parts = [call, ...document.querySelectorAll(`.part[data-of=\"${{call.id.slice(1)}}\"]`)];
            const bars = parts.map((part) => part.querySelector('.bar').getBoundingClientRect());
            return {{
                entry: Math.min(...bars.map((bar) => bar.top)), end: Math.max(...bars.map((bar) => bar.bottom)),
                left: bars[0].left, right: bars[0].right,
            }};
        }})()"
    ))
}

/// The arrows on the page, from top to bottom: label, and where each begins and ends.
fn arrows_on_page(browser: &mut Browser) -> Vec<Value> {
    let arrows = browser.value(
        "[...document.querySelectorAll('.thing.segment')].map((it) => {
            const box = it.querySelector('.shaft').getBoundingClientRect();
            const label = it.getAttribute('aria-label');
            return {label, top: box.top, bottom: box.bottom, left: box.left, right: box.right};
        })",
    );
    arrows.as_array().unwrap().clone()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} of {value}"))
}

#[test]
fn on_the_page_of_a_real_run_the_handshake_lies_between_the_calls_and_nothing_is_asked_for() {
    let name = browser::available();
    if !can_watch("a page") || !or_skip("the page of a real run in a browser", name.clone().map(drop)) {
        return;
    }
    let mut browser = Browser::start(name.unwrap());
    for user in users() {
        let run = Watched::lab_1(user);
        let page = run.path("run.html");
        browser.open(&page);
        assert_eq!(browser.value("document.documentElement.className"), "js");
        for kind in ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"] {
            assert!(browser.told_of(kind).is_empty(), "{:?}", browser.told_of(kind));
        }
        let requests = browser.told_of("Network.requestWillBeSent");
        let urls: Vec<&str> = requests.iter().map(|request| request["request"]["url"].as_str().unwrap()).collect();
        assert_eq!(urls, [format!("file://{}", page.display())]);

        let connect = call_on_page(&mut browser, "client ", ": connect(", "= 0");
        let accept = call_on_page(&mut browser, "server ", ": accept4(", "= 4<");
        let arrows = arrows_on_page(&mut browser);
        let client = run.client_end();
        let expected = [
            format!("{client} → 127.0.0.1:7000: S "),
            format!("127.0.0.1:7000 → {client}: S. "),
            format!("{client} → 127.0.0.1:7000: . "),
        ];
        let mut above = number(&connect, "entry");
        for (arrow, label) in arrows.iter().zip(&expected) {
            assert!(arrow["label"].as_str().unwrap().starts_with(label), "{label}: {arrow}");
            assert!(above < number(arrow, "top"), "{arrow} is not below {above}");
            assert!(number(arrow, "top") < number(&accept, "end"), "{arrow} is below the end of {accept}");
            assert!(number(&connect, "right") < number(arrow, "left"), "{arrow} begins left of {connect}");
            assert!(number(arrow, "right") < number(&accept, "left"), "{arrow} ends right of {accept}");
            above = number(arrow, "bottom");
        }
        let shown = arrows.len();
        assert_eq!(shown, run.segments().count(), "every segment has its arrow");
    }
}

/// What tshark reads in a capture, a row per packet.
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.env("HOME", "/nowhere").args(["-n", "-T", "fields", "-E", "occurrence=f", "-r"]).arg(file);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = String::from_utf8(output.stdout).unwrap();
    rows.lines().map(|row| row.split('\t').map(str::to_owned).collect()).collect()
}

/// `1774101909.123456789` as nanoseconds.
fn nanoseconds(text: &str) -> u128 {
    let (seconds, fraction) = text.split_once('.').unwrap();
    assert_eq!(fraction.len(), 9, "{text}");
    format!("{seconds}{fraction}").parse().unwrap()
}

#[test]
fn tshark_finds_the_same_segments_in_the_capture_as_the_recording_has() {
    if !can_watch("a capture") || !or_skip("the capture of a real run", runs("tshark", &["--version"])) {
        return;
    }
    let fields = ["frame.time_epoch", "tcp.srcport", "tcp.dstport", "tcp.flags", "tcp.seq", "tcp.ack", "tcp.len"];
    for user in users() {
        let run = Watched::lab_1(user);
        let started = run.header.started.duration_since(UNIX_EPOCH).unwrap();
        let rows = tshark(&run.path("run.pcapng"), &fields);
        assert_eq!(rows.len(), run.segments().count());
        assert!(rows.len() >= 8, "{rows:?}");
        for (row, (at, segment)) in rows.iter().zip(run.segments()) {
            let time = nanoseconds(&row[0]).abs_diff((started + at).as_nanos());
            assert!(time <= 1000, "{time} ns between {row:?} and {segment:?}");
            let expected = [
                segment.from.port().to_string(),
                segment.to.port().to_string(),
                format!("0x{:04x}", segment.flags.0),
                segment.relative_seq.to_string(),
                segment.relative_ack.to_string(),
                segment.length.to_string(),
            ];
            assert_eq!(row[1..], expected);
        }
    }
}

/// The call that sent this data, found as one would do it by hand: on the same side, under way at that time, and as long.
fn sender<'a>(run: &'a Watched, at: Duration, segment: &Segment) -> (&'a Who, String) {
    let side = if segment.from.port() == 7000 { "server" } else { "client" };
    let mut found = run.events.iter().filter_map(|event| match (&event.what, &event.who) {
        (What::Returned(call), Who::Program { role, .. }) if role == side => {
            let outcome = call.outcome.as_ref()?;
            let is_under_way = outcome.entered <= at && at <= event.at;
            let sends = matches!(call.name.as_str(), "write" | "sendto" | "sendmsg" | "writev");
            let is_it = is_under_way && sends && outcome.value == i64::from(segment.length);
            is_it.then(|| (&event.who, notation::call(call)))
        }
        _ => None,
    });
    let it = found.next().unwrap_or_else(|| panic!("nobody sent {segment:?}: {:#?}", run.events));
    assert!(found.next().is_none());
    it
}

#[test]
fn each_data_segment_in_the_capture_names_the_call_that_sent_it() {
    if !can_watch("a capture") || !or_skip("comments in a capture", runs("tshark", &["--version"])) {
        return;
    }
    let run = Watched::lab_1(None);
    let comments = tshark(&run.path("run.pcapng"), &["frame.number", "frame.comment"]);
    let mut checked = 0;
    for (row, (at, segment)) in comments.iter().zip(run.segments()) {
        if segment.length > 0 {
            let (who, call) = sender(&run, at, segment);
            let Who::Program { role, pid } = who else { panic!("{who:?}") };
            assert_eq!(row[1], format!("during {call} by {role} (pid {pid})"));
            checked += 1;
        }
    }
    assert_eq!(checked, 2, "the line and its echo");
    assert!(comments[0][1].starts_with("during connect(3<TCP>, 127.0.0.1:7000) by client "), "{comments:?}");
}

/// The lines of a timeline, without what is above and below it.
fn timeline(stdout: &str) -> Vec<&str> {
    let lines = stdout.lines().skip_while(|line| !line.is_empty()).skip(1);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// In a user namespace that forbids further ones, without capabilities: nothing can be observed there. What it asks the
/// kernel for is written to `calls`.
fn where_nothing_may_be_observed(calls: &Path, arguments: &[&str]) -> Command {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all \
                  strace -f -e trace=ptrace,unshare,setns,socket,bpf,process_vm_readv -o \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", script, "sh"]).arg(calls).arg(env!("CARGO_BIN_EXE_socklab")).args(arguments);
    command
}

#[test]
fn a_replay_shows_and_writes_what_the_live_run_did_also_where_nothing_may_be_observed() {
    let tools = runs("unshare", &["-Ur", "true"])
        .and_then(|()| runs("setpriv", &["--version"]))
        .and_then(|()| runs("strace", &["-V"]));
    if !can_watch("a run to be replayed") || !or_skip("a replay without any privilege", tools) {
        return;
    }
    for user in users() {
        let live = Watched::lab_1(user);
        let directory = Directory::new();
        let files = ["run.html", "run.pcapng", "run.jsonl", "run.record"];
        let paths = files.map(|name| directory.path().join(name).display().to_string());
        let recording = live.path("run.record").display().to_string();
        let [html, pcapng, json, record] = &paths;
        let arguments = ["replay", &recording, "--html", html, "--pcapng", pcapng, "--json", json, "--record", record];
        let calls = directory.path().join("calls");
        let ended = run(&mut where_nothing_may_be_observed(&calls, &arguments));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let stdout = String::from_utf8(ended.stdout).unwrap();
        assert!(timeline(&live.stdout).len() > 30, "{}", live.stdout);
        assert_eq!(timeline(&stdout), timeline(&live.stdout));
        for (name, path) in files.iter().zip(&paths) {
            let (written, before) = (fs::read(path).unwrap(), fs::read(live.path(name)).unwrap());
            assert!(!before.is_empty() && written == before, "{name} is another one");
        }
        let calls = fs::read_to_string(&calls).unwrap();
        assert!(calls.contains("+++ exited with 0 +++") && !calls.contains('('), "{calls}");
    }
}

/// What stands in a row of a ladder, from left to right: the time, the states of the client, the wire, and of the server.
fn rows(ladder: &str) -> Vec<[String; 3]> {
    let is_lifeline = |character: char| matches!(character, '│' | '├' | '┤');
    let rows = ladder.lines().filter(|line| line.matches(is_lifeline).count() == 2);
    let parts = |line: &str| {
        let parts: Vec<&str> = line.split(is_lifeline).map(str::trim).collect();
        let client = parts[0].split_once("  ").map_or(parts[0], |(_, client)| client);
        [client.trim().to_owned(), parts[1].to_owned(), parts[2].to_owned()]
    };
    rows.map(parts).collect()
}

/// The states on one side, in order, without their marks.
fn states(rows: &[[String; 3]], side: usize) -> Vec<String> {
    let marked = rows.iter().filter_map(|row| row[side].rsplit_once(['●', '○']));
    marked.map(|(_, state)| state.trim().to_owned()).collect()
}

fn check_ladder(ladder: &str) {
    let rows = rows(ladder);
    let wire: Vec<&str> = rows.iter().map(|row| row[1].as_str()).filter(|wire| !wire.is_empty()).collect();
    let begins = ["── S  seq 0 win ", "←─ S. seq 0 ack 1 win ", "── .  ack 1 win "];
    for (arrow, begin) in wire.iter().zip(begins) {
        assert!(arrow.starts_with(begin), "{begin:?}: {arrow:?}\n{ladder}");
    }
    let client = states(&rows, 0);
    assert_eq!(client[..3], ["SYN-SENT", "ESTABLISHED", "FIN-WAIT-1"], "{ladder}");
    assert_eq!(client.last().unwrap(), "TIME-WAIT", "{ladder}");
    let server = ["SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"];
    assert_eq!(states(&rows, 2), server, "{ladder}");
    let place = |text: &str| ladder.find(text).unwrap_or_else(|| panic!("{text} is missing:\n{ladder}"));
    assert!(place("connect(3<TCP>, 127.0.0.1:7000) …") < place("── S  seq 0"), "{ladder}");
    assert!(place("── .  ack 1 win ") < place("accept4("), "{ladder}");
}

#[test]
fn on_a_terminal_of_80_columns_the_ladder_shows_the_handshake_and_the_states_in_order() {
    if !can_watch("a ladder") {
        return;
    }
    let directory = Directory::new();
    let mut terminal = Terminal::new(&TerminalOptions::new(directory.path())).unwrap();
    let socklab = env!("CARGO_BIN_EXE_socklab");
    let (server, client) = watched::commands();
    let watch = format!(
        "{socklab} watch --quiet --ladder --record run --server '{server}' --client '{client}' --type 'hello\\n'"
    );
    let limit = Duration::from_secs(20);
    let mut shown = |command: &str| {
        let before = terminal.seen().len();
        terminal.run(command, limit).unwrap();
        assert_eq!(terminal.await_end(limit), Ok(0), "{}", terminal.seen());
        terminal.seen()[before..].replace('\r', "")
    };
    let live = shown(&watch);
    check_ladder(&live);
    let width = |line: &str| textwrap::core::display_width(line);
    assert!(live.lines().all(|line| width(line) <= 80), "{live}");
    let replayed = shown(&format!("{socklab} replay --quiet --ladder run"));
    assert_eq!(replayed.trim(), live.trim());
    let with_timeline = shown(&format!("{socklab} replay --ladder run"));
    assert!(with_timeline.contains("starts: ") && with_timeline.contains(live.trim()), "{with_timeline}");
    terminal.end().unwrap();
}

/// What a command writes to a terminal, byte for byte.
fn raw_from_terminal(command: &mut Command) -> String {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(terminal.slave).spawn().unwrap();
    // It keeps a descriptor of the terminal, and then the end would never come.
    command.stdout(Stdio::null());
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    let mut master = fs::File::from(terminal.master);
    // EIO: nobody has the other end open any more.
    while let Ok(count @ 1..) = master.read(&mut piece) {
        bytes.extend(&piece[..count]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(bytes).unwrap()
}

#[test]
fn on_a_terminal_the_ladder_has_its_colours_unless_no_color_is_set() {
    if !can_watch("a ladder in colour") {
        return;
    }
    let run = Watched::lab_1(None);
    let ladder = |variables: &[(&str, &str)]| {
        let mut command = socklab(&["replay", "--quiet", "--ladder"]);
        command.arg(run.path("run.record")).env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
        raw_from_terminal(&mut command)
    };
    let (coloured, plain) = (ladder(&[]), ladder(&[("NO_COLOR", "1")]));
    assert!(coloured.contains("\x1b[35m── S  seq 0"), "the wire has its colour: {coloured:?}");
    assert!(!plain.contains('\x1b'), "{plain:?}");
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
    check_ladder(&plain.replace('\r', ""));
}

#[test]
fn where_standard_output_is_taken_neither_timeline_nor_ladder_is_printed() {
    if !can_watch("a recording") {
        return;
    }
    let run = Watched::lab_1(None);
    let file = run.path("run.record");
    let ended = testkit::process::run(socklab(&["replay", "--ladder", "--json", "-"]).arg(&file));
    assert_eq!((ended.code, ended.stdout), (Some(0), fs::read(run.path("run.jsonl")).unwrap()));
}

#[test]
fn the_calls_of_a_dual_stack_server_go_with_its_ipv4_segments_in_every_view() {
    if !can_watch("a dual-stack server") || !or_skip("IPv6", dual_stack_works()) {
        return;
    }
    let run = Watched::dual_stack();
    let accepted = run.events.iter().any(|event| match &event.what {
        What::Returned(call) => {
            let made = call.outcome.as_ref().and_then(|outcome| outcome.made.as_ref());
            made.is_some_and(|made| notation::descriptor(made).starts_with("4<[::ffff:127.0.0.1]:7000 ← "))
        }
        _ => false,
    });
    assert!(accepted, "the server's socket has IPv6 addresses: {:#?}", run.events);
    assert!(run.segments().all(|(_, segment)| segment.from.is_ipv4()));
    let ended = testkit::process::run(socklab(&["replay", "--quiet", "--ladder"]).arg(run.path("run.record")));
    let ladder = String::from_utf8(ended.stdout).unwrap();
    check_ladder(&ladder);
    assert!(ladder.contains("write(4, \"hello\\n\", 6) = 6"), "{ladder}");
    if or_skip("a dual-stack server's capture", runs("tshark", &["--version"])) {
        let comments = tshark(&run.path("run.pcapng"), &["tcp.srcport", "tcp.len", "frame.comment"]);
        let echo = comments.iter().find(|row| row[0] == "7000" && row[1] == "6").unwrap();
        assert!(echo[2].starts_with("during write(4<[::ffff:127.0.0.1]:7000 ← "), "{echo:?}");
    }
    let name = browser::available();
    if or_skip("a dual-stack server's page", name.clone().map(drop)) {
        let mut browser = Browser::start(name.unwrap());
        browser.open(&run.path("run.html"));
        let server_data = "[...document.querySelectorAll('.thing.segment')].find((it) => {
            const label = it.getAttribute('aria-label');
            return label.startsWith('127.0.0.1:7000') && label.includes(' length 6'); })";
        let linked = browser.value(&format!(
            "{server_data}.dataset.with.split(' ').map((other) =>
                document.getElementById('t' + other).getAttribute('aria-label'))"
        ));
        let has = |part: &str| linked.as_array().unwrap().iter().any(|label| label.as_str().unwrap().contains(part));
        assert!(has(": write(4<[::ffff:127.0.0.1]:7000 ← ") && has(": read(3<127.0.0.1:"), "{linked}");
        let bands = browser.value("document.querySelectorAll('.thing.state[aria-label*=\": ESTABLISHED\"]').length");
        assert_eq!(bands, json!(2), "one for each end");
    }
}

/// Whether an IPv6 socket may be had that takes IPv4, too.
fn dual_stack_works() -> Result<(), String> {
    let listener = std::net::TcpListener::bind("[::]:0").map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    std::net::TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.to_string())
}

/// Holds a full accept queue, an accepted connection with unread bytes, and its own clients' ends.
const HOLDER: &str = "
import socket, subprocess, sys
listening = socket.create_server(('127.0.0.1', 7000), backlog=1)
def connect(): return socket.create_connection(('127.0.0.1', 7000))
client = connect(); server, _ = listening.accept()
waiting = [connect(), connect()]
client.sendall(b'12345')
print('ready', flush=True)
sys.stdin.readline()
for line in subprocess.run(['ss', '-tanH'], capture_output=True, text=True).stdout.splitlines():
    print('ss', line, flush=True)
print('end', flush=True)
sys.stdin.readline()
";

#[test]
fn the_sockets_in_the_events_are_those_that_ss_shows_at_the_same_time() {
    if !can_watch("sockets as ss shows them") || !or_skip("ss", runs("ss", &["-V"])) {
        return;
    }
    let Some(python) = python_or_skip("a program in Python") else { return };
    let directory = Directory::new();
    let file = directory.path().join("run.record");
    let mut command = socklab(&["watch", "--record"]);
    let mut watch = testkit::process::Process::start(command.arg(&file).args(["--", &python, "-c", HOLDER]));
    watch.wait_for_line(|line| line.contains("accept queue") && line.contains(" 2/1"));
    watch.wait_for_line(|line| line.contains("recv-q 5: bytes that wait for read()"));
    watch.type_line("look");
    watch.wait_for_line(|line| line.contains("[program ") && line.ends_with(" end"));
    watch.type_line("go");
    watch.close_stdin();
    assert!(watch.finish().success(), "{}", watch.output());
    let (_, events) = watched::read(&file);
    let said = |event: &Event| match &event.what {
        What::Said(line) => String::from_utf8(line.clone()).unwrap(),
        _ => String::new(),
    };
    let first = events.iter().position(|event| said(event).starts_with("ss ")).unwrap();
    let mut shown: Vec<String> = events.iter().map(said).filter_map(|line| watched::of_ss(&line)).collect();
    let mut told = watched::sockets_at(&events[..first]);
    shown.sort();
    told.sort();
    assert_eq!(told, shown);
    assert_eq!(told.len(), 7, "{told:#?}");
    assert!(told.contains(&"LISTEN 2 1 127.0.0.1:7000".into()), "{told:#?}");
    assert_eq!(told.iter().filter(|socket| socket.starts_with("ESTABLISHED 5 0 127.0.0.1:7000 ")).count(), 1);
}
