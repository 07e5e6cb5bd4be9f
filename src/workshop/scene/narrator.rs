//! Tells a scene line by line, asks what was predicted, and lays it beside what the kernel says.

use std::collections::VecDeque;
use std::io::{Read, stdin};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use super::{Break, Options, Shed, Source, quiet};
use crate::scene::{Action, Alternative, Asked, Prediction, Scene, Shown, Step, Value};
use crate::sys::readiness;
use crate::sys::terminal::Keys;
use crate::view::paint::{KERNEL, OWN, Page, SERVER, STRONG, harmless, in_style};
use crate::workshop::Problem;

/// How long to wait for a line from the terminal at a time; the programs go on in between.
const GLANCE: Duration = Duration::from_millis(20);

/// Prints a scene while it is played.
pub struct Narrator {
    page: Page,
    is_silent: bool,
    asks: bool,
    steps: bool,
    answers: VecDeque<String>,
    input: Input,
    /// Predictions that were not revealed yet, each with the answer, if one was asked for.
    open: Vec<(Prediction, Option<Value>)>,
    wrong: usize,
}

impl Narrator {
    /// Nothing is told yet.
    pub fn new(options: &Options) -> Self {
        let is_silent = options.outputs.take_stdout();
        Self {
            page: if is_silent { Page::stderr() } else { Page::stdout() },
            is_silent,
            asks: options.ask,
            steps: options.step,
            answers: options.answers.iter().cloned().collect(),
            input: Input::default(),
            open: Vec::new(),
            wrong: 0,
        }
    }

    /// Whether a prediction was wrong.
    pub fn was_wrong(&self) -> bool {
        self.wrong > 0
    }

    /// Lets everything be seen.
    pub fn flush(&mut self) -> Result<(), Problem> {
        Ok(self.page.flush()?)
    }

    /// A remark of this command.
    pub fn remark(&mut self, text: &str) -> Result<(), Problem> {
        Ok(self.page.line(&in_style(OWN, text), 2)?)
    }

    /// What the scene is about, and where it is played.
    pub fn title(&mut self, title: &str, place: &str) -> Result<(), Problem> {
        if self.is_silent {
            return Ok(());
        }
        self.page.line(&in_style(STRONG, &harmless(title.as_bytes())), 2)?;
        self.page.line(&quiet(&harmless(place.as_bytes())), 2)?;
        Ok(self.page.gap()?)
    }

    /// Says where everything came from, and what shows the same.
    pub fn legend(&mut self, port: u16, own_network: bool) -> Result<(), Problem> {
        if self.is_silent {
            return Ok(());
        }
        self.page.gap()?;
        let mut lines = vec![
            "States and queues are the kernel's own answers (sock_diag), asked for while nothing changed any more. Each program \
             was held at the call that its line names (ptrace)."
                .to_owned(),
        ];
        if own_network {
            lines.push("The same beside it, with programs on the machine's network:".into());
        }
        lines.extend([
            format!("  ss -tanp 'sport = :{port} or dport = :{port}'"),
            format!("  sudo tcpdump -i lo -nn 'tcp port {port}'"),
        ]);
        for line in lines {
            self.page.line(&quiet(&line), 2)?;
        }
        Ok(())
    }

    /// Tells that it is not as the scene says.
    pub fn failure(&mut self, file: &Path, what: &str) -> Result<(), Problem> {
        let text = format!("✗ {}:{what}", harmless(file.display().to_string().as_bytes()));
        for line in text.lines() {
            self.page.line(&in_style(OWN, line), 4)?;
        }
        Ok(())
    }

    /// Tells a scene from its first line to its last.
    pub fn narrate(&mut self, scene: &Scene, source: &mut dyn Source) -> Result<(), Break> {
        for step in &scene.steps {
            if self.steps && !matches!(step.action, Action::Note(_) | Action::Predict(_)) {
                self.wait_for_leave(step, source)?;
            }
            let told = self.tell(step, source);
            self.page.flush()?;
            if let Err(Break::Failed(what)) = told {
                return Err(self.told_with_its_place(step, &what, source));
            }
            told?;
        }
        Ok(())
    }

