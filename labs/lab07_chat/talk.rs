//! One end of the conversation: what is typed becomes requests, what arrives is shown, and each request is waited for.
//!
//! Two threads use it at once, one for each direction. Sockets there are none in here.

use std::collections::VecDeque;
use std::io::Error;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kit::{During, Failure};

use crate::console::PROMPT;
use crate::console::{Console, Input};
use crate::incoming::Incoming;
use crate::pauses::Pauses;
use crate::script::{Action, Script};
use crate::show::Reader;
use crate::typed::{self, HELP, Request, Typed};
use crate::waiting::{InVain, Waiting};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What both threads know of the conversation.
pub struct Talk {
    /// Keyboard and screen.
    pub console: &'static Console,
    /// What the one thread waits for and the other tells.
    pub waiting: Waiting,
    script: Option<Script>,
    shows_json: bool,
    pauses: Mutex<Pauses>,
    name: Mutex<Name>,
    was_connected: AtomicBool,
    has_mistakes: AtomicBool,
}

#[derive(Default)]
struct Name {
    /// The one that we have, or want to have again.
    ours: Option<String>,
    /// Those that were asked for and not answered, in order.
    asked: VecDeque<String>,
}

impl Talk {
    /// A conversation, in which what is typed stands in `script`, if there is one.
    pub fn new(console: &'static Console, script: Option<Script>) -> Self {
        let most = if script.is_none() && console.is_terminal() { u32::MAX } else { 0 };
        Self {
            console,
            waiting: Waiting::default(),
            script,
            shows_json: false,
            pauses: Mutex::new(Pauses::new(most)),
            name: Mutex::default(),
            was_connected: AtomicBool::new(false),
            has_mistakes: AtomicBool::new(false),
        }
    }

    /// The same under `name`, showing lines as they came if `shows_json`, and after so many failures in a row at an end; by
    /// default that is never where a person types, and else at once.
    pub fn with(mut self, name: Option<String>, shows_json: bool, most_failures: Option<u32>) -> Self {
        self.name = Mutex::new(Name { ours: name, asked: VecDeque::new() });
        self.shows_json = shows_json;
        if let Some(most) = most_failures {
            self.pauses = Mutex::new(Pauses::new(most));
        }
        self
    }

    /// Whether a person types, and would mind if the program ended by itself.
    pub fn has_person(&self) -> bool {
        self.script.is_none() && self.console.is_terminal()
    }

    /// The request that has to come first on every connection, where a name is ours.
    pub fn introduction(&self) -> Option<Request> {
        let mut name = lock(&self.name);
        let ours = name.ours.clone()?;
        let request = Request::register(&ours);
        name.asked.push_back(ours);
        Some(request)
    }

    /// There is a connection to `server`, on which requests can be sent.
    pub fn connected(&self, server: &str) {
        if self.was_connected.swap(true, Ordering::Relaxed) {
            self.console.tell(&format!("! connected to {server} again"));
        } else if self.has_person() {
            self.console.tell(&format!("connected to {server}; type messages, or /help; end with Done or Ctrl-D"));
        }
        self.waiting.connected();
    }

    /// After `failure` there is no connection. Pauses until it is time to try again; false if that is not wanted any more.
    ///
    /// # Errors
    ///
    /// The failure itself, where it is the last one that is put up with.
    pub fn pause_after(&self, failure: Failure) -> Result<bool, Failure> {
        self.waiting.disconnected();
        lock(&self.name).asked.clear();
        if !self.waiting.is_leaving() {
            let Some(pause) = lock(&self.pauses).next() else { return Err(failure) };
            self.console.tell(&format!("! {failure}\n! trying again in {} s", pause.as_secs_f32()));
            self.waiting.pause(pause);
        }
        Ok(!self.waiting.is_leaving())
    }

