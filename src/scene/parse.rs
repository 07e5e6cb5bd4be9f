//! A scene from its text.

use std::time::Duration;

use super::fact::{Alternative, Asked, Quantity, Sent, Value};
use super::line::{Line, Word};
use super::mistake::{Mistake, nearest};
use super::words::{self, MOVES, SHOWN, VERBS};
use super::{Action, Prediction, Program, Scene, Step};
use crate::lens::calls::{Edge, Mark, Wanted};

/// Reads a scene. The first mistake ends it.
pub fn parse(text: &str) -> Result<Scene, Mistake> {
    let mut reader = Reader::default();
    let mut last = Line::new(1, "");
    for (index, text) in text.lines().enumerate() {
        let mut line = Line::new(index + 1, text);
        reader.read(&mut line)?;
        last = line;
    }
    reader.finish(&last)
}

#[derive(Default)]
struct Reader {
    title: Option<String>,
    programs: Vec<Program>,
    steps: Vec<Step>,
    /// A question that waits for its `predict`.
    question: Option<String>,
    /// The lines of predictions that were not revealed yet.
    open: Vec<usize>,
}

impl Reader {
    fn read(&mut self, line: &mut Line) -> Result<(), Mistake> {
        let Some(first) = line.next() else { return Ok(()) };
        match first.text {
            "title" => self.title = Some(line.rest().into()),
            "program" => self.program(line)?,
            "ask" => self.question = Some(line.rest().into()),
            "wrong" => self.wrong(line)?,
            // Goes on with what the line before says.
            "then" => self.go_on(line, first)?,
            comment if comment.starts_with('#') => {}
            _ => {
                let action = self.action(line, first)?;
                let text = line.text.trim().into();
                self.steps.push(Step { line: line.number, text, action });
            }
        }
        Ok(())
    }

    fn finish(self, last: &Line) -> Result<Scene, Mistake> {
        if self.programs.is_empty() {
            return Err(last.at_end("this scene has no program: program server lab1-server --port {port}"));
        }
        if let Some(step) = self.steps.iter().find(|step| self.open.contains(&step.line)) {
            let line = Line::new(step.line, &step.text);
            return Err(line.at_end("this prediction is never revealed: a line `reveal` is missing below"));
        }
        Ok(Scene { title: self.title.unwrap_or_default(), programs: self.programs, steps: self.steps })
    }

    fn program(&mut self, line: &mut Line) -> Result<(), Mistake> {
        let name = line.word("the program's role")?;
        if VERBS.contains(&name.text) || !is_role(name.text) {
            return Err(line.wrong(
                name,
                format!("{:?} cannot be a role: it takes small letters, digits and -, and no verb", name.text),
            ));
        }
        if self.programs.iter().any(|program| program.role == name.text) {
            return Err(line.wrong(name, format!("there is a program {:?} already", name.text)));
        }
        let command = line.rest();
        match shlex::split(command) {
            Some(words) if !words.is_empty() => {}
            Some(_) => return Err(line.at_end("the program's command line is missing here")),
            None => return Err(line.at_end("a quote is not closed in this command line")),
        }
        self.programs.push(Program { role: name.text.into(), command: command.into() });
        Ok(())
    }

    /// `wrong VALUE text`: for whoever chose that value in the prediction above.
    fn wrong(&mut self, line: &mut Line) -> Result<(), Mistake> {
        let word = line.word("the wrong answer")?;
        let value = Value::read(word.text);
        let prediction = self.steps.iter_mut().rev().find_map(|step| match &mut step.action {
            Action::Predict(prediction) => Some(prediction),
            _ => None,
        });
        let Some(prediction) = prediction else {
            return Err(line.at_end("this belongs to a prediction, and there is none above"));
        };
        let is_on_menu = prediction.menu.iter().any(|alternative| alternative.value == value);
        if !prediction.menu.is_empty() && !is_on_menu {
            let menu: Vec<String> = prediction.menu.iter().map(|it| written(&it.value)).collect();
            return Err(line.unknown(word, "answer of the prediction above", menu.iter().map(String::as_str)));
        }
        let text = line.rest();
        if text.is_empty() {
            return Err(line.at_end("the explanation is missing here"));
        }
        prediction.misconceptions.push((value, text.into()));
        Ok(())
    }

