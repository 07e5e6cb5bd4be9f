//! A play from its beginning to its end: who is started when, what is shown, and that nobody is left.

use std::io::{Read, stdin};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::player::Player;
use super::{Cue, Outcome, Part, Play, how_it_ended, legend, subject, why};
use crate::event::{Endpoint, Event, Named, What, Who};
use crate::lens::calls::Recipients;
use crate::lens::observe::{Alert, Lenses, Observation};
use crate::sys::signals::Signals;
use crate::sys::terminal::is_in_background;
use crate::sys::{process, readiness};
use crate::view::paint::{Page, QUIET, STRONG, harmless, in_style};
use crate::view::timeline::Timeline;
use crate::workshop::guard::GRACE;
use crate::workshop::ladders::Ladders;
use crate::workshop::outputs::Outputs;
use crate::workshop::{Problem, run};

/// How long to wait for news at a time, when there was some lately and when there was not.
const BUSY: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(25);
/// And when there was none for so long. It has to be shorter than a transition waits for the sample that shows it.
const AT_REST: Duration = Duration::from_millis(60);
const RESTS: Duration = Duration::from_secs(2);
/// How long nothing must have happened until the clients' last words are through.
const SETTLED: Duration = Duration::from_millis(150);
/// How many events the timeline shows one by one.
const SHOWN: u64 = 20_000;
/// How often it says how many there are, after that.
const PROGRESS: Duration = Duration::from_secs(1);

pub struct Session<'a> {
    play: &'a Play,
    /// What a scene is told at once, before it comes in order; empty unless it [wants that](Self::be_directed).
    pub alerts: Vec<Alert>,
    is_directed: bool,
    each: &'a mut dyn FnMut(&Event),
    outputs: Outputs,
    signals: Signals,
    pub observation: Observation,
    timeline: Option<Timeline>,
    ladders: Option<Ladders>,
    pub players: Vec<Player>,
    /// Clients whose cue has not been given yet.
    waiting: Vec<&'a Part>,
    /// What was printed by those for whose lines somebody waits, or will.
    heard: Vec<(String, Vec<u8>)>,
    /// Whether the server waits for clients.
    serves: bool,
    outcome: Outcome,
    /// Since when nothing has happened.
    last_news: Instant,
    shown: u64,
    progress: Instant,
}

/// Why a play goes on no longer.
enum Stop {
    Ended,
    Asked,
}

impl<'a> Session<'a> {
    /// Opens the lenses; nobody runs yet.
    pub fn begin(play: &'a Play, outputs: Outputs, each: &'a mut dyn FnMut(&Event)) -> Result<Self, Problem> {
        let signals = Signals::take_over().map_err(Problem::while_doing("take over the signals"))?;
        process::adopt_orphans().map_err(Problem::while_doing("adopt orphans (prctl)"))?;
        let started = Instant::now();
        let own_network = play.rung.has_own_network();
        let lenses = Lenses {
            states: Some(subject(&play.rung, Some(play.port).filter(|&port| port != 0))),
            segments: own_network.then(|| ("lo".into(), None)),
        };
        let mut observation = Observation::begin(&lenses, started).map_err(Problem::while_doing("open the lenses"))?;
        // On the machine's network only what is on the port is of interest, once it is known.
        if play.rung.has_segments() && !own_network && play.port != 0 {
            observation
                .open_segments("lo", Some(play.port))
                .map_err(Problem::while_doing("capture segments (socket AF_PACKET)"))?;
        }
        let port = Some(play.port).filter(|&port| port != 0);
        let now = Instant::now();
        let mut session = Self {
            play,
            alerts: Vec::new(),
            is_directed: false,
            each,
            outputs,
            signals,
            observation,
            timeline: play.timeline.then(|| Timeline::new(port).in_microseconds()),
            ladders: play.ladder.then(Ladders::default),
            players: Vec::new(),
            waiting: Vec::new(),
            heard: Vec::new(),
            serves: false,
            outcome: Outcome { server_port: port, ..Outcome::default() },
            last_news: now,
            shown: 0,
            progress: now,
        };
        session.introduce()?;
        Ok(session)
    }