    /// What went wrong, where in the scene, and how the sockets are.
    fn told_with_its_place(&self, step: &Step, what: &str, source: &mut dyn Source) -> Break {
        let mut text = format!("{}: {}\n  {what}", step.line, harmless(step.text.as_bytes()));
        let sockets = match source.look() {
            // Whoever wants it to end has said so meanwhile.
            Err(interrupted @ Break::Interrupted(_)) => return interrupted,
            // Where even these cannot be had, the failure is what counts.
            sockets => sockets.unwrap_or_default(),
        };
        for line in sockets {
            text.push_str(&format!("\n    {line}"));
        }
        Break::Failed(text)
    }

    fn tell(&mut self, step: &Step, source: &mut dyn Source) -> Result<(), Break> {
        match &step.action {
            Action::Note(text) => return self.say(&format!("  {}", harmless(text.as_bytes())), 2),
            Action::Predict(prediction) => return self.predict(prediction, source),
            Action::Wait(..) | Action::Limit(_) => {
                return source.perform(step, &[]).map(drop);
            }
            Action::Expect(..) | Action::Reveal => {}
            _ => self.announce(step)?,
        }
        let asked: Vec<Asked> = self.open.iter().map(|(prediction, _)| prediction.asked.clone()).collect();
        let shed = source.perform(step, &asked)?;
        match &step.action {
            Action::Reveal => self.reveal(&shed)?,
            Action::Expect(asked, value) => {
                let text = harmless(format!("{asked} {value}").as_bytes());
                self.say(&in_style(SERVER, &format!("  ✓ {text}")), 4)?;
            }
            Action::Print(Shown::Ladder) if !self.is_silent => source.ladder(&mut self.page)?,
            _ => {
                for line in &shed.lines {
                    self.say(&in_style(KERNEL, &format!("    {line}")), 6)?;
                }
            }
        }
        Ok(())
    }

    fn announce(&mut self, step: &Step) -> Result<(), Break> {
        let words: Vec<&str> = step.text.split_whitespace().collect();
        let text = harmless(words.join(" ").as_bytes());
        self.say(&format!("{} {text}", in_style(STRONG, "▸")), 4)?;
        Ok(self.page.flush()?)
    }

    fn say(&mut self, text: &str, indent: usize) -> Result<(), Break> {
        if self.is_silent { Ok(()) } else { Ok(self.page.line(text, indent)?) }
    }

    /// Asks what will be seen; without anybody to ask, the question is shown.
    fn predict(&mut self, prediction: &Prediction, source: &mut dyn Source) -> Result<(), Break> {
        self.say("", 0)?;
        self.say_question(prediction)?;
        for (letter, alternative) in letters().zip(&prediction.menu) {
            self.say(&format!("    {letter}  {}", harmless(alternative.to_string().as_bytes())), 7)?;
        }
        let answer = if self.asks || !self.answers.is_empty() { Some(self.answer(prediction, source)?) } else { None };
        self.say("", 0)?;
        self.open.push((prediction.clone(), answer));
        Ok(())
    }

    fn say_question(&mut self, prediction: &Prediction) -> Result<(), Break> {
        let question = match &prediction.question {
            Some(question) => harmless(question.as_bytes()),
            None => format!("What will be seen of {}?", harmless(prediction.asked.to_string().as_bytes())),
        };
        self.say(&format!("{} {}", in_style(OWN, "?"), in_style(STRONG, &question)), 2)
    }