    fn go_on(&mut self, line: &mut Line, first: Word) -> Result<(), Mistake> {
        let more = line.rest();
        let text = match self.steps.last_mut().map(|step| &mut step.action) {
            Some(Action::Note(text)) => Some(text),
            Some(Action::Predict(prediction)) => match prediction.misconceptions.last_mut() {
                Some((_, text)) => Some(text),
                None => prediction.question.as_mut(),
            },
            _ => None,
        };
        let text = text.ok_or_else(|| line.wrong(first, "`then` goes on with a note or a `wrong` above it".into()))?;
        text.push(' ');
        text.push_str(more);
        Ok(())
    }

    fn action(&mut self, line: &mut Line, first: Word) -> Result<Action, Mistake> {
        let action = match first.text {
            "note" => return Ok(Action::Note(line.rest().into())),
            "type" => return self.typed(line),
            "limit" => Action::Limit(seconds(line)?),
            "print" => {
                let word = line.word("what to print")?;
                let found = SHOWN.iter().find(|(name, _)| *name == word.text).map(|(_, shown)| *shown);
                Action::Print(
                    found.ok_or_else(|| line.unknown(word, "thing to print", SHOWN.iter().map(|(name, _)| *name)))?,
                )
            }
            "close" => {
                if !line.take("stdin") {
                    return Err(line.at_end("write: close stdin ROLE"));
                }
                Action::CloseInput(self.role(line)?)
            }
            "kill" => Action::Signal(self.role(line)?, nix::libc::SIGKILL),
            "signal" => {
                let role = self.role(line)?;
                let word = line.word("the signal's name")?;
                let signal = words::signal(word.text);
                Action::Signal(role, signal.ok_or_else(|| line.unknown(word, "signal", words::names_of_signals()))?)
            }
            "expect" | "wait" => {
                let (asked, value) = self.fact(line)?;
                if first.text == "wait" { Action::Wait(asked, value) } else { Action::Expect(asked, value) }
            }
            "predict" => return self.prediction(line),
            "reveal" => {
                if self.open.is_empty() {
                    return Err(line.wrong(first, "nothing was predicted since the last `reveal`".into()));
                }
                self.open.clear();
                Action::Reveal
            }
            _ => self.movement(line, first)?,
        };
        line.end()?;
        Ok(action)
    }

    /// `server until accept returns`, `server freely`.
    fn movement(&self, line: &mut Line, first: Word) -> Result<Action, Mistake> {
        let role = self.role_of(line, first).map_err(|mistake| {
            let known = VERBS.iter().copied().chain(self.programs.iter().map(|program| program.role.as_str()));
            let is_like_a_role = first.text.contains('/');
            let suggestion = nearest(first.text, known);
            match is_like_a_role {
                true => mistake,
                false => {
                    line.wrong(first, format!("{:?} is no verb and no program of this scene{suggestion}", first.text))
                }
            }
        })?;
        let verb = line.word("what it does: until CALL, or freely")?;
        match verb.text {
            "freely" => Ok(Action::Freely(role)),
            "until" => self.until(role, line),
            _ => Err(line.unknown(verb, "thing that a program can do", MOVES)),
        }
    }

    /// `[2nd] CALL [enters|returns [VALUE]|fails ERRNO] [on fd N]`, or `ends`.
    fn until(&self, role: String, line: &mut Line) -> Result<Action, Mistake> {
        let mut word = line.word("the call until which it runs")?;
        if word.text == "ends" {
            return Ok(Action::UntilEnd(role));
        }
        let mut left = 1;
        if let Some(number) = ordinal(word.text) {
            left = number;
            word = line.word("the call until which it runs")?;
        }
        let (_, calls) = words::calls(word.text)
            .ok_or_else(|| line.unknown(word, "call that is followed", words::names_of_calls()))?;
        let (mut edge, mut outcome, mut fd) = (Edge::Returns, Wanted::Any, None);
        while let Some(word) = line.next() {
            match word.text {
                "enters" => edge = Edge::Enters,
                "returns" => {
                    edge = Edge::Returns;
                    let value = line.peek().filter(|next| next.text != "on").map(|next| next.text);
                    if let Some(value) = value {
                        line.next();
                        outcome = match Value::read(value) {
                            Value::Number(number) => Wanted::Value(number),
                            _ => Wanted::Error(value.into()),
                        };
                    }
                }
                "fails" => {
                    (edge, outcome) = (Edge::Returns, Wanted::Error(line.word("the name of the error")?.text.into()));
                }
                "on" => {
                    line.take("fd");
                    let number = line.word("the number of the descriptor")?;
                    let wrong = || line.wrong(number, format!("{:?} is no descriptor's number", number.text));
                    fd = Some(number.text.parse().map_err(|_| wrong())?);
                }
                _ => {
                    return Err(line.unknown(
                        word,
                        "word that may stand here",
                        ["enters", "returns", "fails", "on fd"],
                    ));
                }
            }
        }
        Ok(Action::Until(role, Mark { calls, edge, fd, outcome, left }))
    }

