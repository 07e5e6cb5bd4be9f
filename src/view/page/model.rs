//! What there is to draw: things, each in a lane, on the rows of the picture.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::event::{Call, Endpoint, Event, Seen, Segment, Socket, State, Transition, What, Who};
use crate::view::describe;
use crate::view::page::side::{Side, Sides};

/// With more processes on a side than this, one that has ended leaves its column to the next.
const OWN_COLUMNS: usize = 6;

/// Where a thing is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// Beside the bars of a side's processes.
    Calls(Side),
    /// In the band of one end of a connection, by its index.
    Band(usize),
    /// Between the two sides.
    Wire,
}

/// Something that can be looked at: drawn once, with details of its own.
pub struct Thing<'a> {
    /// Who it belongs to.
    pub who: &'a Who,
    /// Where it is drawn.
    pub lane: Lane,
    /// The row where it begins, and the one where it ends: `None` where its end was not seen.
    pub rows: (usize, Option<usize>),
    /// When it began.
    pub at: Duration,
    /// When it ended.
    pub until: Option<Duration>,
    /// What it is.
    pub kind: Kind<'a>,
}

/// The kinds of things.
pub enum Kind<'a> {
    /// A call of a process.
    Call(Interval<'a>),
    /// A segment, and the side that sent it.
    Segment(&'a Segment, Side),
    /// A state of one end of a connection.
    State(Stay<'a>),
    /// A moment: of a process, by its index, or of a socket, or of nobody.
    Mark(&'a What, Option<usize>),
}

/// A call from its entry to its return.
pub struct Interval<'a> {
    /// The index of its process.
    pub process: usize,
    /// What was known of it at its entry.
    pub entered: &'a Call,
    /// What is known of it at last: after its return, where it has returned.
    pub call: &'a Call,
}

/// The time that a socket spends in a state.
pub struct Stay<'a> {
    /// The index of its band.
    pub band: usize,
    /// The state, as it is called for this protocol.
    pub name: &'static str,
    /// The state.
    pub state: State,
    /// The state before, where one is known.
    pub before: Option<State>,
    /// How it is known.
    pub evidence: Evidence<'a>,
}

/// How a state is known.
pub enum Evidence<'a> {
    /// A sample showed the socket; nothing else is known of it.
    Sampled(&'a Socket),
    /// It follows from the segments, and a sample showed it.
    Seen(&'a Transition, &'a Seen),
    /// It follows from the segments.
    Inferred(&'a Transition),
}

/// A process or thread, and the column of its bars.
pub struct Process<'a> {
    /// The side that its column is on.
    pub side: Side,
    /// Its role.
    pub role: &'a str,
    /// Its process or thread id.
    pub pid: u32,
    /// The rows between which it was seen; `None` where its end was not.
    pub rows: (usize, Option<usize>),
    /// The index of its maker, where that is on the same side.
    pub maker: Option<usize>,
    /// Its column, from the left.
    pub column: usize,
}

/// One end of a connection, or a listening socket.
pub struct Band<'a> {
    /// The side it is on.
    pub side: Side,
    /// Its own end.
    pub local: &'a Endpoint,
    /// The other end.
    pub remote: &'a Endpoint,
    /// Whether it is a listening socket.
    pub is_listening: bool,
    /// Its states, in order, by their indices.
    pub stays: Vec<usize>,
    /// The rows between which it was there; `None` where its end was not seen.
    pub rows: (usize, Option<usize>),
    /// Its column, counted from the wire.
    pub column: usize,
}

/// A moment, and what begins, happens or ends there.
pub struct Row {
    /// When.
    pub at: Duration,
    /// What is drawn on it, at most one in each lane.
    pub items: Vec<Item>,
}

/// A thing on a row.
#[derive(Clone, Copy)]
pub struct Item {
    /// Its index.
    pub thing: usize,
    /// Its lane.
    pub lane: Lane,
    /// How much of it is there.
    pub part: Part,
}

