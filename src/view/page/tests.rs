use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::event::{self, State, Who};
use crate::view::page::draw::describe_thing;
use crate::view::page::layout::text_width;
use crate::view::page::model::{Lane, Part};
use crate::view::page::side::Side;
use crate::view::page::text::width;

#[path = "../../../tests/page/sample.rs"]
mod sample;

fn about() -> About {
    About { title: "lab 3".into(), server_port: Some(7003), ..About::default() }
}

fn written(about: &About, events: &[Event]) -> String {
    let mut page = Vec::new();
    write(&mut page, about, events).unwrap();
    String::from_utf8(page).unwrap()
}

/// The index of the only thing that is described so.
fn thing(model: &Model, description: &str) -> usize {
    let is_it = |index: &usize| describe_thing(model, &model.things[*index]).starts_with(description);
    let found: Vec<usize> = (0..model.things.len()).filter(is_it).collect();
    assert_eq!(found.len(), 1, "{description}: {found:?}");
    found[0]
}

/// What is written for a part of a thing.
fn label(model: &Model, thing: usize, part: Part) -> String {
    let lines = label::lines(&model.things[thing], part, 80);
    lines.iter().flatten().map(|(_, text)| text.replace('\u{a0}', " ")).collect()
}

/// What belongs to a thing, as it is described.
fn related(events: &[Event], description: &str) -> Vec<String> {
    let model = Model::new(events, Some(7003));
    let links = links::links(&model);
    let related = &links[thing(&model, description)];
    related.iter().map(|other| describe_thing(&model, &model.things[*other])).collect()
}

fn assert_related(events: &[Event], description: &str, expected: &[&str]) {
    let related = related(events, description);
    let fits = related.len() == expected.len()
        && expected.iter().all(|part| related.iter().filter(|one| one.starts_with(part)).count() == 1);
    assert!(fits, "{description}: expected {expected:?}, found {related:#?}");
}

/// The hash of a file as a policy names it, by the tool of the system.
fn hash(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut tool = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let printed = String::from_utf8(tool.wait_with_output().unwrap().stdout).unwrap();
    let byte = |at: usize| u32::from_str_radix(&printed[at..at + 2], 16).unwrap();
    let bytes: Vec<u32> = (0..64).step_by(2).map(byte).collect();
    let mut hash = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | byte) << (8 * (3 - three.len()));
        let digits = (0..=three.len()).map(|digit| char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        hash.extend(digits);
        hash.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    hash
}

#[test]
fn the_policy_names_the_script_and_the_style_as_they_are() {
    assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    assert_eq!(STYLE_HASH, hash(STYLE), "style.css has changed: this is its hash now");
    assert_eq!(SCRIPT_HASH, hash(SCRIPT), "script.js has changed: this is its hash now");
    let page = written(&about(), &[]);
    assert!(page.contains(&format!("<style>{STYLE}</style>")), "the style is not on the page as it is");
    assert!(page.contains(&format!("<script>{SCRIPT}</script>")), "the script is not on the page as it is");
}