    /// The rest of the line as it stands, and a newline; `\n`, `\t`, `\xHH` and the like stand for what they are.
    fn typed(&self, line: &mut Line) -> Result<Action, Mistake> {
        let role = self.role(line)?;
        let text = line.rest();
        let mut bytes = super::words::unescaped(text).map_err(|what| line.at_end(&what))?;
        match bytes.strip_suffix(b"\\c") {
            // As printf has it: no newline at the end.
            Some(rest) => bytes = rest.to_vec(),
            None => bytes.push(b'\n'),
        }
        Ok(Action::Type(role, bytes))
    }

    fn prediction(&mut self, line: &mut Line) -> Result<Action, Mistake> {
        let asked = self.asked(line)?;
        let rest = line.clone();
        let mut menu = Vec::new();
        for part in line.rest().split('|').map(str::trim) {
            if part == "number" && menu.is_empty() {
                break;
            }
            let (value, label) = match part.split_once('=') {
                Some((value, label)) => (value.trim(), Some(label.trim().to_owned())),
                None => (part, None),
            };
            let word = rest.clone().next();
            if value.is_empty() || value.contains(char::is_whitespace) {
                let what = "answers are written VALUE | VALUE | VALUE, each perhaps with = and what it means";
                return Err(word.map_or_else(|| rest.at_end(what), |word| rest.wrong(word, what.into())));
            }
            let read = Value::read(value);
            self.check(&rest, rest.peek(), &asked.quantity, &read)?;
            menu.push(Alternative { value: read, label });
        }
        self.open.push(line.number);
        Ok(Action::Predict(Prediction { question: self.question.take(), asked, menu, misconceptions: Vec::new() }))
    }

    /// `client ESTABLISHED`, `server queue 1`, `client connect returns ECONNREFUSED`.
    fn fact(&self, line: &mut Line) -> Result<(Asked, Value), Mistake> {
        let asked = self.asked(line)?;
        // What is counted is there at all, unless a number is given.
        if matches!(asked.quantity, Quantity::Sent(_) | Quantity::Lines(_)) && line.peek().is_none() {
            return Ok((asked, Value::Range(1, None)));
        }
        let word = line.word("the value that is expected")?;
        let value = Value::read(word.text);
        self.check(line, Some(word), &asked.quantity, &value)?;
        Ok((asked, value))
    }

    /// Whether a quantity can have this value at all.
    fn check(&self, line: &Line, word: Option<Word>, quantity: &Quantity, value: &Value) -> Result<(), Mistake> {
        let wrong = |what: String| match word {
            Some(word) => line.wrong(word, what),
            None => line.at_end(&what),
        };
        match value {
            Value::Word(name) if *quantity == Quantity::State && words::state(name).is_none() => {
                let suggestion = nearest(name, words::names_of_states());
                Err(wrong(format!("{name:?} is no state of a TCP socket{suggestion}")))
            }
            value if *quantity == Quantity::State && value.is_number() => {
                Err(wrong(format!("{value} is no state of a TCP socket")))
            }
            Value::Word(name) if quantity.is_number() => {
                Err(wrong(format!("a number is expected here, and {name:?} is none")))
            }
            _ => Ok(()),
        }
    }

    fn asked(&self, line: &mut Line) -> Result<Asked, Mistake> {
        let word = line.word("whose")?;
        let (name, peer) = match word.text.strip_suffix("'s") {
            Some(name) if line.take("peer") => (name, true),
            Some(_) => {
                return Err(line.wrong(word, "only `'s peer` may stand here: the other end of its connection".into()));
            }
            None => (word.text, false),
        };
        let role = self.known(line, word, name)?;
        let quantity = self.quantity(line)?;
        Ok(Asked { role, peer, quantity })
    }