    /// Asks until there is an answer that can be one.
    fn answer(&mut self, prediction: &Prediction, source: &mut dyn Source) -> Result<Value, Break> {
        let how = match prediction.menu.len() {
            0 => "a number".into(),
            count => format!("a letter, a to {}", letters().nth(count - 1).unwrap_or('z')),
        };
        loop {
            let (typed, is_given) = match self.answers.pop_front() {
                Some(given) => (given, true),
                None => {
                    self.page
                        .line(&format!("  your answer, {how}, and Enter (the scene goes on then; q ends it):"), 2)?;
                    self.page.flush()?;
                    (self.input.line(source)?.ok_or(Break::Quit)?, false)
                }
            };
            let typed = typed.trim();
            if typed == "q" {
                return Err(Break::Quit);
            }
            if let Some(value) = chosen(&prediction.menu, typed) {
                self.say(&format!("  you say: {}", harmless(label(prediction, &value).as_bytes())), 4)?;
                return Ok(value);
            }
            let text = format!("\"{}\" is none of the answers: {how}", harmless(typed.as_bytes()));
            if is_given {
                return Err(Problem::Told(text).into());
            }
            self.remark(&text)?;
        }
    }

    /// Lays what was predicted beside what was seen.
    fn reveal(&mut self, shed: &Shed) -> Result<(), Break> {
        let open = std::mem::take(&mut self.open);
        for ((prediction, answer), seen) in open.iter().zip(&shed.revealed) {
            let alternative = prediction.menu.iter().find(|alternative| alternative.value.admits(seen));
            if alternative.is_none() && !prediction.menu.is_empty() {
                let text = format!("what was seen of {} is {seen}, and not on the menu", prediction.asked);
                return Err(Break::Failed(harmless(text.as_bytes())));
            }
            self.say("", 0)?;
            // Of several it has to be seen which one this is the answer to.
            if answer.is_some() && open.len() > 1 {
                self.say_question(prediction)?;
            }
            self.compare(prediction, answer.as_ref(), seen)?;
        }
        if open.iter().any(|(_, answer)| answer.is_some()) { self.say("", 0) } else { Ok(()) }
    }

    fn compare(&mut self, prediction: &Prediction, answer: Option<&Value>, seen: &Value) -> Result<(), Break> {
        let said = harmless(prediction.asked.to_string().as_bytes());
        let seen_text = harmless(label(prediction, seen).as_bytes());
        let Some(answer) = answer else {
            return self.say(&format!("  {said}: {}", in_style(KERNEL, &seen_text)), 4);
        };
        let is_right = answer.admits(seen);
        let mark = if is_right { in_style(SERVER, "✓ right") } else { in_style(OWN, "✗ not this time") };
        self.say(&format!("  you said     {}", harmless(label(prediction, answer).as_bytes())), 15)?;
        self.say(&format!("  the kernel   {}  {mark}", in_style(KERNEL, &seen_text)), 15)?;
        if !is_right {
            self.wrong += 1;
            let why = prediction.misconceptions.iter().find(|(value, _)| value == answer || value.admits(answer));
            if let Some((_, text)) = why {
                self.say(&format!("  {}", harmless(text.as_bytes())), 2)?;
            }
        }
        Ok(())
    }

    /// Shows the states, and waits until the next line may be played.
    fn wait_for_leave(&mut self, step: &Step, source: &mut dyn Source) -> Result<(), Break> {
        for line in source.look()? {
            self.say(&in_style(KERNEL, &format!("    {line}")), 6)?;
        }
        let text = harmless(step.text.as_bytes());
        self.page.line(&format!("{} line {}: {text}", in_style(OWN, "next,"), step.line), 4)?;
        self.page.line(&quiet("space goes on, q ends it"), 2)?;
        self.page.flush()?;
        let stdin = stdin();
        // Where it is no terminal, what comes is taken as keys all the same.
        let _keys = Keys::one_by_one(stdin.as_fd()).ok();
        loop {
            match self.input.key(source)? {
                Some(' ' | '\n' | '\r') => return Ok(()),
                Some('q' | '\u{4}') | None => return Err(Break::Quit),
                Some(_) => {}
            }
        }
    }
}

/// The letters of a menu.
fn letters() -> impl Iterator<Item = char> {
    'a'..='z'
}

/// What was chosen by its letter, or by what it says; a number where there is no menu.
fn chosen(menu: &[Alternative], typed: &str) -> Option<Value> {
    if menu.is_empty() {
        return Some(Value::read(typed)).filter(|value| matches!(value, Value::Number(_)));
    }
    let by_letter = letters().zip(menu).find(|(letter, _)| typed.eq_ignore_ascii_case(&letter.to_string()));
    let by_text =
        || menu.iter().find(|it| it.to_string().eq_ignore_ascii_case(typed) || it.value.admits(&Value::read(typed)));
    by_letter.map(|(_, it)| it).or_else(by_text).map(|it| it.value.clone())
}