/// How much of a thing a row shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it: a moment, or a call during which nothing else happened.
    Whole,
    /// Its beginning.
    Begin,
    /// Its end.
    End,
}

/// All that the picture shows.
pub struct Model<'a> {
    /// Things in the order of their beginnings.
    pub things: Vec<Thing<'a>>,
    /// Processes in the order in which they were first seen.
    pub processes: Vec<Process<'a>>,
    /// Sockets in the order in which they were first seen.
    pub bands: Vec<Band<'a>>,
    /// Rows in the order of time.
    pub rows: Vec<Row>,
}

impl<'a> Model<'a> {
    /// Sorts the events into lanes and rows.
    pub fn new(events: &'a [Event], server_port: Option<u16>) -> Self {
        let mut builder = Builder::new(events, server_port);
        let moments = moments(events);
        let mut next = 0;
        while let Some(moment) = moments.get(next) {
            let is_undisturbed = moments.get(next + 1).is_some_and(|after| moment.is_the_entry_of(after));
            builder.add(moment, is_undisturbed);
            next += 1;
        }
        let mut model = builder.model;
        model.give_columns();
        model
    }

    /// How many columns the processes of a side take.
    pub fn process_columns(&self, side: Side) -> usize {
        let columns = self.processes.iter().filter(|process| process.side == side).map(|process| process.column + 1);
        columns.max().unwrap_or(0)
    }

    /// How many columns the sockets of a side take.
    pub fn band_columns(&self, side: Side) -> usize {
        self.bands.iter().filter(|band| band.side == side).map(|band| band.column + 1).max().unwrap_or(0)
    }

    fn give_columns(&mut self) {
        for side in [Side::Left, Side::Right] {
            let mut processes: Vec<_> = self.processes.iter_mut().filter(|process| process.side == side).collect();
            let may_reuse = processes.len() > OWN_COLUMNS;
            let mut columns = Columns::default();
            for process in &mut processes {
                let until = if may_reuse { process.rows.1 } else { None };
                process.column = columns.take(process.rows.0, until);
            }
            let (listening, connected): (Vec<_>, Vec<_>) =
                self.bands.iter_mut().filter(|band| band.side == side).partition(|band| band.is_listening);
            // Connections beside the wire, the listening sockets behind them.
            let (mut near, mut far) = (Columns::default(), Columns::default());
            connected.into_iter().for_each(|band| band.column = near.take(band.rows.0, band.rows.1));
            let behind = near.0.len();
            listening.into_iter().for_each(|band| band.column = behind + far.take(band.rows.0, band.rows.1));
        }
    }
}

/// Until which row each column is taken; `None` to the end.
#[derive(Default)]
struct Columns(Vec<Option<usize>>);

impl Columns {
    fn take(&mut self, from: usize, until: Option<usize>) -> usize {
        let free = self.0.iter().position(|taken| taken.is_some_and(|taken| taken < from));
        match free {
            Some(column) => {
                self.0[column] = until;
                column
            }
            None => {
                self.0.push(until);
                self.0.len() - 1
            }
        }
    }
}

/// A point in time with something to draw.
struct Moment<'a> {
    at: Duration,
    event: &'a Event,
    /// The call that is entered here, which for one whose entry was not recorded is known from its return only.
    entered: Option<&'a Call>,
}

impl Moment<'_> {
    fn is_the_entry_of(&self, after: &Moment) -> bool {
        match (self.entered, &after.event.what) {
            (Some(call), What::Returned(returned)) => after.entered.is_none() && call.id == returned.id,
            _ => false,
        }
    }
}