    fn quantity(&self, line: &mut Line) -> Result<Quantity, Mistake> {
        let Some(word) = line.peek() else { return Err(line.at_end("what is asked is missing here")) };
        if words::state(word.text).is_some() || word.text.starts_with(|first: char| first.is_ascii_uppercase()) {
            return Ok(Quantity::State);
        }
        line.next();
        if let Some((_, quantity)) = Quantity::NUMBERS.iter().find(|(name, _)| *name == word.text) {
            return Ok(quantity.clone());
        }
        match word.text {
            "exit" => return Ok(Quantity::End),
            "in" => return Ok(Quantity::Inside),
            "remote" => return Ok(Quantity::Remote),
            "says" => return Ok(Quantity::Lines(quoted(line)?)),
            "sent" => {
                let word = line.word("what was sent")?;
                let found = Sent::ALL.iter().find(|(name, _)| *name == word.text).map(|(_, sent)| *sent);
                let names = Sent::ALL.iter().map(|(name, _)| *name);
                return found.map(Quantity::Sent).ok_or_else(|| line.unknown(word, "thing that is sent", names));
            }
            _ => {}
        }
        let others = ["exit", "in", "remote", "says", "sent", "accept", "connect", "read", "write"];
        let known = Quantity::NUMBERS.iter().map(|(name, _)| *name).chain(others);
        let (call, _) = words::calls(word.text)
            .ok_or_else(|| line.unknown(word, "thing to be asked about", known.chain(words::names_of_states())))?;
        match line.word("returns, or count")? {
            Word { text: "returns", .. } => Ok(Quantity::Outcome(call)),
            Word { text: "count", .. } => Ok(Quantity::Count(call)),
            word => Err(line.unknown(word, "word that may stand here", ["returns", "count"])),
        }
    }

    fn role(&self, line: &mut Line) -> Result<String, Mistake> {
        let word = line.word("the role")?;
        self.role_of(line, word)
    }

    fn role_of(&self, line: &Line, word: Word) -> Result<String, Mistake> {
        self.known(line, word, word.text)
    }

    /// A role of this scene, or somebody whom a program has made: `server/child-1`, `server/thread-2`.
    fn known(&self, line: &Line, word: Word, name: &str) -> Result<String, Mistake> {
        let mut parts = name.split('/');
        let program = parts.next().unwrap_or_default();
        let names: Vec<&str> = names_of_roles(&self.programs).collect();
        if !names.contains(&program) {
            return Err(line.unknown(word, "program of this scene", names));
        }
        let mut role = program.to_owned();
        for part in parts {
            let known = part.split_once('-').filter(|(kind, number)| {
                matches!(*kind, "child" | "thread") && number.parse::<u32>().is_ok_and(|number| number > 0)
            });
            let Some((kind, number)) = known else {
                return Err(
                    line.wrong(word, format!("{part:?} is nobody whom a program makes: write child-1 or thread-1"))
                );
            };
            role.push_str(&format!("/{kind} {number}"));
        }
        Ok(role)
    }
}

/// The roles of these programs.
pub fn names_of_roles(programs: &[Program]) -> impl Iterator<Item = &str> + Clone {
    programs.iter().map(|program| program.role.as_str())
}

fn is_role(word: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    word.bytes().all(is_fine) && word.starts_with(|first: char| first.is_ascii_lowercase())
}

/// `2nd`, `3rd`, `10th`.
fn ordinal(word: &str) -> Option<u32> {
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end))?;
    digits.parse().ok().filter(|&number| number > 0)
}

fn seconds(line: &mut Line) -> Result<Duration, Mistake> {
    let word = line.word("the number of seconds")?;
    let seconds = word.text.parse::<u64>().ok().filter(|seconds| (1..=600).contains(seconds));
    line.take("s");
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| line.wrong(word, "a number of seconds from 1 to 600 is expected here".into()))
}

/// A text in quotes, or one word.
fn quoted(line: &mut Line) -> Result<String, Mistake> {
    let first = line.word("the text")?;
    let Some(begun) = first.text.strip_prefix('"') else { return Ok(first.text.into()) };
    if let Some(word) = begun.strip_suffix('"') {
        return Ok(word.into());
    }
    let mut text = begun.to_owned();
    while let Some(word) = line.next() {
        text.push(' ');
        match word.text.strip_suffix('"') {
            Some(last) => {
                text.push_str(last);
                return Ok(text);
            }
            None => text.push_str(word.text),
        }
    }
    Err(line.at_end("a quote is not closed"))
}

/// A value as it is written in a scene.
fn written(value: &Value) -> String {
    match value {
        Value::Range(from, to) => format!("{from}..{}", to.map_or(String::new(), |to| to.to_string())),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