    /// From now on somebody else says what happens next, and is told of everything at once.
    pub fn be_directed(&mut self) {
        self.is_directed = true;
        self.observation.tell_all();
    }

    fn introduce(&mut self) -> Result<(), Problem> {
        let Some(timeline) = &mut self.timeline else { return Ok(()) };
        let page = timeline.page();
        let place = match &self.play.rung {
            rung if rung.has_own_network() => {
                format!("in a network of its own: lo, MTU {}", crate::sys::sandbox::MTU)
            }
            rung if rung.has_segments() => format!("on the machine's network ({})", why(rung)),
            rung => format!("on the machine's network, without segments ({})", why(rung)),
        };
        page.line(&in_style(STRONG, &harmless(self.play.title.as_bytes())), 2)?;
        page.line(&in_style(QUIET, &place), 2)?;
        page.gap()?;
        Ok(page.flush()?)
    }

    /// Server, clients, until the clients have ended.
    pub fn play(&mut self) -> Result<(), Problem> {
        if let Some(server) = &self.play.server {
            self.start(server)?;
            if let Some(Stop::Asked) = self.until(Self::server_listens, Some(self.play.patience))? {
                return Ok(());
            }
            self.check_that_it_listens()?;
        }
        for client in &self.play.clients {
            if client.after.is_some() { self.waiting.push(client) } else { self.start(client)? }
        }
        let roles: Vec<String> = self.play.clients.iter().map(|client| client.role.clone()).collect();
        let stop = if roles.is_empty() {
            self.until(|session| session.observation.is_quiet(), self.play.limit)?
        } else if self.play.server.is_none() {
            // One command that does it all: with everybody whom it has made.
            self.until(|session| session.observation.is_quiet(), self.play.limit)?
        } else {
            self.until(|session| session.have_ended(&roles) || session.wait_in_vain(), self.play.limit)?
        };
        self.note_who_was_not_started()?;
        match stop {
            Some(Stop::Asked) => Ok(()),
            Some(Stop::Ended) => {
                self.until(|session| session.last_news.elapsed() >= SETTLED, Some(GRACE))?;
                self.outcome.zombies = self.players.iter().flat_map(|player| process::zombies_of(player.pid)).collect();
                Ok(())
            }
            None => {
                self.outcome.is_late = true;
                self.note("time is up: everybody is ended now".into())
            }
        }
    }

    /// Starts a program.
    pub fn start(&mut self, part: &Part) -> Result<(), Problem> {
        let mut player = Player::start(part, self.play.port, &mut self.observation)?;
        player.reads_ours &= !self.players.iter().any(|other| other.reads_ours);
        self.players.push(player);
        Ok(())
    }

    /// Or never will: with the last of its processes. Some put themselves into the background first.
    fn server_listens(&self) -> bool {
        self.serves || self.observation.is_quiet()
    }

    fn have_ended(&self, roles: &[String]) -> bool {
        roles.iter().all(|role| self.outcome.end_of(role).is_some())
    }

    /// Somebody waits for a cue that nobody is left to give.
    fn wait_in_vain(&self) -> bool {
        let has_ended = |player: &Player| player.ended.is_some() || player.role == "server";
        !self.waiting.is_empty() && self.players.iter().all(has_ended)
    }

    fn note_who_was_not_started(&mut self) -> Result<(), Problem> {
        for part in std::mem::take(&mut self.waiting) {
            if let Some(Cue { role, says }) = &part.after {
                self.note(format!("{} was not started: {role} has never said {says:?}", part.role))?;
            }
        }
        Ok(())
    }

