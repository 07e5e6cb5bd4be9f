use super::*;
use crate::event::{Descriptor, Flags, Named, Outcome};

const CLIENT: &str = "127.0.0.1:51234";
const SERVER: &str = "127.0.0.1:7003";

/// A script: each line is a time in microseconds, a side, and what happened there.
///
/// `10 C S 100` is a SYN of the client with sequence number 100; `30 C . 101 901`: with an acknowledgement number;
/// `40 C P. 101 901 6`: with 6 bytes. `50 S sees CLOSE-WAIT` is a sample of the server's end, `50 S misses LAST-ACK` one
/// without it, that was in LAST-ACK before. `50 S accepted` and `50 C shut` are calls that return.
fn events(script: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = Duration::from_micros(words[0].parse().unwrap());
        let (local, remote) = if words[1] == "C" { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let what = match words[2] {
            "sees" if words[3] == "LISTEN" => What::Appeared(socket(SERVER, "0.0.0.0:0", "LISTEN")),
            "sees" => What::Changed { before: State::Listen, socket: socket(local, remote, words[3]) },
            "misses" => What::Gone(socket(local, remote, words[3])),
            "accepted" => call("accept4", local, remote, true),
            "shut" => call("shutdown", local, remote, false),
            flags => What::Segment(Box::new(segment(local, remote, flags, &words[3..]))),
        };
        events.push(Event { at, who: Who::Kernel, what });
    }
    events
}

fn segment(from: &str, to: &str, flags: &str, numbers: &[&str]) -> Segment {
    let number = |index: usize| numbers.get(index).map_or(0, |number| number.parse().unwrap());
    Segment {
        transport: Transport::Tcp,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        flags: serde_json::from_str::<Flags>(&format!("\"{flags}\"")).unwrap(),
        seq: number(0),
        ack: number(1),
        relative_seq: 0,
        relative_ack: 0,
        length: number(2),
        window: 512,
        window_scale: None,
        options: Vec::new(),
        retransmitted: false,
        packet: Vec::new(),
        packet_length: 40,
    }
}

fn socket(local: &str, remote: &str, state: &str) -> Socket {
    Socket {
        protocol: Protocol::Tcp,
        state: State::ALL.into_iter().find(|known| known.name() == state).unwrap(),
        local: Endpoint::Inet(local.parse().unwrap()),
        remote: Endpoint::Inet(remote.parse().unwrap()),
        receive_queue: 0,
        send_queue: 128,
        uid: 0,
        inode: 7,
        cookie: 1,
        timer: None,
        owners: Vec::new(),
    }
}

fn call(name: &str, local: &str, remote: &str, accepted: bool) -> What {
    let end = |address: &str| Endpoint::Inet(address.parse().unwrap());
    let names = Named::Connected { protocol: Protocol::Tcp, local: end(local), remote: end(remote), accepted };
    let descriptor = Some(Descriptor { fd: 4, names });
    let (made, on) = if accepted { (descriptor, None) } else { (None, descriptor) };
    What::Returned(Call {
        id: 1,
        name: name.into(),
        arguments: vec!["SHUT_WR".into()],
        on,
        waits: Vec::new(),
        outcome: Some(Outcome { entered: Duration::ZERO, value: 0, error: None, made }),
    })
}

/// What comes out, fed event by event with a horizon of 100 ms.
fn infer(events: &[Event]) -> Vec<Event> {
    let mut infer = Infer::new(Duration::from_millis(100));
    let mut told = Vec::new();
    for event in events {
        infer.feed(event.clone());
        told.append(&mut infer.take(event.at));
    }
    told.append(&mut infer.finish());
    assert!(told.is_sorted_by_key(|event| event.at), "{told:#?}");
    told
}

/// The inferred transitions and the samples that were let through, without the segments: `30 C SYN-SENT → ESTABLISHED ○`.
fn told(script: &str) -> Vec<String> {
    let side = |end: &Endpoint| if end.to_string() == CLIENT { "C" } else { "S" };
    let line = |event: Event| {
        let at = event.at.as_micros();
        match event.what {
            What::Moved(Transition { local, before, after, seen, .. }) => {
                Some(format!("{at} {} {before} → {after} {}", side(&local), if seen.is_some() { "●" } else { "○" }))
            }
            What::Changed { socket, .. } => Some(format!("{at} {} sample {}", side(&socket.local), socket.state)),
            What::Gone(socket) => Some(format!("{at} {} sample gone", side(&socket.local))),
            _ => None,
        }
    };
    infer(&events(script)).into_iter().filter_map(line).collect()
}