/// A value as the menu has it, and with its number where the menu has a range.
fn label(prediction: &Prediction, value: &Value) -> String {
    let on_menu = prediction.menu.iter().find(|it| it.value == *value || it.value.admits(value));
    match on_menu {
        Some(Alternative { value: Value::Range(..), .. }) | None => match (on_menu, value) {
            (Some(it), Value::Number(number)) => format!("{number}  ({it})"),
            (Some(it), _) => it.to_string(),
            (None, _) => value.to_string(),
        },
        Some(it) => it.to_string(),
    }
}

/// Our own standard input.
#[derive(Default)]
struct Input {
    waiting: VecDeque<u8>,
    is_at_end: bool,
}

impl Input {
    /// A line; `None` at the end.
    fn line(&mut self, source: &mut dyn Source) -> Result<Option<String>, Break> {
        loop {
            if let Some(end) = self.waiting.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.is_at_end {
                let rest: Vec<u8> = self.waiting.drain(..).collect();
                return Ok((!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned()));
            }
            self.read_more(source)?;
        }
    }

    /// A key; `None` at the end.
    fn key(&mut self, source: &mut dyn Source) -> Result<Option<char>, Break> {
        loop {
            if let Some(byte) = self.waiting.pop_front() {
                return Ok(Some(char::from(byte)));
            }
            if self.is_at_end {
                return Ok(None);
            }
            self.read_more(source)?;
        }
    }

    fn read_more(&mut self, source: &mut dyn Source) -> Result<(), Break> {
        source.pass_time()?;
        let reading = Problem::while_doing("read standard input");
        let input = stdin();
        if readiness::wait(&[input.as_fd()], GLANCE).map_err(&reading)?[0] {
            let mut bytes = [0; 1024];
            let count = input.lock().read(&mut bytes).map_err(&reading)?;
            self.is_at_end = count == 0;
            self.waiting.extend(&bytes[..count]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use nix::sys::signal::Signal;

    use super::*;
    use crate::scene;
    use crate::workshop::outputs::OutputOptions;

    /// Nothing is as the scene says, and while the sockets are looked at this happens.
    struct Failing(Option<Break>);

    impl Source for Failing {
        fn perform(&mut self, _: &Step, _: &[Asked]) -> Result<Shed, Break> {
            Err(Break::Failed("it is not so".into()))
        }

        fn pass_time(&mut self) -> Result<(), Break> {
            Ok(())
        }

        fn look(&mut self) -> Result<Vec<String>, Break> {
            self.0.take().map_or_else(|| Ok(vec!["server  LISTEN".into()]), Err)
        }

        fn ladder(&mut self, _: &mut Page) -> Result<(), Break> {
            Ok(())
        }
    }

    /// How a scene of one line ends then.
    fn end(meanwhile: Option<Break>) -> Break {
        let scene = scene::parse("program server  true\nexpect server LISTEN\n").unwrap();
        let options = Options {
            file: "the.scene".into(),
            step: false,
            ask: false,
            answers: Vec::new(),
            recorded: false,
            here: false,
            outputs: OutputOptions::default(),
        };
        Narrator::new(&options).narrate(&scene, &mut Failing(meanwhile)).unwrap_err()
    }

    #[test]
    fn an_interrupt_that_comes_while_a_failure_is_told_ends_it_as_an_interrupt() {
        let failed = |end: Break, lines: &str| matches!(end, Break::Failed(text) if text == lines);
        let text = "2: expect server LISTEN\n  it is not so";
        assert!(failed(end(None), &format!("{text}\n    server  LISTEN")));
        assert!(failed(end(Some(Break::Failed("they cannot be had".into()))), text));
        assert!(matches!(end(Some(Break::Interrupted(Signal::SIGINT))), Break::Interrupted(Signal::SIGINT)));
    }
}
