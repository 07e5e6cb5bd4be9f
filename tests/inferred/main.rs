//! What is inferred from the segments, held against what the kernel itself reports of each change of state.
#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod kernel;
mod scenes;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use socklab::event::{Endpoint, Event, Segment, State, Transition, What};
use socklab::lens::follow::Follower;
use socklab::lens::infer::Infer;
use socklab::lens::segments::{Ended, Segments};
use socklab::lens::table::{Subject, Tables};
use socklab::sys::clock;
use testkit::namespace;

use kernel::{Change, Tracer, Tracing};

type Ends = (SocketAddr, SocketAddr);

const HORIZON: Duration = Duration::from_millis(100);

#[test]
fn what_is_inferred_from_segments_is_what_the_kernel_does() {
    let name = "what_is_inferred_from_segments_is_what_the_kernel_does";
    if namespace::or_skip(name, Tracing::mount().map(drop)) {
        namespace::inside(name, &[], || {
            let report = run(27000, false);
            assert!(report.checked > 3000, "{report:?}");
        });
    }
}

#[test]
fn what_is_inferred_beside_samples_is_what_the_kernel_does() {
    let name = "what_is_inferred_beside_samples_is_what_the_kernel_does";
    if namespace::or_skip(name, Tracing::mount().map(drop)) {
        namespace::inside(name, &[], || {
            let report = run(28000, true);
            assert!(report.checked > 3000 && report.seen > 50, "{report:?}");
        });
    }
}

/// What came of a comparison.
#[derive(Debug, Default)]
struct Report {
    /// Transitions that the kernel reported too.
    checked: usize,
    /// How many of them a sample showed.
    seen: usize,
    /// Changes that the kernel reported and that were neither inferred nor sampled.
    missing: BTreeMap<String, usize>,
    /// Inferred minus reported time, by transition.
    late_by: BTreeMap<String, Vec<f64>>,
    wrong: Vec<(Ends, String)>,
}

impl Report {
    fn miss(&mut self, changes: &[Change]) {
        for change in changes {
            *self.missing.entry(format!("{} → {}", change.before, change.after)).or_default() += 1;
        }
    }
}

/// The ports tell the tests apart that run at the same time: the tracepoint tells of all network namespaces.
fn run(first: u16, with_samples: bool) -> Report {
    let started = Instant::now();
    let zero = clock::monotonic_at(started);
    let tracer = Tracer::start(first..first + scenes::PORTS);
    let (sender, captured) = sync_channel(1 << 20);
    let capture = Segments::start("lo", None, started, sender).unwrap();
    let done = AtomicBool::new(false);
    let samples = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(started, with_samples, &done));
        scenes::play_all(first);
        done.store(true, Ordering::Relaxed);
        sampler.join().unwrap()
    });
    let Ended { statistics, rest, error } = capture.stop();
    assert!(error.is_none() && statistics.dropped + statistics.lost == 0, "{error:?} {statistics:?}");
    let segments: Vec<Event> = captured.try_iter().chain(rest).collect();
    let changes = tracer.finish(zero);
    eprintln!("{} segments, {} samples, {} ends", segments.len(), samples.len(), changes.len());

    let mut events: Vec<Event> = segments.into_iter().chain(samples).collect();
    events.sort_by_key(|event| event.at);
    let began = Instant::now();
    let count = events.len();
    let told = infer(&events);
    eprintln!("{:.0} ns an event", began.elapsed().as_nanos() as f64 / count as f64);
    assert!(told.is_sorted_by_key(|event| event.at));
    let report = compare(&told, &changes);
    print(&report);
    for (ends, wrong) in report.wrong.iter().take(5) {
        eprintln!("WRONG {wrong}\n  events");
        events.iter().for_each(|event| print_event(event, *ends));
    }
    assert!(report.wrong.is_empty(), "{} of {} are wrong", report.wrong.len(), report.checked);
    report
}

fn sample(started: Instant, with_samples: bool, done: &AtomicBool) -> Vec<Event> {
    let mut events = Vec::new();
    if with_samples {
        let subject = Subject { tcp: true, ..Subject::default() };
        let mut follower = Follower::new(Tables::open().unwrap(), subject, started);
        while !done.load(Ordering::Relaxed) {
            events.append(&mut follower.sample().unwrap());
            std::thread::sleep(follower.pause());
        }
    }
    events
}