fn moments(events: &[Event]) -> Vec<Moment<'_>> {
    let id = |event: &Event| match &event.what {
        What::Called(call) => Some(call.id),
        _ => None,
    };
    let called: HashSet<u64> = events.iter().filter_map(id).collect();
    let mut moments = Vec::with_capacity(events.len());
    for event in events {
        match &event.what {
            What::Called(call) => moments.push(Moment { at: event.at, event, entered: Some(call) }),
            What::Returned(call) if !called.contains(&call.id) => {
                let entered = call.outcome.as_ref().map_or(event.at, |outcome| outcome.entered.min(event.at));
                moments.push(Moment { at: entered, event, entered: Some(call) });
                moments.push(Moment { at: event.at, event, entered: None });
            }
            _ => moments.push(Moment { at: event.at, event, entered: None }),
        }
    }
    moments.sort_by_key(|moment| moment.at);
    moments
}

/// What makes a socket the same one: its ends in canonical form, and for those without a name the number of its inode.
type Identity = (Endpoint, Endpoint, u32);

struct Builder<'a> {
    model: Model<'a>,
    sides: Sides,
    calls: HashMap<u64, usize>,
    /// Calls that are on one row from entry to return.
    undisturbed: HashSet<u64>,
    processes: HashMap<(Side, u32), usize>,
    bands: HashMap<Identity, usize>,
    /// Connections whose transitions are known: samples add nothing to their states.
    followed: HashSet<Identity>,
}

impl<'a> Builder<'a> {
    fn new(events: &'a [Event], server_port: Option<u16>) -> Self {
        let followed = events.iter().filter_map(|event| match &event.what {
            What::Moved(transition) => Some(identity(&transition.local, &transition.remote, 0)),
            _ => None,
        });
        Self {
            model: Model { things: Vec::new(), processes: Vec::new(), bands: Vec::new(), rows: Vec::new() },
            sides: Sides::new(server_port, events),
            calls: HashMap::new(),
            undisturbed: HashSet::new(),
            processes: HashMap::new(),
            bands: HashMap::new(),
            followed: followed.collect(),
        }
    }

    fn add(&mut self, moment: &Moment<'a>, is_undisturbed: bool) {
        let event = moment.event;
        if let Some(call) = moment.entered {
            return self.enter(moment, call, is_undisturbed);
        }
        match &event.what {
            What::Called(_) => {}
            What::Returned(call) => self.come_back(event, call),
            What::Segment(segment) => {
                let kind = Kind::Segment(segment, self.sides.of_sender(segment));
                self.mark(event, Lane::Wire, kind);
            }
            What::Moved(transition) => self.move_on(event, transition),
            What::Appeared(socket) => self.sample(event, socket, None),
            What::Changed { before, socket } => self.sample(event, socket, Some(*before)),
            What::Gone(socket) => self.lose(event, socket),
            What::Accepted(socket) | What::Queued { socket, .. } | What::Lying(socket) => {
                let band = self.band_of(event, socket);
                self.mark(event, Lane::Band(band), Kind::Mark(&event.what, None));
            }
            What::Forked { child, .. } => self.fork(event, child),
            What::Ended(_) => {
                let process = self.mark_process(event);
                let row = self.model.rows.len().saturating_sub(1);
                process.into_iter().for_each(|process| self.model.processes[process].rows.1 = Some(row));
            }
            What::Crowd(_)
            | What::Started { .. }
            | What::Signalled(_)
            | What::Said(_)
            | What::Typed(_)
            | What::Note(_) => {
                self.mark_process(event);
            }
        }
    }

    /// The last row, where it is of the same moment and has nothing in this lane; otherwise a new one.
    fn row(&mut self, at: Duration, lane: Lane) -> usize {
        let rows = &mut self.model.rows;
        let fits = |row: &Row| row.at == at && row.items.iter().all(|item| item.lane != lane);
        if !rows.last().is_some_and(fits) {
            rows.push(Row { at, items: Vec::new() });
        }
        rows.len() - 1
    }

    fn put(&mut self, at: Duration, lane: Lane, thing: usize, part: Part) -> usize {
        let row = self.row(at, lane);
        self.model.rows[row].items.push(Item { thing, lane, part });
        row
    }

