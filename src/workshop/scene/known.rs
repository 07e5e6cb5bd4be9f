//! What is known of the programs of a scene from what their threads have done: who there is, what each is doing, what its calls
//! have returned, and which connection is whose.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::event::{Call, Descriptor, End, Endpoint, Event, Named, Protocol, What, Who};
use crate::lens::calls::{Gate, Held};
use crate::lens::observe::Alert;
use crate::scene::{Value, common_name};

/// How many of its last calls are kept of each thread, for when something goes wrong.
const LAST_CALLS: usize = 5;

/// A thread, the first of its process or another one.
#[derive(Default, Debug)]
pub struct Thread {
    /// Its process.
    pub process: u32,
    /// The number that it has itself: that of the process, if it is the first.
    id: u32,
    /// The call that it is in.
    pub inside: Option<Call>,
    /// Whether it is held.
    pub is_held: bool,
    /// Whether a signal has stopped it, with its whole process, until SIGCONT.
    is_stopped: bool,
    /// What the last call of each name has returned, and how many have.
    pub outcomes: BTreeMap<String, (Value, i64)>,
    /// Its last calls, as far as they have returned.
    pub last_calls: VecDeque<Call>,
}

/// An end of a connection, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ours {
    /// Who has, or had, this end.
    pub role: String,
    /// The end itself.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
}

/// All that is known.
#[derive(Default, Debug)]
pub struct Known {
    /// The threads that run, by their roles.
    pub threads: BTreeMap<String, Thread>,
    /// How processes have ended, by their roles.
    pub ends: BTreeMap<String, End>,
    /// The ends of connections, in the order in which they were learned of.
    pub connections: Vec<Ours>,
    /// The ports at which somebody listens, or has listened.
    pub served: BTreeSet<u16>,
    /// The ports that bind() was called for: not the kernel's choice.
    bound: BTreeSet<u16>,
    /// Who has, or had, a port without a peer, which the kernel has chosen: connect() has failed.
    pub lost: BTreeMap<u16, String>,
    /// The directory that the programs leave files in.
    pub directory: Option<PathBuf>,
    /// Those who were held since this was last emptied, and where.
    pub held: Vec<(String, Held)>,
}

impl Known {
    /// Nothing is known yet but the directory that the programs leave files in, if they have one.
    pub fn with(directory: Option<&Path>) -> Self {
        Self { directory: directory.map(Path::to_owned), ..Self::default() }
    }

    /// Learns from what has just happened.
    pub fn learn(&mut self, alert: &Alert) {
        match alert {
            Alert::Did(event) => self.did(event),
            Alert::Held(Who::Program { role, pid }, held) => {
                let thread = self.thread(role, *pid);
                thread.is_held = true;
                self.held.push((role.clone(), held.clone()));
            }
            Alert::Ended(Who::Program { role, .. }, end) => {
                self.ends.insert(role.clone(), *end);
                self.threads.retain(|its, _| its != role && !is_thread_of(its, role));
            }
            _ => {}
        }
    }

    /// The thread of this role runs from now on; through an open gate everybody whom it has made goes with it.
    pub fn goes_on(&mut self, role: &str, gate: &Gate) {
        for (its, thread) in &mut self.threads {
            if its == role || *gate == Gate::Open && is_made_by(its, role) {
                thread.is_held = false;
            }
        }
    }

    fn thread(&mut self, role: &str, pid: u32) -> &mut Thread {
        let process = match role.rsplit_once('/') {
            Some((maker, part)) if part.starts_with("thread") => {
                self.threads.get(maker).map_or(pid, |maker| maker.process)
            }
            _ => pid,
        };
        self.threads.entry(role.into()).or_insert_with(|| Thread { process, id: pid, ..Thread::default() })
    }