    /// Starts and types what waited for what has been printed.
    fn give_cues(&mut self) -> Result<(), Problem> {
        if self.waiting.is_empty() && self.players.iter().all(|player| player.cue().is_none()) {
            return Ok(());
        }
        let heard = std::mem::take(&mut self.heard);
        let is_given = |cue: &Cue| heard.iter().any(|(role, line)| cue.is_given_by(role, line));
        for player in &mut self.players {
            while player.cue().is_some_and(is_given) {
                player.take_cue();
            }
        }
        let (start, wait): (Vec<&Part>, _) =
            self.waiting.iter().copied().partition(|part| part.after.as_ref().is_none_or(is_given));
        self.waiting = wait;
        self.heard = heard;
        start.into_iter().try_for_each(|part| self.start(part))
    }

    fn check_that_it_listens(&mut self) -> Result<(), Problem> {
        if self.serves {
            return Ok(());
        }
        let Some(server) = self.players.first() else { return Ok(()) };
        let mut text = match server.ended {
            Some(end) => format!("the server {} before it listened", how_it_ended(end)),
            None => format!("the server has run for {} s and listens nowhere", self.play.patience.as_secs()),
        };
        let words: Vec<String> = server.last_words().map(harmless).collect();
        if !words.is_empty() {
            text.push_str(&format!("; its last words on standard error:\n    {}", words.join("\n    ")));
        }
        // In a network of their own nobody else could.
        if !self.play.rung.has_own_network() {
            text.push_str(&run::who_uses(self.play.port)?);
        }
        Err(Problem::Told(text))
    }

    /// Shows what happens until something is so (`Ended`), somebody asks for the end (`Asked`), or time is up (`None`).
    fn until(&mut self, is_so: impl Fn(&Self) -> bool, limit: Option<Duration>) -> Result<Option<Stop>, Problem> {
        let begun = Instant::now();
        while !is_so(self) {
            if let Some(signal) = self.signal()? {
                self.outcome.interrupted = Some(signal);
                return Ok(Some(Stop::Asked));
            }
            if limit.is_some_and(|limit| begun.elapsed() >= limit) {
                return Ok(None);
            }
            self.turn()?;
        }
        Ok(Some(Stop::Ended))
    }

    /// One round: what the programs print and are told, what the lenses tell, what of it is due to be shown.
    pub fn turn(&mut self) -> Result<(), Problem> {
        let limit = match self.last_news.elapsed() {
            short if short < SETTLED => BUSY,
            long if long < RESTS => IDLE,
            _ => AT_REST,
        };
        // What a program prints wakes us at once, so that its time is about right. The lenses' news does not: they carry
        // their times, and the programs would have to wait for us each time.
        let outputs: Vec<_> = self.players.iter().flat_map(Player::waits_for).collect();
        readiness::wait(&outputs, limit).map_err(Problem::while_doing("wait for output (poll)"))?;
        let alerts = self.observation.listen().map_err(Problem::while_doing("observe"))?;
        self.talk()?;
        for alert in alerts {
            if self.is_directed {
                self.alerts.push(alert.clone());
            }
            self.hear(alert)?;
        }
        let due = self.observation.due();
        self.show(due)
    }

    fn hear(&mut self, alert: Alert) -> Result<(), Problem> {
        match alert {
            Alert::Serves(Who::Program { role, .. }, descriptor) if role.starts_with("server") => {
                self.serves(&descriptor.names)
            }
            Alert::Serves(..) => Ok(()),
            Alert::Ended(Who::Program { pid, .. }, end) => {
                if let Some(player) = self.players.iter_mut().find(|player| player.pid == pid) {
                    player.ended = Some(end);
                    player.close_input();
                    self.outcome.ends.push((player.role.clone(), end));
                }
                Ok(())
            }
            Alert::Ended(..) | Alert::Held(..) | Alert::Did(_) => Ok(()),
            Alert::Refused(pid, errno) => Err(self.refused(pid, errno)),
        }
    }

    fn refused(&self, pid: u32, errno: Errno) -> Problem {
        let player = self.players.iter().find(|player| player.pid == pid);
        Problem::Told(run::not_started(player.map_or(&[], |player| &player.command), errno))
    }