/// The part of [`told`] behind the opening of the connection.
fn told_after_opening(rest: &str) -> Vec<String> {
    let told = told(&format!("{OPENING}{rest}"));
    assert_eq!(told[..4], OPENED[..4]);
    told[4..].to_vec()
}

/// Figure 6: the client has 101 as its next sequence number, the server 901, and everything is acknowledged.
const OPENING: &str = "
    10 C S 100
    20 S S. 900 101
    30 C . 101 901
    40 C P. 101 901 6
    50 S . 901 107
";
const OPENED: [&str; 4] = [
    "10 C CLOSED → SYN-SENT ○",
    "20 S CLOSED → SYN-RECEIVED ○",
    "30 C SYN-SENT → ESTABLISHED ○",
    "30 S SYN-RECEIVED → ESTABLISHED ○",
];

#[test]
fn three_segments_open_a_connection_and_a_segment_of_the_server_proves_it() {
    assert_eq!(told(OPENING), OPENED);
}

#[test]
fn the_last_ack_of_a_handshake_is_no_proof_that_the_server_has_taken_it() {
    let script = "10 C S 100\n 20 S S. 900 101\n 30 C . 101 901";
    assert_eq!(told(script), OPENED[..3]);
    assert_eq!(told(&format!("{script}\n 5000 S accepted")), OPENED);
    let seen = told(&format!("{script}\n 5000 S sees ESTABLISHED"));
    assert_eq!(seen[3], "30 S SYN-RECEIVED → ESTABLISHED ●");
}

#[test]
fn a_full_accept_queue_keeps_the_server_in_syn_received() {
    let told = told(
        "10 C S 100
        20 S S. 900 101
        30 C . 101 901
        40 C P. 101 901 6
        1000000 S S. 900 101
        1000010 C . 107 901
        1200000 C P. 101 901 6
        1200010 S . 901 107",
    );
    assert_eq!(told[3..], ["1200000 S SYN-RECEIVED → ESTABLISHED ○"]);
}

#[test]
fn data_on_the_heels_of_the_ack_counts_where_the_accept_queue_has_room() {
    let script = "10 C S 100\n 20 S S. 900 101\n 30 C . 101 901\n 40 C P. 101 901 6";
    assert_eq!(told(script), OPENED[..3]);
    assert_eq!(told(&format!("1 S sees LISTEN\n{script}")), OPENED);
}