    fn did(&mut self, event: &Event) {
        let Who::Program { role, pid } = &event.who else { return };
        // Who does something is not held: that it was may have been told only after it was let go. Where it is held again, that
        // comes behind what it did.
        if let Some(thread) = self.threads.get_mut(role) {
            thread.is_held = false;
        }
        match &event.what {
            What::Started { .. } => drop(self.thread(role, *pid)),
            What::Forked { child: Who::Program { role, pid }, .. } => drop(self.thread(role, *pid)),
            What::Called(call) => self.thread(role, *pid).inside = Some(call.clone()),
            What::Signalled(signal) => self.signalled(role, *signal),
            What::Returned(call) => {
                self.returned(role, *pid, call);
                let made = call.outcome.as_ref().and_then(|outcome| outcome.made.as_ref());
                if let (Some(Named::Bound(Protocol::Tcp, local)), "bind") = (made.map(|made| &made.names), &*call.name)
                {
                    self.bound.extend(local.port());
                }
                for descriptor in made.into_iter().chain(call.on.as_ref()) {
                    self.may_own(role, descriptor);
                }
            }
            _ => {}
        }
    }

    /// Some signals stop the whole process, whichever of its threads gets them, and one lets it go on.
    fn signalled(&mut self, role: &str, signal: i32) {
        let is_stopped = match Signal::try_from(signal) {
            Ok(Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU) => true,
            Ok(Signal::SIGCONT) => false,
            _ => return,
        };
        let process = self.process_of(role);
        for thread in self.threads.values_mut().filter(|thread| Some(thread.process) == process) {
            thread.is_stopped = is_stopped;
        }
    }

    fn returned(&mut self, role: &str, pid: u32, call: &Call) {
        let Some(outcome) = &call.outcome else { return };
        let thread = self.thread(role, pid);
        thread.inside = None;
        // The kernel begins these anew by itself: no program ever sees them.
        if outcome.error.as_deref().is_some_and(|error| error.starts_with("ERESTART")) {
            return;
        }
        let value = match &outcome.error {
            Some(error) => Value::Word(error.clone()),
            None => Value::Number(outcome.value),
        };
        let entry = thread.outcomes.entry(common_name(&call.name).into()).or_insert((value.clone(), 0));
        *entry = (value, entry.1 + 1);
        thread.last_calls.push_back(call.clone());
        if thread.last_calls.len() > LAST_CALLS {
            thread.last_calls.pop_front();
        }
    }

    fn may_own(&mut self, role: &str, descriptor: &Descriptor) {
        match &descriptor.names {
            Named::Connected { protocol: Protocol::Tcp, local, remote, .. } => self.owns(role, local, remote),
            Named::Listening(end) => self.served.extend(end.port()),
            Named::Bound(Protocol::Tcp, local) => {
                let port = local.port().filter(|port| !self.bound.contains(port));
                port.map(|port| self.lost.entry(port).or_insert_with(|| role.into()));
            }
            _ => {}
        }
    }

    /// Whether this end is that of a server: somebody listens there, or has listened.
    pub fn serves(&self, end: &Endpoint) -> bool {
        end.port().is_some_and(|port| self.served.contains(&port))
    }

    /// Notes whose an end of a connection is. Several may have it; each is noted.
    pub fn owns(&mut self, role: &str, local: &Endpoint, remote: &Endpoint) {
        let ours = Ours { role: role.into(), local: local.canonical(), remote: remote.canonical() };
        if ours.local.port() != Some(0) && !self.connections.contains(&ours) {
            self.connections.push(ours);
        }
    }

    /// The connection of this role that it came to last.
    pub fn connection_of(&self, role: &str) -> Option<&Ours> {
        self.connections.iter().rev().find(|ours| ours.role == role)
    }

    /// Who this end belongs to: who had it first.
    pub fn owner_of(&self, local: &Endpoint, remote: &Endpoint) -> Option<&str> {
        let (local, remote) = (local.canonical(), remote.canonical());
        let found = self.connections.iter().find(|ours| ours.local == local && ours.remote == remote);
        found.map(|ours| ours.role.as_str())
    }

    /// The processes that run, by their roles.
    pub fn processes(&self) -> impl Iterator<Item = (&str, u32)> {
        let firsts = self.threads.iter().filter(|(role, _)| !is_thread(role));
        firsts.map(|(role, thread)| (role.as_str(), thread.process))
    }