    /// Shows a line from the server.
    ///
    /// # Errors
    ///
    /// Nobody reads what is shown any more.
    pub fn take(&self, line: &[u8]) -> Result<(), Failure> {
        let incoming = Incoming::read(line);
        let lines = match self.shows_json {
            true => vec![String::from_utf8_lossy(line).into_owned()],
            false => Reader::here().lines(&incoming, line),
        };
        for text in &lines {
            let shown = if self.shows_json { self.console.show_raw(line) } else { self.console.show(text) };
            shown.during("write", "standard output")?;
        }
        if self.script.is_some() {
            lines.iter().for_each(|text| self.waiting.shown(text));
        }
        if let Some(is_welcome) = incoming.is_welcome() {
            let mut name = lock(&self.name);
            let asked = name.asked.pop_front();
            if is_welcome {
                name.ours = asked;
            }
        }
        if incoming.is_answer() {
            self.waiting.answered();
        }
        if !incoming.is_farewell() {
            // It has come back. One that only says no has not.
            lock(&self.pauses).start_over();
        }
        Ok(())
    }

    /// Hands to `send` a request for each line that is typed, or that stands in the script; then waits for the answers.
    ///
    /// What is returned says whether all of them could be made a request of.
    ///
    /// # Errors
    ///
    /// The keyboard cannot be read, a step of the script was in vain, or an answer did not come.
    pub fn type_all(&self, send: &dyn Fn(&Request)) -> Result<bool, Failure> {
        let typed = match &self.script {
            Some(script) => self.play(script, send),
            None => self.read_keyboard(send),
        };
        // From here on Ctrl-C is the terminal's own again.
        self.console.close();
        typed.inspect_err(|_| self.waiting.leave())?;
        let answered = self.waiting.for_answers(PATIENCE);
        self.waiting.leave();
        if self.waiting.is_connected() {
            send(&Request::quit());
        }
        match answered.and_then(|()| self.waiting.for_answers(PATIENCE)) {
            // A person has seen what was answered and what was not.
            Err(why) if !self.has_person() => Err(Failure::new("read", "the last answers", in_vain(why))),
            _ => Ok(!self.has_mistakes.load(Ordering::Relaxed)),
        }
    }

    fn read_keyboard(&self, send: &dyn Fn(&Request)) -> Result<(), Failure> {
        let mut typing = self.console.typing();
        loop {
            match typing.next_line().during("read", "standard input")? {
                Input::Line(line) if self.do_line(&line, send)? => {}
                Input::Line(_) | Input::End => return Ok(()),
                Input::Unfit(why) => self.mistake(&format!("! a line was not sent: {why}")),
                Input::Interrupt => {
                    self.console.close();
                    exit(130)
                }
            }
        }
    }

    fn play(&self, script: &Script, send: &dyn Fn(&Request)) -> Result<(), Failure> {
        for step in &script.steps {
            // As a person would, who reads the answer before typing on. It also gives the output one order only.
            let done = self.waiting.for_answers(PATIENCE).and_then(|()| match &step.action {
                Action::Wait { text, limit } => self.waiting.for_line(text, *limit),
                Action::Pause(time) => {
                    self.waiting.pause(*time);
                    Ok(())
                }
                Action::Type(_) => Ok(()),
            });
            done.map_err(|why| script.failure_at(step, &in_vain(why).to_string()))?;
            if let Action::Type(line) = &step.action {
                self.console.show(&format!("{PROMPT}{line}")).during("write", "standard output")?;
                if !self.do_line(line, send)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// False for the line that is the last one.
    fn do_line(&self, line: &str, send: &dyn Fn(&Request)) -> Result<bool, Failure> {
        match typed::read(line) {
            Typed::Nothing => {}
            Typed::End => return Ok(false),
            Typed::Help => self.console.show(HELP).during("write", "standard output")?,
            Typed::Wrong(why) => self.mistake(&format!("! {}", kit::printable(why.as_bytes()))),
            Typed::Request(request) => {
                if let Some(name) = request.name() {
                    lock(&self.name).asked.push_back(name.into());
                }
                send(&request);
            }
        }
        Ok(true)
    }

    fn mistake(&self, line: &str) {
        self.has_mistakes.store(true, Ordering::Relaxed);
        self.console.tell(line);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is whole at any time: a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_vain(why: InVain) -> Error {
    Error::other(match why {
        InVain::TooLong => "waited in vain: it did not come in time",
        InVain::Lost => "waited in vain: the connection was lost",
    })
}