/// As a command does it: events go in and come out by and by.
fn infer(events: &[Event]) -> Vec<Event> {
    let mut infer = Infer::new(HORIZON);
    let mut told = Vec::new();
    for event in events {
        infer.feed(event.clone());
        told.append(&mut infer.take(event.at));
    }
    told.append(&mut infer.finish());
    told
}

/// What was told of one end: by a transition, or by a sample that was let through.
struct Told {
    at: Duration,
    state: State,
    transition: Option<Transition>,
}

fn compare(told: &[Event], changes: &HashMap<Ends, Vec<Change>>) -> Report {
    let mut by_end: HashMap<Ends, Vec<Told>> = HashMap::new();
    for event in told {
        let (local, remote, state, transition) = match &event.what {
            What::Moved(moved) => (&moved.local, &moved.remote, moved.after, Some(moved.clone())),
            What::Appeared(socket) | What::Changed { socket, .. } => {
                (&socket.local, &socket.remote, socket.state, None)
            }
            _ => continue,
        };
        let (Endpoint::Inet(local), Endpoint::Inet(remote)) = (local, remote) else { continue };
        let canonical = |end: &SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let told = Told { at: event.at, state, transition };
        if state != State::Listen {
            by_end.entry((canonical(local), canonical(remote))).or_default().push(told);
        }
    }
    let mut report = Report::default();
    for (ends, told) in &by_end {
        let changes = changes.get(ends).map(Vec::as_slice).unwrap_or_default();
        if let Err(why) = compare_end(told, changes, &mut report) {
            let told = told.iter().map(|told| match &told.transition {
                Some(moved) => format!("{:?} {} → {} ({})", told.at, moved.before, moved.after, moved.because),
                None => format!("{:?} sampled {}", told.at, told.state),
            });
            let told = told.collect::<Vec<_>>().join("\n    ");
            let kernel = changes.iter().map(|change| format!("{:?} {} → {}", change.at, change.before, change.after));
            let kernel = kernel.collect::<Vec<_>>().join("\n    ");
            report.wrong.push((*ends, format!("{ends:?} {why}\n  told\n    {told}\n  kernel\n    {kernel}")));
        }
    }
    for (_, changes) in changes.iter().filter(|(ends, _)| !by_end.contains_key(ends)) {
        report.miss(changes);
    }
    report
}

/// Every state that was told must be among the kernel's changes, in the same order and in time.
///
/// The tracepoint differs from the socket table in this: SYN-SENT is reported without the port, where connect() chooses it;
/// SYN-RECEIVED of a mere request is not reported at all, and what remains of a closed socket in FIN-WAIT-2 or TIME-WAIT
/// is reported as CLOSED at once.
fn compare_end(told: &[Told], changes: &[Change], report: &mut Report) -> Result<(), String> {
    let mut rest = changes;
    let mut is_remnant = false;
    for (index, told) in told.iter().enumerate() {
        let reported = |change: &Change| change.after == told.state;
        let is_request = told.state == State::SynReceived
            && !rest.first().is_some_and(|change| change.before == State::SynSent && reported(change));
        // connect() chooses the port after the change to SYN-SENT, which is reported with port 0.
        let is_of_unknown_port = told.state == State::SynSent && !rest.first().is_some_and(reported);
        if is_request || is_of_unknown_port {
            continue;
        }
        if let Some(position) = rest.iter().position(reported).filter(|_| !(is_remnant && told.state == State::Closed))
        {
            report.miss(&rest[..position]);
            is_remnant = false;
            check(told, &rest[position], rest.get(position + 1), report).map_err(|why| format!("#{index} {why}"))?;
            rest = &rest[position + 1..];
            continue;
        }
        let ends_in_remnant = |change: &Change| {
            matches!(change.before, State::FinWait2 | State::Closing) && change.after == State::Closed
        };
        match told.state {
            State::TimeWait if is_remnant => {}
            State::TimeWait if rest.iter().any(ends_in_remnant) => {
                let position = rest.iter().position(ends_in_remnant).unwrap();
                report.miss(&rest[..position]);
                check_time(told, &rest[position], None, report).map_err(|why| format!("#{index} {why}"))?;
                rest = &rest[position + 1..];
            }
            // What remains of FIN-WAIT-2 or TIME-WAIT ends unreported; a request does too.
            State::Closed if is_remnant => {}
            State::Closed if told.transition.as_ref().is_some_and(|moved| moved.before == State::SynReceived) => {}
            State::FinWait2 if rest.is_empty() => return Err("more than the kernel reported".into()),
            _ => return Err(format!("#{index} {} is not among the kernel's changes from there on", told.state)),
        }
        is_remnant = told.state != State::Closed;
    }
    let unreported = if rest.first().is_some_and(|change| change.before == State::FinWait2) { 1 } else { 0 };
    report.miss(&rest[unreported..]);
    Ok(())
}