#[test]
fn both_sides_may_open_at_once_as_in_figure_7() {
    let told = told(
        "10 C S 100
        11 S S 900
        20 C S. 100 901
        21 S S. 900 101
        30 C . 101 901
        31 S . 901 101",
    );
    let expected = [
        "10 C CLOSED → SYN-SENT ○",
        "11 S CLOSED → SYN-SENT ○",
        "20 C SYN-SENT → SYN-RECEIVED ○",
        "21 S SYN-SENT → SYN-RECEIVED ○",
        "21 S SYN-RECEIVED → ESTABLISHED ○",
        "21 C SYN-RECEIVED → ESTABLISHED ○",
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_old_duplicate_syn_is_answered_and_reset_as_in_figure_8() {
    let told = told(
        "10 C S 100
        15 S S. 500 91
        20 C R 91
        30 S S. 900 101
        40 C . 101 901",
    );
    let expected = [
        "10 C CLOSED → SYN-SENT ○",
        "15 S CLOSED → SYN-RECEIVED ○",
        "20 S SYN-RECEIVED → CLOSED ○",
        "30 S CLOSED → SYN-RECEIVED ○",
        "40 C SYN-SENT → ESTABLISHED ○",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_connection_that_only_one_side_remembers_is_reset_as_in_figure_9() {
    let told = told_after_opening(
        "1000000 C S 400
        1000010 S . 901 107
        1000020 C R 107",
    );
    let expected =
        ["1000000 C ESTABLISHED → CLOSED ○", "1000000 C CLOSED → SYN-SENT ○", "1000020 S ESTABLISHED → CLOSED ○"];
    // The server expects 107 from the old client, and the new one in SYN-SENT stays there.
    assert_eq!(told, expected);
}

#[test]
fn data_for_a_side_that_has_forgotten_resets_the_other_as_in_figure_10() {
    let told = told_after_opening("60 S P. 901 107 5\n 70 C R 107");
    assert_eq!(told, ["70 C ESTABLISHED → CLOSED ○", "70 S ESTABLISHED → CLOSED ○"]);
}

#[test]
fn an_old_syn_in_a_waiting_server_is_reset_as_in_figure_11() {
    let told = told("10 C S 50\n 20 S S. 900 51\n 30 C R 51\n 40 C S 100\n 50 S S. 950 101\n 60 C . 101 951");
    let expected = [
        "10 C CLOSED → SYN-SENT ○",
        "20 S CLOSED → SYN-RECEIVED ○",
        "30 C SYN-SENT → CLOSED ○",
        "30 S SYN-RECEIVED → CLOSED ○",
        "40 C CLOSED → SYN-SENT ○",
        "50 S CLOSED → SYN-RECEIVED ○",
        "60 C SYN-SENT → ESTABLISHED ○",
    ];
    assert_eq!(told, expected);
}

#[test]
fn four_segments_close_a_connection_as_in_figure_12() {
    let told = told_after_opening(
        "100 C F. 107 901
        110 S . 901 108
        120 S F. 901 108
        130 C . 108 902",
    );
    let expected = [
        "100 C ESTABLISHED → FIN-WAIT-1 ○",
        "100 S ESTABLISHED → CLOSE-WAIT ○",
        "110 C FIN-WAIT-1 → FIN-WAIT-2 ○",
        "120 S CLOSE-WAIT → LAST-ACK ○",
        "120 C FIN-WAIT-2 → TIME-WAIT ○",
        "130 S LAST-ACK → CLOSED ○",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_fin_that_acknowledges_ours_passes_through_fin_wait_2() {
    let told = told_after_opening("100 C F. 107 901\n 110 S F. 901 108\n 120 C . 108 902");
    let expected = [
        "100 C ESTABLISHED → FIN-WAIT-1 ○",
        "100 S ESTABLISHED → CLOSE-WAIT ○",
        "110 S CLOSE-WAIT → LAST-ACK ○",
        "110 C FIN-WAIT-1 → FIN-WAIT-2 ○",
        "110 C FIN-WAIT-2 → TIME-WAIT ○",
        "120 S LAST-ACK → CLOSED ○",
    ];
    assert_eq!(told, expected);
}

#[test]
fn two_fins_that_cross_lead_through_closing_as_in_figure_13() {
    let told = told_after_opening(
        "100 C F. 107 901
        101 S F. 901 107
        110 C . 108 902
        111 S . 902 108",
    );
    let expected = [
        "100 C ESTABLISHED → FIN-WAIT-1 ○",
        "101 S ESTABLISHED → FIN-WAIT-1 ○",
        "101 C FIN-WAIT-1 → CLOSING ○",
        "101 S FIN-WAIT-1 → CLOSING ○",
        "110 S CLOSING → TIME-WAIT ○",
        "111 C CLOSING → TIME-WAIT ○",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_half_closed_connection_goes_on_in_the_other_direction() {
    let told = told_after_opening(
        "100 C F. 107 901
        110 S . 901 108
        120 S P. 901 108 1000
        130 C . 108 1901
        140 S F. 1901 108
        150 C . 108 1902",
    );
    assert_eq!(told.len(), 6);
    assert_eq!(told[4], "140 C FIN-WAIT-2 → TIME-WAIT ○");
}

#[test]
fn a_fin_out_of_order_counts_when_it_is_acknowledged() {
    let told = told_after_opening(
        "100 C F. 207 901
        110 S . 901 107
        200 C P. 107 901 100
        210 S . 901 208",
    );
    assert_eq!(told[..2], ["100 C ESTABLISHED → FIN-WAIT-1 ○", "210 S ESTABLISHED → CLOSE-WAIT ○"]);
}

#[test]
fn a_fin_that_is_never_acknowledged_is_believed_only_if_nothing_speaks_against_it() {
    let silent = told_after_opening("100 C F. 107 901\n 500000 C F. 107 901");
    assert_eq!(silent, ["100 C ESTABLISHED → FIN-WAIT-1 ○", "100 S ESTABLISHED → CLOSE-WAIT ○"]);
    let contradicted = told_after_opening("100 C F. 107 901\n 110 S . 901 107\n 500000 C F. 107 901");
    assert_eq!(contradicted, ["100 C ESTABLISHED → FIN-WAIT-1 ○"]);
}

#[test]
fn with_data_in_flight_it_is_not_told_whether_the_server_had_closed_before_the_fin_came() {
    let told = told_after_opening(
        "60 S P. 901 107 60000
        100 C F. 107 901
        110 S . 60901 108
        120 S F. 60901 108
        130 C . 108 60902",
    );
    let of_server: Vec<&String> = told.iter().filter(|line| line.contains(" S ")).collect();
    assert!(of_server.is_empty(), "{told:?}");
}

#[test]
fn what_is_sent_again_changes_nothing() {
    let told = told(
        "10 C S 100
        1000 C S 100
        2000 S S. 900 101
        2010 C . 101 901
        2015 C P. 101 901 6
        2020 C P. 101 901 6
        2030 S . 901 107
        3000 C F. 107 901
        3100 C F. 107 901
        3110 S . 901 108
        3200 S F. 901 108
        3300 S F. 901 108
        3310 C . 108 902
        3320 C . 108 902",
    );
    assert_eq!(told.len(), 10, "{told:#?}");
    assert_eq!(told[9], "3310 S LAST-ACK → CLOSED ○");
}

#[test]
fn sequence_numbers_go_on_at_zero() {
    let told = told(
        "10 C S 4294967295
        20 S S. 4294967294 0
        30 C . 0 4294967295
        40 C P. 0 4294967295 6
        50 S P. 4294967295 6 6
        60 C . 6 5
        100 C F. 6 5
        110 S . 5 7
        120 S F. 5 7
        130 C . 7 6",
    );
    let states: Vec<&str> = told.iter().map(|line| line.split(" → ").nth(1).unwrap()).collect();
    assert_eq!(
        states[3..],
        ["ESTABLISHED ○", "FIN-WAIT-1 ○", "CLOSE-WAIT ○", "FIN-WAIT-2 ○", "LAST-ACK ○", "TIME-WAIT ○", "CLOSED ○"]
    );
}

#[test]
fn a_refused_connection_ends_with_the_rst() {
    let told = told("10 C S 100\n 20 S R. 0 101");
    assert_eq!(told, ["10 C CLOSED → SYN-SENT ○", "20 C SYN-SENT → CLOSED ○"]);
    let forged = self::told("10 C S 100\n 20 S R. 0 555");
    assert_eq!(forged, ["10 C CLOSED → SYN-SENT ○"]);
}

#[test]
fn a_reset_ends_both_sides_and_only_if_its_number_is_exact() {
    let told = told_after_opening("100 C R. 107 901");
    assert_eq!(told, ["100 C ESTABLISHED → CLOSED ○", "100 S ESTABLISHED → CLOSED ○"]);
    let elsewhere = told_after_opening("100 C R. 150 901");
    assert_eq!(elsewhere, ["100 C ESTABLISHED → CLOSED ○"]);
}

#[test]
fn a_fin_that_crosses_a_reset_was_sent_before_that_was_taken_in() {
    let told = told_after_opening("100 C R. 107 901\n 101 S F. 901 107");
    let expected = ["100 C ESTABLISHED → CLOSED ○", "101 S ESTABLISHED → FIN-WAIT-1 ○", "101 S FIN-WAIT-1 → CLOSED ○"];
    assert_eq!(told, expected);
}

#[test]
fn a_rst_from_time_wait_changes_nothing_there() {
    let told = told_after_opening(
        "100 C F. 107 901
        110 S F. 901 108
        120 C . 108 902
        130 C R 108",
    );
    assert_eq!(told.last().unwrap(), "120 S LAST-ACK → CLOSED ○");
    assert_eq!(told.len(), 6);
}

#[test]
fn time_wait_ends_with_a_new_syn_or_with_a_sample() {
    let closed = "100 C F. 107 901\n 110 S F. 901 108\n 120 C . 108 902\n";
    let again = told_after_opening(&format!("{closed} 2000000 C S 700"));
    assert_eq!(again[6..], ["2000000 C TIME-WAIT → CLOSED ○", "2000000 C CLOSED → SYN-SENT ○"]);
    let missed = told_after_opening(&format!("{closed} 300000 C sees TIME-WAIT\n 60000000 C misses TIME-WAIT"));
    assert_eq!(missed.last().unwrap(), "60000000 C sample gone");
}

#[test]
fn a_sample_turns_a_transition_into_an_observed_one_and_is_not_told_beside_it() {
    let told = told_after_opening(
        "100 C F. 107 901
        300 S sees CLOSE-WAIT
        310 C sees FIN-WAIT-1
        40000 S . 901 108",
    );
    let expected =
        ["100 C ESTABLISHED → FIN-WAIT-1 ●", "100 S ESTABLISHED → CLOSE-WAIT ●", "40000 C FIN-WAIT-1 → FIN-WAIT-2 ○"];
    assert_eq!(told, expected);
}

#[test]
fn a_sample_that_is_a_little_old_marks_the_state_that_is_over() {
    let told = told(&format!(
        "{OPENING}
        100 C F. 107 901
        110 S . 901 108
        400 C sees ESTABLISHED
        500 C sees FIN-WAIT-1",
    ));
    assert_eq!(told[2], "30 C SYN-SENT → ESTABLISHED ●");
    assert_eq!(told[4], "100 C ESTABLISHED → FIN-WAIT-1 ●");
    assert!(told.iter().all(|line| !line.contains("sample")), "{told:?}");
}

#[test]
fn a_sample_that_nothing_explains_is_the_truth() {
    // Its FIN waits behind data for which there is no window.
    let told = told_after_opening("5000 C sees FIN-WAIT-1\n 6000 S F. 901 107\n 6010 C . 107 902");
    let expected = [
        "5000 C sample FIN-WAIT-1",
        "6000 S ESTABLISHED → FIN-WAIT-1 ○",
        "6000 C FIN-WAIT-1 → CLOSING ○",
        "6010 S FIN-WAIT-1 → FIN-WAIT-2 ○",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_socket_that_is_gone_confirms_its_closing_without_a_line() {
    let told = told_after_opening(
        "100 C F. 107 901
        110 S F. 901 108
        120 C . 108 902
        5000 S misses ESTABLISHED
        6000 C sees TIME-WAIT",
    );
    assert_eq!(told[5], "120 S LAST-ACK → CLOSED ○");
    assert_eq!(told.iter().filter(|line| line.contains("sample")).count(), 0, "{told:?}");
}

#[test]
fn shutdown_tells_of_a_fin_that_is_not_sent_yet() {
    let told = told_after_opening("200 C shut\n 90000 C F. 107 901");
    assert_eq!(told[0], "200 C ESTABLISHED → FIN-WAIT-1 ○");
    assert_eq!(told.iter().filter(|line| line.contains("FIN-WAIT-1")).count(), 1);
}

#[test]
fn nothing_is_claimed_of_a_connection_whose_beginning_was_not_seen() {
    let rest = "100 C P. 101 901 6\n 110 S . 901 107\n 120 C F. 107 901\n 130 S F. 901 108\n 140 C . 108 902";
    assert_eq!(told(rest), Vec::<String>::new());
    let known = told(&format!("1 C sees ESTABLISHED\n 2 S sees ESTABLISHED\n{rest}"));
    assert_eq!(known.last().unwrap(), "140 S LAST-ACK → CLOSED ○");
    assert_eq!(known.len(), 2 + 6);
}

#[test]
fn without_segments_everything_passes_unchanged() {
    let script = "
        1 S sees LISTEN
        2 C sees ESTABLISHED
        2 S sees ESTABLISHED
        1000 C sees FIN-WAIT-2
        1000 S sees CLOSE-WAIT
        2000 S misses CLOSE-WAIT
        2000 C sees TIME-WAIT
        3000 C misses TIME-WAIT
        3000 C sees ESTABLISHED";
    let events = events(script);
    assert_eq!(infer(&events), events);
}

#[test]
fn a_v4_client_of_a_dual_stack_socket_is_the_same_in_samples_and_in_segments() {
    let mut events = events(&format!("{OPENING} 60 S sees ESTABLISHED"));
    if let Some(What::Changed { socket, .. }) = events.last_mut().map(|event| &mut event.what) {
        socket.local = Endpoint::Inet("[::ffff:127.0.0.1]:7003".parse().unwrap());
        socket.remote = Endpoint::Inet("[::ffff:127.0.0.1]:51234".parse().unwrap());
    }
    let told = infer(&events);
    assert!(told.iter().all(|event| !matches!(event.what, What::Changed { .. })));
    let seen = |event: &&Event| matches!(&event.what, What::Moved(moved) if moved.seen.is_some());
    assert_eq!(told.iter().filter(seen).count(), 1);
}

#[test]
fn an_event_is_held_back_for_the_horizon_and_no_longer() {
    let mut infer = Infer::new(Duration::from_millis(30));
    for event in events("10 C S 100\n 20 S S. 900 101") {
        infer.feed(event);
    }
    assert!(infer.take(Duration::from_millis(30)).is_empty());
    assert_eq!(infer.take(Duration::from_micros(30_015)).len(), 2);
    assert_eq!(infer.finish().len(), 2);
}

#[test]
fn ends_that_have_closed_are_forgotten() {
    let mut infer = Infer::new(Duration::from_millis(100));
    for round in 0..20_000_u64 {
        for mut event in events("10 C S 100\n 20 S R. 0 101") {
            event.at += Duration::from_millis(round);
            if let What::Segment(segment) = &mut event.what {
                let client = if segment.from.port() == 7003 { &mut segment.to } else { &mut segment.from };
                client.set_port((10_000 + round) as u16);
            }
            infer.feed(event);
        }
        infer.take(Duration::from_millis(round));
    }
    assert!(infer.ends.len() < 20_000, "{}", infer.ends.len());
    assert!(infer.held.len() < 1000 && infer.undecided.len() < 1000);
}