    /// Something without duration.
    fn mark(&mut self, event: &'a Event, lane: Lane, kind: Kind<'a>) {
        let thing = self.model.things.len();
        let row = self.put(event.at, lane, thing, Part::Whole);
        let (at, who) = (event.at, &event.who);
        self.model.things.push(Thing { who, lane, rows: (row, Some(row)), at, until: Some(at), kind });
    }

    /// Something that its owner does, or that is said about it; without a process it is written on the wire.
    fn mark_process(&mut self, event: &'a Event) -> Option<usize> {
        let Who::Program { role, pid } = &event.who else {
            self.mark(event, Lane::Wire, Kind::Mark(&event.what, None));
            return None;
        };
        let side = self.sides.of_program(role, *pid);
        let process = self.process(side, role, *pid, event.at);
        self.mark(event, Lane::Calls(side), Kind::Mark(&event.what, Some(process)));
        Some(process)
    }

    fn process(&mut self, side: Side, role: &'a str, pid: u32, at: Duration) -> usize {
        if let Some(known) = self.processes.get(&(side, pid)) {
            return *known;
        }
        let row = self.row(at, Lane::Calls(side));
        let process = self.model.processes.len();
        self.model.processes.push(Process { side, role, pid, rows: (row, None), maker: None, column: 0 });
        self.processes.insert((side, pid), process);
        process
    }

    fn fork(&mut self, event: &'a Event, child: &'a Who) {
        let maker = self.mark_process(event);
        let Who::Program { role, pid } = child else { return };
        let side = self.sides.of_program(role, *pid);
        let row = self.model.rows.len().saturating_sub(1);
        let is_new = !self.processes.contains_key(&(side, *pid));
        let child = self.process(side, role, *pid, event.at);
        let is_neighbour = maker.is_some_and(|maker| self.model.processes[maker].side == side);
        if is_new {
            self.model.processes[child].rows.0 = row;
            self.model.processes[child].maker = maker.filter(|_| is_neighbour);
        }
        // The row that was opened for the child alone has nothing on it.
        if self.model.rows.last().is_some_and(|row| row.items.is_empty()) {
            self.model.rows.pop();
        }
    }

    fn enter(&mut self, moment: &Moment<'a>, call: &'a Call, is_undisturbed: bool) {
        let Who::Program { role, pid } = &moment.event.who else { return };
        if self.calls.contains_key(&call.id) {
            return;
        }
        let side = self.sides.of_call(role, *pid, call);
        let process = self.process(side, role, *pid, moment.at);
        let (thing, lane) = (self.model.things.len(), Lane::Calls(side));
        let part = if is_undisturbed { Part::Whole } else { Part::Begin };
        let row = self.put(moment.at, lane, thing, part);
        let kind = Kind::Call(Interval { process, entered: call, call });
        let who = &moment.event.who;
        self.model.things.push(Thing { who, lane, rows: (row, None), at: moment.at, until: None, kind });
        self.calls.insert(call.id, thing);
        if is_undisturbed {
            self.undisturbed.insert(call.id);
        }
    }

    fn come_back(&mut self, event: &'a Event, call: &'a Call) {
        let Some(&thing) = self.calls.get(&call.id) else { return };
        let Thing { lane, rows: (began, None), .. } = self.model.things[thing] else { return };
        let row = if self.undisturbed.contains(&call.id) { began } else { self.put(event.at, lane, thing, Part::End) };
        let thing = &mut self.model.things[thing];
        thing.rows.1 = Some(row);
        thing.until = Some(event.at);
        if let Kind::Call(interval) = &mut thing.kind {
            interval.call = call;
        }
    }

    fn move_on(&mut self, event: &'a Event, transition: &'a Transition) {
        let Transition { local, remote, before, after, .. } = transition;
        let is_listening = *after == State::Listen || *before == State::Listen;
        let evidence = match &transition.seen {
            Some(seen) => Evidence::Seen(transition, seen),
            None => Evidence::Inferred(transition),
        };
        if *after == State::Closed {
            return self.close(event, &identity(local, remote, 0));
        }
        let side = if is_listening { Side::Right } else { self.sides.of_end(local, remote) };
        let band = self.band((local, remote, 0), side, is_listening);
        let before = Some(*before);
        self.stay(event, Stay { band, name: after.name(), state: *after, before, evidence });
    }