    /// Whether this thread of a process stands still until somebody lets it go on: it is held, or stopped with its process.
    pub fn stands_still(&self, process: u32, id: u32) -> bool {
        let mut threads = self.threads.values().filter(|thread| thread.process == process);
        threads.any(|thread| thread.is_stopped || thread.is_held && thread.id == id)
    }

    /// The process that this role belongs to.
    pub fn process_of(&self, role: &str) -> Option<u32> {
        self.threads.get(role).map(|thread| thread.process)
    }
}

/// Whether a role is that of a thread, and not of a process.
fn is_thread(role: &str) -> bool {
    role.rsplit_once('/').is_some_and(|(_, part)| part.starts_with("thread"))
}

/// Whether a role is that of somebody whom this one has made, or those whom it has made.
fn is_made_by(role: &str, maker: &str) -> bool {
    role.strip_prefix(maker).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a role is that of a thread of this process.
fn is_thread_of(role: &str, process: &str) -> bool {
    role.strip_prefix(process).is_some_and(|rest| rest.starts_with("/thread"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One who has made a child and a thread, the child a thread of its own, and another whose name begins alike.
    const FAMILY: [(&str, u32); 5] = [
        ("server", 10),
        ("server/child 1", 20),
        ("server/child 1/thread 1", 21),
        ("server/thread 1", 11),
        ("server-b", 30),
    ];

    fn who(role: &str) -> Who {
        let pid = FAMILY.iter().find(|(its, _)| *its == role).map_or(0, |(_, pid)| *pid);
        Who::Program { role: role.into(), pid }
    }

    fn did(role: &str, what: What) -> Alert {
        Alert::Did(Box::new(Event { at: Duration::ZERO, who: who(role), what }))
    }

    /// Each of them is held before its first instruction.
    fn all_held() -> Known {
        let mut known = Known::default();
        for (role, _) in FAMILY {
            known.learn(&Alert::Held(who(role), Held::AtItsBeginning));
        }
        known
    }

    fn held(known: &Known) -> Vec<&str> {
        known.threads.iter().filter(|(_, thread)| thread.is_held).map(|(role, _)| role.as_str()).collect()
    }

    #[test]
    fn whom_an_open_gate_lets_go_is_held_no_longer_and_neither_is_anybody_whom_it_has_made() {
        let mut known = all_held();
        known.goes_on("server", &Gate::Shut);
        assert_eq!(held(&known), ["server-b", "server/child 1", "server/child 1/thread 1", "server/thread 1"]);
        let mut known = all_held();
        known.goes_on("server/child 1", &Gate::Open);
        assert_eq!(held(&known), ["server", "server-b", "server/thread 1"]);
        known.goes_on("server", &Gate::Open);
        assert_eq!(held(&known), ["server-b"]);
    }

    #[test]
    fn who_does_something_is_not_held_though_that_it_was_is_told_late() {
        let mut known = Known::default();
        known.goes_on("server", &Gate::Open);
        known.learn(&Alert::Held(who("server"), Held::AfterFork));
        known.learn(&did("server", What::Signalled(17)));
        assert!(held(&known).is_empty());
        known.learn(&Alert::Held(who("server"), Held::AfterFork));
        assert_eq!(held(&known), ["server"]);
    }

    #[test]
    fn who_is_held_stands_still_alone_and_who_is_stopped_with_its_whole_process() {
        let mut known = all_held();
        assert!(known.stands_still(10, 11) && known.stands_still(20, 21));
        assert!(!known.stands_still(10, 12), "nobody has told of this thread so far");
        known.goes_on("server", &Gate::Open);
        assert!(!known.stands_still(10, 10) && !known.stands_still(10, 11) && !known.stands_still(20, 21));
        known.learn(&did("server/thread 1", What::Signalled(Signal::SIGSTOP as i32)));
        assert!(known.stands_still(10, 10) && known.stands_still(10, 11));
        assert!(!known.stands_still(20, 20), "its child is not stopped with it");
        known.learn(&did("server", What::Signalled(Signal::SIGTERM as i32)));
        assert!(known.stands_still(10, 10));
        known.learn(&did("server", What::Signalled(Signal::SIGCONT as i32)));
        assert!(!known.stands_still(10, 10) && !known.stands_still(10, 11));
    }
}