fn check(told: &Told, change: &Change, next: Option<&Change>, report: &mut Report) -> Result<(), String> {
    if let Some(moved) = &told.transition {
        let before_is_known = !moved.because.contains("RST") && !moved.because.contains("in use again");
        if before_is_known && moved.before != change.before && moved.before != State::Closed {
            let request = moved.before == State::SynReceived && change.before == State::SynReceived;
            if !request {
                return Err(format!("{} → {}: it was in {} before", moved.before, moved.after, change.before));
            }
        }
    }
    check_time(told, change, next, report)
}

fn check_time(told: &Told, change: &Change, next: Option<&Change>, report: &mut Report) -> Result<(), String> {
    /// The tracepoint's times are cut off at the microsecond, and the two clocks are compared as exactly.
    const UNSHARP: Duration = Duration::from_micros(3);
    let Some(moved) = &told.transition else { return Ok(()) };
    let late_by = told.at.as_secs_f64() - change.at.as_secs_f64();
    let kind = format!("{} → {} ({})", moved.before, moved.after, moved.because);
    report.late_by.entry(kind).or_default().push(late_by * 1e6);
    report.checked += 1;
    report.seen += usize::from(moved.seen.is_some());
    // A socket may be held by a system call, or its softirq may have to wait for the processor.
    if change.at > told.at + Duration::from_millis(20) {
        return Err(format!("{} → {} is told long before {:?}", moved.before, moved.after, change.at));
    }
    match next {
        Some(next) if told.at > next.at + UNSHARP => Err(format!(
            "{} → {} is told at {:?}, after the kernel's next change at {:?}",
            moved.before, moved.after, told.at, next.at
        )),
        _ => Ok(()),
    }
}

fn print_event(event: &Event, (local, remote): Ends) {
    match &event.what {
        What::Segment(segment) if (segment.from, segment.to) == (local, remote) => {
            eprintln!("    {:?} →  {}", event.at, segment_text(segment));
        }
        What::Segment(segment) if (segment.from, segment.to) == (remote, local) => {
            eprintln!("    {:?} ←  {}", event.at, segment_text(segment));
        }
        What::Appeared(socket) | What::Changed { socket, .. } | What::Gone(socket) => {
            let is_its = socket.local == Endpoint::Inet(local) && socket.remote == Endpoint::Inet(remote);
            if is_its {
                let gone = if matches!(event.what, What::Gone(_)) { "gone after " } else { "" };
                eprintln!("    {:?} sample: {gone}{}", event.at, socket.state);
            }
        }
        _ => {}
    }
}

fn segment_text(segment: &Segment) -> String {
    let Segment { flags, seq, ack, length, window, .. } = segment;
    format!("{flags} seq {seq}+{length} ack {ack} win {window}")
}

fn print(report: &Report) {
    eprintln!("{} checked, {} seen in a sample; inferred minus reported time, in µs:", report.checked, report.seen);
    for (kind, late_by) in &report.late_by {
        let mut sorted = late_by.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize];
        let (least, median, most) = (at(0.0), at(0.5), at(1.0));
        eprintln!("  {kind:<75} {:>5} × {least:>9.1} {median:>7.1} {:>7.1} {most:>9.1}", sorted.len(), at(0.99));
    }
    eprintln!("neither inferred nor sampled: {:#?}", report.missing);
}