    fn sample(&mut self, event: &'a Event, socket: &'a Socket, before: Option<State>) {
        if self.follows(socket) {
            return;
        }
        let band = self.band(ends(socket), self.sides.of_socket(socket), socket.is_listening());
        let (name, evidence) = (describe::state(socket), Evidence::Sampled(socket));
        self.stay(event, Stay { band, name, state: socket.state, before, evidence });
    }

    fn lose(&mut self, event: &'a Event, socket: &'a Socket) {
        if !self.follows(socket) {
            let (local, remote, inode) = ends(socket);
            self.close(event, &identity(local, remote, inode));
        }
    }

    fn follows(&self, socket: &Socket) -> bool {
        self.followed.contains(&identity(&socket.local, &socket.remote, 0))
    }

    /// The band of a socket that something is said about. Where its state was not told before, it is now.
    fn band_of(&mut self, event: &'a Event, socket: &'a Socket) -> usize {
        let ends = if self.follows(socket) { (&socket.local, &socket.remote, 0) } else { ends(socket) };
        if let Some(band) = self.bands.get(&identity(ends.0, ends.1, ends.2)) {
            return *band;
        }
        let band = self.band(ends, self.sides.of_socket(socket), socket.is_listening());
        let (name, evidence) = (describe::state(socket), Evidence::Sampled(socket));
        self.stay(event, Stay { band, name, state: socket.state, before: None, evidence });
        band
    }

    fn band(&mut self, (local, remote, inode): Ends<'a>, side: Side, is_listening: bool) -> usize {
        let identity = identity(local, remote, inode);
        if let Some(band) = self.bands.get(&identity) {
            return *band;
        }
        let (stays, rows) = (Vec::new(), (usize::MAX, None));
        self.model.bands.push(Band { side, local, remote, is_listening, stays, rows, column: 0 });
        self.bands.insert(identity, self.model.bands.len() - 1);
        self.model.bands.len() - 1
    }

    fn stay(&mut self, event: &'a Event, stay: Stay<'a>) {
        let (thing, index) = (self.model.things.len(), stay.band);
        let lane = Lane::Band(index);
        let row = self.put(event.at, lane, thing, Part::Begin);
        self.end_of_stay(index, row, event.at);
        let band = &mut self.model.bands[index];
        band.stays.push(thing);
        band.rows.0 = band.rows.0.min(row);
        let (at, who, kind) = (event.at, &event.who, Kind::State(stay));
        self.model.things.push(Thing { who, lane, rows: (row, None), at, until: None, kind });
    }

    fn end_of_stay(&mut self, band: usize, row: usize, at: Duration) {
        let Some(&last) = self.model.bands[band].stays.last() else { return };
        let last = &mut self.model.things[last];
        last.rows.1 = Some(row);
        last.until = Some(at);
    }

    fn close(&mut self, event: &'a Event, identity: &Identity) {
        let Some(band) = self.bands.remove(identity) else { return };
        let Some(&last) = self.model.bands[band].stays.last() else { return };
        let row = self.put(event.at, Lane::Band(band), last, Part::End);
        self.end_of_stay(band, row, event.at);
        self.model.bands[band].rows.1 = Some(row);
    }
}

/// The ends of a socket, and its inode where those do not tell it from others.
type Ends<'a> = (&'a Endpoint, &'a Endpoint, u32);

fn ends(socket: &Socket) -> Ends<'_> {
    let is_nameless = socket.local.port().is_none();
    (&socket.local, &socket.remote, if is_nameless { socket.inode } else { 0 })
}

fn identity(local: &Endpoint, remote: &Endpoint, inode: u32) -> Identity {
    (local.canonical(), remote.canonical(), inode)
}