    /// The server waits for clients on a socket from now on.
    fn serves(&mut self, names: &Named) -> Result<(), Problem> {
        let (Named::Listening(end) | Named::Bound(_, end)) = names else { return Ok(()) };
        if self.serves {
            return Ok(());
        }
        self.serves = true;
        let port = end.port();
        self.outcome.server_port = port;
        self.outputs.set_server_port(port);
        if let Some(timeline) = &mut self.timeline {
            timeline.set_server_port(port);
        }
        if !self.play.rung.has_own_network() {
            self.observation.set_subject(subject(&self.play.rung, port));
            if self.play.rung.has_segments() && port.is_some_and(|port| port != self.play.port) {
                self.observation
                    .open_segments("lo", port)
                    .map_err(Problem::while_doing("capture segments (socket AF_PACKET)"))?;
            }
        }
        if self.play.clients.is_empty() { self.say_what_to_type(end) } else { Ok(()) }
    }

    /// For a server whose clients are in other terminals.
    fn say_what_to_type(&mut self, end: &Endpoint) -> Result<(), Problem> {
        let Some(timeline) = &mut self.timeline else { return Ok(()) };
        let pid = self.players.first().map_or(0, |player| player.pid);
        let mut commands = Vec::new();
        if let Endpoint::Inet(address) = end {
            let (host, port) = (run::reachable(*address), address.port());
            match self.play.by_hand {
                _ if self.play.rung.has_own_network() => {
                    let enter = format!("nsenter --preserve-credentials -U -n -t {pid}");
                    commands.push(("terminal 2", format!("{enter} nc {host} {port}")));
                }
                Some(lab) => {
                    commands = run::tcp_commands(lab, *address, pid);
                    // Nobody else can follow it as long as we do.
                    commands.retain(|(_, command)| !command.contains("strace"));
                }
                None => commands.push(("terminal 2", format!("nc {host} {port}"))),
            }
        }
        commands.push(("here", "Ctrl-C ends the server".into()));
        let page = timeline.page();
        page.gap()?;
        for (terminal, command) in commands {
            page.line(&format!("  {}  {command}", in_style(STRONG, &format!("{terminal:<10}"))), 14)?;
        }
        page.gap()?;
        Ok(page.flush()?)
    }

    /// Takes what the programs print, and types what is to be typed for them.
    fn talk(&mut self) -> Result<(), Problem> {
        self.read_our_input()?;
        let at = self.observation.now();
        let has_cues = self.play.clients.iter().any(|part| part.after.is_some() || !part.later.is_empty());
        for player in &mut self.players {
            let who = Who::Program { role: player.role.clone(), pid: player.pid };
            let typed = player.type_on();
            for line in typed.split_inclusive(|&byte| byte == b'\n') {
                let line = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
                self.observation.add(Event { at, who: who.clone(), what: What::Typed(line) });
            }
            for line in player.lines().map_err(Problem::while_doing("read a program's output"))? {
                if has_cues {
                    self.heard.push((player.role.clone(), line.clone()));
                }
                self.observation.add(Event { at, who: who.clone(), what: What::Said(line) });
            }
        }
        if has_cues { self.give_cues() } else { Ok(()) }
    }

    /// What comes on our own input is for the program that nothing is typed for.
    fn read_our_input(&mut self) -> Result<(), Problem> {
        let Some(player) = self.players.iter_mut().find(|player| player.reads_ours && player.has_typed()) else {
            return Ok(());
        };
        let input = stdin();
        let reading = Problem::while_doing("read standard input");
        // In the background what is typed is for somebody else, and reading it would stop us (SIGTTIN).
        if readiness::wait(&[input.as_fd()], Duration::ZERO).map_err(&reading)?[0] && !is_in_background(input.as_fd()) {
            let mut bytes = [0; 4096];
            let count = match input.lock().read(&mut bytes) {
                Ok(count) => count,
                // EIO: a terminal that does not belong to us, because we run in the background.
                Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => 0,
                Err(error) => return Err(reading(error)),
            };
            player.hand_on(&bytes[..count]);
        }
        Ok(())
    }