#[test]
fn neither_the_script_nor_the_style_reaches_out_of_the_page() {
    for text in [SCRIPT, STYLE] {
        for word in ["http", "fetch", "@import", "import(", "XMLHttp", "innerHTML", "eval(", "@font-face"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}

/// The names of a page's elements and attributes, read as a browser reads them: `script src`.
fn names(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find([' ', '>']).unwrap();
        let element = rest[..end].to_string();
        rest = &rest[end..];
        names.insert(element.clone());
        while !rest.starts_with('>') {
            rest = rest.trim_start();
            let end = rest.find(['=', ' ', '>']).unwrap();
            assert_ne!(end, 0, "no attribute: {:.60}", rest);
            names.insert(format!("{element} {}", &rest[..end]));
            rest = &rest[end..];
            if let Some(value) = rest.strip_prefix("=\"") {
                rest = &value[value.find('"').unwrap() + 1..];
            }
        }
        if let "script" | "style" = element.as_str() {
            rest = &rest[rest.find(&format!("</{element}>")).unwrap()..];
        }
    }
    names
}

#[test]
fn no_text_of_a_recording_becomes_markup() {
    let harmless = names(&written(&about(), &[sample::echo(), sample::crowd(9)].concat()));
    let texts = sample::HOSTILE.join(" ");
    let about = About { title: texts.clone(), rung: texts.clone(), version: texts, ..about() };
    let page = written(&about, &sample::hostile());
    let found = names(&page);
    let new: Vec<&String> = found.difference(&harmless).collect();
    assert_eq!(new, Vec::<&String>::new(), "elements or attributes that no ordinary page has");
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script").count(), 1);
    assert_eq!(page.matches("</style").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the text is not there at all");
}

#[test]
fn no_text_of_a_recording_holds_an_invisible_character() {
    let texts = sample::HOSTILE.join(" ");
    let about = About { title: texts.clone(), rung: texts.clone(), version: texts, ..about() };
    let page = written(&about, &sample::hostile());
    let is_bad = |character: &char| match character {
        '\n' => false,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        character => character.is_control(),
    };
    assert_eq!(page.chars().find(is_bad), None);
    assert!(page.contains("\\u{202e}gnp.exe") && page.contains("\\u{1b}[2J"), "they are not shown either");
}

#[test]
fn every_event_is_a_row_of_the_table() {
    for events in [sample::echo(), sample::hostile(), sample::crowd(3), Vec::new()] {
        let page = written(&about(), &events);
        let (_, body) = page.split_once("<tbody>").unwrap();
        assert_eq!(body.matches("<tr>").count(), events.len());
    }
}

#[test]
fn what_is_left_out_is_counted_on_the_page() {
    let page = written(&About { left_out: 1234, ..about() }, &sample::echo());
    assert!(page.contains("1234 more events are not shown here"));
    assert!(!written(&about(), &sample::echo()).contains("more events are not shown"));
    assert!(written(&about(), &[]).contains("Nothing was recorded"));
}

#[test]
fn every_row_has_its_time_and_a_pause_is_marked_with_its_length() {
    let events = sample::echo();
    let model = Model::new(&events, Some(7003));
    assert!(model.rows.is_sorted_by_key(|row| row.at));
    let page = written(&about(), &events);
    for row in &model.rows {
        assert!(page.contains(&format!(">{:.6}</text>", row.at.as_secs_f64())), "{:?}", row.at);
    }
    for pause in ["⋮ 1.203 s", "⋮ 1.303 s", "⋮ 1.400 s"] {
        assert_eq!(page.matches(&format!(">{pause}</text>")).count(), 1, "{pause}");
    }
    assert_eq!(page.matches("class=\"pause\"").count(), 3);
}

#[test]
fn no_two_things_of_a_lane_lie_over_each_other_and_no_page_is_cut_through_one() {
    for events in [sample::echo(), sample::hostile(), sample::crowd(2), sample::crowd(12)] {
        let model = Model::new(&events, Some(7003));
        let layout = Layout::new(&model);
        let drawing = Drawing::new(&model, &layout, &[]);
        let mut bottoms: std::collections::HashMap<Lane, i32> = std::collections::HashMap::new();
        for (top, placed) in layout.tops.iter().zip(&layout.rows) {
            for placed in placed {
                let (from, until) = drawing.place_of(*top, placed);
                let before = bottoms.insert(placed.item.lane, until).unwrap_or(0);
                assert!(before <= from, "{:?} at {top}: {before} is below {from}", placed.item.lane);
                let cut = layout.cuts.iter().find(|cut| from < **cut && **cut < until);
                assert_eq!(cut, None, "through {:?} from {from} to {until}", placed.item.lane);
            }
        }
        assert!(layout.cuts.is_sorted() && layout.cuts.last() == Some(&layout.height));
    }
}

#[test]
fn no_text_is_wider_than_its_lane() {
    for events in [sample::echo(), sample::hostile(), sample::crowd(12)] {
        let model = Model::new(&events, Some(7003));
        let layout = Layout::new(&model);
        for placed in layout.rows.iter().flatten() {
            let room = match placed.item.lane {
                Lane::Calls(side) => layout.calls[side as usize].end() - layout.text(&model, side),
                Lane::Wire => layout.wire.width - 10,
                Lane::Band(band) => layout.band(&model, &model.bands[band]).width,
            };
            for line in &placed.lines {
                let wide = matches!(placed.item.lane, Lane::Band(_)) && room < 60;
                assert!(wide || text_width(width(line)) <= room, "{line:?} in {room}");
            }
        }
    }
}

#[test]
fn a_call_goes_with_its_segments_and_the_states_that_they_change() {
    let events = sample::echo();
    assert_related(
        &events,
        "client 815: connect(",
        &[
            "127.0.0.1:51234 → 127.0.0.1:7003: S ",
            "127.0.0.1:7003 → 127.0.0.1:51234: S.",
            "127.0.0.1:51234 → 127.0.0.1:7003: .  ack 1 ",
            "127.0.0.1:51234: SYN-SENT",
            "127.0.0.1:51234: ESTABLISHED",
            "127.0.0.1:7003: SYN-RECEIVED",
            "127.0.0.1:7003: ESTABLISHED",
            "server 812: accept4(3<listen :7003>, 0x7ffc1a2b, [16], SOCK_CLOEXEC) = 4<",
        ],
    );
    assert_related(
        &events,
        "client 815: write(",
        &[
            "127.0.0.1:51234 → 127.0.0.1:7003: P.",
            "server/child 1 816: read(4<127.0.0.1:7003 ← :51234>, \"hello",
            "127.0.0.1:7003 → 127.0.0.1:51234: .  ack 7 ",
        ],
    );
}

#[test]
fn a_fin_goes_with_the_close_that_sent_it_and_the_read_that_met_it() {
    let expected = [
        "client 815: close(",
        "server/child 1 816: read(4<127.0.0.1:7003 ← :51234>, \"\", 65536) = 0",
        "127.0.0.1:7003 → 127.0.0.1:51234: .  ack 8",
        "127.0.0.1:51234: ESTABLISHED",
        "127.0.0.1:51234: FIN-WAIT-1",
        "127.0.0.1:7003: ESTABLISHED",
        "127.0.0.1:7003: CLOSE-WAIT",
    ];
    assert_related(&sample::echo(), "127.0.0.1:51234 → 127.0.0.1:7003: F.", &expected);
}

#[test]
fn a_state_goes_with_the_segments_at_its_ends_and_the_calls_behind_them() {
    let expected = [
        "127.0.0.1:51234 → 127.0.0.1:7003: F.",
        "127.0.0.1:7003 → 127.0.0.1:51234: F.",
        "client 815: close(",
        "server/child 1 816: read(4<127.0.0.1:7003 ← :51234>, \"\", 65536) = 0",
        "server/child 1 816: close(4",
    ];
    assert_related(&sample::echo(), "127.0.0.1:7003: CLOSE-WAIT", &expected);
}

#[test]
fn calls_of_one_connection_are_not_joined_to_segments_of_another() {
    let events = sample::crowd(5);
    let model = Model::new(&events, Some(7003));
    let links = links::links(&model);
    for client in 0..5 {
        let port = format!(":{}", 40_000 + client);
        let write =
            thing(&model, &format!("client {}: write(", client + 1).replace(": ", &format!(" {}: ", 1000 + client)));
        assert!(!links[write].is_empty());
        for other in &links[write] {
            let other = describe_thing(&model, &model.things[*other]);
            assert!(other.contains(&port), "{port}: {other}");
        }
    }
}

#[test]
fn a_segment_goes_with_the_first_ack_of_all_of_it() {
    let mut events = sample::Events::default();
    events.sends(10, sample::CLIENT, 24, (1, 1), 6, Vec::new());
    events.sends(20, sample::CLIENT, 24, (7, 1), 6, Vec::new());
    events.sends(30, sample::SERVER, 16, (1, 7), 0, Vec::new());
    events.sends(40, sample::SERVER, 16, (1, 13), 0, Vec::new());
    events.sends(50, sample::SERVER, 16, (1, 13), 0, Vec::new());
    let events = events.sorted();
    let model = Model::new(&events, Some(7003));
    assert_eq!(links::links(&model), [vec![2], vec![3], vec![0], vec![1], vec![]]);
}

#[test]
fn a_refusal_goes_with_the_connect_that_it_ended() {
    let mut events = sample::Events::default();
    let arguments = ["{sa_family=AF_INET, sin_port=htons(7003), sin_addr=inet_addr(\"127.0.0.1\")}", "16"];
    let tcp = event::Descriptor { fd: 3, names: event::Named::Unbound(event::Protocol::Tcp) };
    let call = sample::made("connect", Some(tcp), &arguments, -111);
    events.call(&sample::program("client", 815), 10, Some(90), call);
    events.sends(30, sample::CLIENT, 2, (0, 0), 0, Vec::new());
    events.sends(50, sample::SERVER, 20, (0, 1), 0, Vec::new());
    let segments = ["127.0.0.1:51234 → 127.0.0.1:7003: S ", "127.0.0.1:7003 → 127.0.0.1:51234: R."];
    assert_related(&events.sorted(), "client 815: connect(", &segments);
}

#[test]
fn a_datagram_goes_with_the_call_that_sent_it_and_the_one_that_took_it() {
    let mut events = sample::Events::default();
    let udp = |names| Some(event::Descriptor { fd: 3, names });
    let bound = || event::Named::Bound(event::Protocol::Udp, sample::inet("0.0.0.0:7003"));
    let (server, client) = (sample::program("server", 812), sample::program("client", 815));
    for (number, at) in [(1, 100), (2, 300)] {
        let text = format!("\"{number}\"");
        let taken = [text.as_str(), "65536", "0"];
        events.call(&server, at + 1, Some(at + 90), sample::made("recvfrom", udp(bound()), &taken, 1));
        let sent = [text.as_str(), "1", "0", "127.0.0.1:7003"];
        let unbound = event::Named::Unbound(event::Protocol::Udp);
        events.call(&client, at + 10, Some(at + 60), sample::made("sendto", udp(unbound), &sent, 1));
        let mut datagram = sample::segment(sample::CLIENT, 0, (0, 0), number, Vec::new());
        datagram.transport = event::Transport::Udp;
        events.add(at + 30, Who::Wire, What::Segment(Box::new(datagram)));
    }
    let events = events.sorted();
    for number in [1, 2] {
        let calls = [
            format!("client 815: sendto(3<UDP>, \"{number}\""),
            format!("server 812: recvfrom(3<UDP 0.0.0.0:7003>, \"{number}\""),
        ];
        let datagram = format!("127.0.0.1:51234 → 127.0.0.1:7003: UDP length {number}");
        assert_related(&events, &datagram, &[&calls[0], &calls[1]]);
    }
}

#[test]
fn links_lead_back() {
    let events = sample::echo();
    let model = Model::new(&events, Some(7003));
    let links = links::links(&model);
    for (index, segment) in model.things.iter().enumerate() {
        if matches!(segment.kind, Kind::Segment(..)) {
            assert!(links[index].iter().all(|other| links[*other].contains(&index)), "{index}");
        }
    }
}

#[test]
fn a_state_that_no_sample_showed_is_drawn_otherwise_than_one_that_was_seen() {
    let page = written(&about(), &sample::echo());
    let is_drawn = |how: &str, state: &str| page.contains(&format!("lens-states {how} s-{state}\""));
    assert!(is_drawn("inferred", "syn-sent") && !is_drawn("seen", "syn-sent"));
    assert!(is_drawn("seen", "fin-wait-1") && !is_drawn("inferred", "fin-wait-1"));
}

#[test]
fn samples_tell_the_states_of_a_socket_whose_transitions_are_not_known() {
    let mut events = sample::Events::default();
    let (server, client) = (sample::inet(sample::SERVER), sample::inet(sample::CLIENT));
    let established = sample::socket(State::Established, &client, &server);
    let waiting = sample::socket(State::TimeWait, &client, &server);
    events.add(1, Who::Kernel, What::Appeared(established));
    events.add(5, Who::Kernel, What::Changed { before: State::Established, socket: waiting.clone() });
    events.add(9, Who::Kernel, What::Gone(waiting));
    let events = events.sorted();
    let model = Model::new(&events, Some(7003));
    let ends: Vec<_> = model.things.iter().map(|thing| (thing.at, thing.until)).collect();
    let micros = Duration::from_micros;
    assert_eq!(ends, [(micros(1), Some(micros(5))), (micros(5), Some(micros(9)))]);
    assert_eq!((model.bands.len(), model.bands[0].side), (1, Side::Left));
    // With transitions, samples of the same socket add nothing.
    let with_transitions = [events, sample::echo()].concat();
    let model = Model::new(&with_transitions, Some(7003));
    assert_eq!(model.bands.iter().filter(|band| *band.local == client).count(), 1);
}

#[test]
fn what_a_read_reads_is_not_told_before_it_returns() {
    let events = sample::echo();
    let model = Model::new(&events, Some(7003));
    let read = thing(&model, "client 815: read(");
    assert!(!label(&model, read, Part::Begin).contains("hello"));
    assert_eq!(label(&model, read, Part::End), "read(…, \"hello\\n\", 65536) = 6 after 228 µs");
}

#[test]
fn a_call_during_which_nothing_else_happened_is_one_row_with_its_duration() {
    let events = sample::echo();
    let model = Model::new(&events, Some(7003));
    let socket = thing(&model, "client 815: socket(");
    assert_eq!(model.things[socket].rows.1, Some(model.things[socket].rows.0));
    assert!(label(&model, socket, Part::Whole).ends_with("= 3<TCP> 19 µs"));
    let connect = thing(&model, "client 815: connect(");
    let (from, until) = model.things[connect].rows;
    let part = |row: usize| model.rows[row].items.iter().find(|item| item.thing == connect).unwrap().part;
    assert_eq!((part(from), part(until.unwrap())), (Part::Begin, Part::End));
}

#[test]
fn a_call_that_never_returned_is_open_to_the_end() {
    let events = sample::echo();
    let model = Model::new(&events, Some(7003));
    let open: Vec<_> =
        model.things.iter().filter(|thing| matches!(thing.kind, Kind::Call(_)) && thing.until.is_none()).collect();
    assert_eq!(open.len(), 1);
    assert!(written(&about(), &events).contains("call lens-calls r0 open\""));
}

#[test]
fn a_return_whose_entry_was_not_recorded_tells_when_it_was() {
    let events: Vec<Event> =
        sample::echo().into_iter().filter(|event| !matches!(event.what, What::Called(_))).collect();
    let model = Model::new(&events, Some(7003));
    let connect = &model.things[thing(&model, "client 815: connect(")];
    assert_eq!(connect.at, Duration::from_micros(1_205_950));
    assert_eq!(connect.until, Some(Duration::from_micros(1_206_287)));
}

#[test]
fn a_program_without_a_role_is_on_the_side_of_what_it_calls() {
    let rename = |event: Event| match event.who {
        Who::Program { .. } => Event { who: sample::program("program", 7), ..event },
        _ => event,
    };
    let events: Vec<Event> = sample::echo().into_iter().map(rename).collect();
    for port in [Some(7003), None] {
        let model = Model::new(&events, port);
        let side = |name: &str| model.things[thing(&model, name)].lane;
        assert_eq!(side("program 7: connect("), Lane::Calls(Side::Left));
        assert_eq!(side("program 7: listen("), Lane::Calls(Side::Right));
        assert_eq!(side("program 7: write(3"), Lane::Calls(Side::Left));
        assert_eq!(side("program 7: write(4"), Lane::Calls(Side::Right));
    }
}

#[test]
fn all_that_a_program_does_is_on_the_right_if_it_only_serves() {
    let mut events = sample::Events::default();
    let program = sample::program("program", 7);
    let listen = event::Named::Listening(sample::inet(sample::SERVER));
    let accept = sample::made("accept4", Some(event::Descriptor { fd: 3, names: listen }), &[], 0);
    events.call(&program, 10, None, accept);
    events.says(20, &program, "waiting");
    let events = events.sorted();
    for port in [Some(7003), None] {
        let model = Model::new(&events, port);
        assert!(model.things.iter().all(|thing| thing.lane == Lane::Calls(Side::Right)));
        assert_eq!(model.processes.len(), 1);
    }
}

#[test]
fn a_program_that_is_alone_is_not_called_a_client() {
    let mut events = sample::Events::default();
    events.says(1, &sample::program("program", 7), "hello");
    let page = written(&About { server_port: None, ..about() }, &events.sorted());
    assert!(page.contains(">calls</text>") && !page.contains("client calls"));
    assert!(written(&about(), &sample::echo()).contains(">client calls</text>"));
}

#[test]
fn a_forked_child_begins_at_the_fork_beside_its_maker() {
    let events = sample::echo();
    let model = Model::new(&events, Some(7003));
    let child = model.processes.iter().find(|process| process.pid == 816).unwrap();
    assert_eq!(model.processes[child.maker.unwrap()].pid, 812);
    assert_eq!(model.rows[child.rows.0].at, Duration::from_micros(1_206_871));
    assert_eq!((child.side, child.column), (Side::Right, 1));
}

#[test]
fn a_column_is_used_again_when_its_owner_is_gone_and_there_are_many() {
    let events = sample::crowd(20);
    let model = Model::new(&events, Some(7003));
    assert!(model.process_columns(Side::Right) <= 3, "{}", model.process_columns(Side::Right));
    let events = sample::crowd(3);
    assert_eq!(Model::new(&events, Some(7003)).process_columns(Side::Left), 3, "few have a column each");
}

#[test]
fn a_recording_that_makes_no_sense_is_drawn_all_the_same() {
    let all = [sample::echo(), sample::hostile(), sample::crowd(3)].concat();
    let mut state: u64 = 1;
    for _ in 0..60 {
        let mut events = Vec::new();
        for event in &all {
            // A linear congruential generator: the same garbage in each run.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = state >> 33;
            for _ in 0..random % 3 {
                let at = Duration::from_micros(random / 3 % 64);
                let at = if random & 64 == 0 { at } else { event.at };
                events.push(Event { at, ..event.clone() });
            }
        }
        let page = written(&About { server_port: None, ..about() }, &events);
        assert!(page.ends_with("</html>"));
    }
}

/// An IPv4 end as an IPv6 socket for both versions has it.
fn widen(end: &mut event::Endpoint) {
    if let event::Endpoint::Inet(std::net::SocketAddr::V4(address)) = end
        && address.port() != 0
    {
        *end = event::Endpoint::Inet((address.ip().to_ipv6_mapped(), address.port()).into());
    }
}

/// What the calls and samples of a dual-stack server say; segments, and what is inferred from them, stay as they are.
fn of_dual_stack(event: &mut Event) {
    use event::{Named, Socket, What};
    let of_socket = |socket: &mut Socket| {
        if socket.local.port() == Some(7003) {
            widen(&mut socket.local);
            widen(&mut socket.remote);
        }
    };
    match &mut event.what {
        What::Called(call) | What::Returned(call) => {
            let made = call.outcome.as_mut().and_then(|outcome| outcome.made.as_mut());
            for descriptor in call.on.as_mut().into_iter().chain(made) {
                if let Named::Connected { local, remote, .. } = &mut descriptor.names
                    && local.port() == Some(7003)
                {
                    widen(local);
                    widen(remote);
                }
            }
        }
        What::Appeared(socket)
        | What::Changed { socket, .. }
        | What::Accepted(socket)
        | What::Queued { socket, .. }
        | What::Lying(socket)
        | What::Gone(socket) => of_socket(socket),
        What::Moved(transition) => transition.seen.iter_mut().for_each(|seen| of_socket(&mut seen.socket)),
        _ => {}
    }
}

#[test]
fn the_calls_of_a_dual_stack_socket_go_with_its_ipv4_segments_and_states() {
    let (plain, mut dual) = (sample::echo(), sample::echo());
    dual.iter_mut().for_each(of_dual_stack);
    assert_ne!(plain, dual);
    let [plain, dual] = [&plain, &dual].map(|events| Model::new(events, Some(7003)));
    assert_eq!(links::links(&plain), links::links(&dual));
    assert_eq!(plain.bands.len(), dual.bands.len());
    let [plain, dual] = [&plain, &dual].map(Layout::new);
    assert_eq!(plain.tops, dual.tops);
}