    fn show(&mut self, events: Vec<Event>) -> Result<(), Problem> {
        if events.is_empty() {
            let is_long_ago = self.last_news.elapsed() > SETTLED;
            return match &mut self.timeline {
                Some(timeline) if is_long_ago => {
                    timeline.page().check_reader()?;
                    timeline.show_waiting(self.observation.told_until())?;
                    Ok(timeline.page().flush()?)
                }
                _ if is_long_ago => self.outputs.flush(),
                _ => Ok(()),
            };
        }
        self.last_news = Instant::now();
        for event in &events {
            (self.each)(event);
            self.outputs.event(event)?;
            self.shown += 1;
            if let Some(ladders) = &mut self.ladders {
                ladders.event(event);
            }
        }
        let Some(timeline) = &mut self.timeline else { return Ok(()) };
        if self.shown <= SHOWN {
            return Ok(timeline.print_events(&events)?);
        }
        if self.progress.elapsed() >= PROGRESS {
            self.progress = Instant::now();
            let text = format!("… {} events by now: too many to read, so that only their number is shown", self.shown);
            timeline.page().line(&in_style(QUIET, &text), 2)?;
            timeline.page().flush()?;
        }
        Ok(())
    }

    fn note(&mut self, note: String) -> Result<(), Problem> {
        let at = self.observation.now();
        self.observation.add(Event { at, who: Who::Socklab, what: What::Note(note) });
        Ok(())
    }

    /// SIGCHLD is for the thread that follows the programs.
    pub fn signal(&mut self) -> Result<Option<Signal>, Problem> {
        while let Some(signal) = self.signals.next().map_err(Problem::while_doing("read signals"))? {
            if signal != Signal::SIGCHLD {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    /// Ends everybody who is left, shows the rest, and completes the files. What went wrong before is told at the end.
    pub fn end(mut self, played: Result<(), Problem>) -> Result<Outcome, Problem> {
        let ended = self.end_everybody();
        let completed = self.complete(played.is_ok());
        played?;
        ended?;
        completed
    }

    fn end_everybody(&mut self) -> Result<(), Problem> {
        self.waiting.clear();
        let signalling = Problem::while_doing("end the programs");
        for (signal, grace) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, Duration::from_secs(2))] {
            if self.observation.is_quiet() {
                break;
            }
            self.observation.signal(signal, &Recipients::All).map_err(&signalling)?;
            let deadline = Instant::now() + grace;
            while !self.observation.is_quiet() && Instant::now() < deadline {
                // A second Ctrl-C: no more patience.
                if self.signal()?.is_some() {
                    break;
                }
                self.turn()?;
            }
        }
        // Who got away from us (CLONE_UNTRACED) is a child of ours by now.
        process::kill_all(&process::descendants(std::process::id()));
        self.until(|session| session.last_news.elapsed() >= BUSY * 4, Some(SETTLED)).map(drop)
    }

    /// What is left to show, and the files. Where nothing came of it, there is nothing to explain.
    fn complete(mut self, went_well: bool) -> Result<Outcome, Problem> {
        self.talk()?;
        let (rest, statistics) = self.observation.end().map_err(Problem::while_doing("close the lenses"))?;
        self.outcome.segments = statistics;
        self.show(rest)?;
        let remarks = self.outputs.finish()?;
        if let Some(timeline) = &mut self.timeline {
            timeline.show_entered()?;
            timeline.page().gap()?;
            timeline.page().flush()?;
        }
        if let Some(ladders) = &self.ladders {
            ladders.print(&mut Page::stdout(), self.outcome.server_port)?;
        }
        if let Some(timeline) = &mut self.timeline {
            let page = timeline.page();
            if self.play.ladder {
                page.gap()?;
            }
            let legend = if went_well { legend(self.play, &self.outcome) } else { Vec::new() };
            remarks.iter().chain(&legend).try_for_each(|line| page.line(line, 2))?;
            page.flush()?;
        }
        Ok(self.outcome)
    }
}
