//! How a line from the server is shown to a person.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use kit::printable;
use serde_json::Value;

use crate::incoming::{Incoming, Said};

/// Of a line that is none of the protocol's, so many bytes are shown.
const MOST_SHOWN: usize = 500;

/// Where and on which day it is shown: times are local, and the date is left out where it is today's.
pub struct Reader {
    zone: TimeZone,
    today: Date,
}

impl Reader {
    /// On this machine, now.
    pub fn here() -> Self {
        let now = Zoned::now();
        Self { zone: now.time_zone().clone(), today: now.date() }
    }

    /// The lines to show for `incoming`, which was `line` on the wire. Nothing in them can act on a terminal.
    pub fn lines(&self, incoming: &Incoming, line: &[u8]) -> Vec<String> {
        match incoming {
            Incoming::Broadcast(said) => vec![self.said(said)],
            Incoming::Joined { data } => vec![format!("* {} has joined", safe(data))],
            Incoming::Left { data } => vec![format!("* {} has left", safe(data))],
            Incoming::Ok { re, data } => self.answer(re.as_deref().unwrap_or_default(), data),
            Incoming::Error { code, message, .. } => vec![error(code, message)],
            Incoming::Unknown => {
                let start = printable(&line[..line.len().min(MOST_SHOWN)]);
                let rest = if line.len() > MOST_SHOWN { " …" } else { "" };
                vec![format!("! not a line of the chat's protocol: {start}{rest}")]
            }
        }
    }

    fn answer(&self, re: &str, data: &Value) -> Vec<String> {
        match (re, data) {
            ("MESSAGE", Value::Number(count)) if count.as_u64() == Some(0) => vec!["- nobody else is here".into()],
            ("MESSAGE", Value::Number(count)) if count.as_u64() == Some(1) => vec!["- went to 1 other".into()],
            ("MESSAGE", Value::Number(count)) => vec![format!("- went to {count} others")],
            ("LIST_USERS", Value::Array(names)) if names.is_empty() => vec!["- nobody is here".into()],
            ("LIST_USERS", Value::Array(names)) => {
                let count = names.len();
                let names: Vec<_> = names.iter().map(text).collect();
                vec![format!("- {count} here: {}", names.join(", "))]
            }
            ("LIST_MESSAGES", Value::Array(messages)) if messages.is_empty() => {
                vec!["- nothing has been said yet".into()]
            }
            ("LIST_MESSAGES", Value::Array(messages)) => {
                messages.iter().map(|message| self.of_history(message)).collect()
            }
            ("TIME", Value::String(time)) => match time.parse::<Timestamp>() {
                Ok(_) => vec![format!("- the server's time is {}, {} here", safe(time), self.time(time))],
                Err(_) => vec![format!("- the server's time is {}", safe(time))],
            },
            _ => vec![format!("- {}", text(data))],
        }
    }

    fn of_history(&self, message: &Value) -> String {
        match serde_json::from_value(message.clone()) {
            Ok(said) => self.said(&said),
            Err(_) => format!("! not a message: {}", text(message)),
        }
    }

    fn said(&self, said: &Said) -> String {
        format!("[{}] {}: {}", self.time(&said.time), safe(&said.from), safe(&said.data))
    }

    /// RFC 3339 as the time of day here, with the date where that is another.
    fn time(&self, time: &str) -> String {
        let Ok(moment) = time.parse::<Timestamp>() else { return "no time".into() };
        let here = moment.to_zoned(self.zone.clone());
        let form = if here.date() == self.today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        here.strftime(form).to_string()
    }
}

fn error(code: &str, message: &str) -> String {
    let advice = match code {
        "NOT_REGISTERED" => " (/name Alice)",
        "SLOW_CONSUMER" => " (this client did not read fast enough what the others wrote)",
        "SERVER_FULL" => " (try again when somebody has left)",
        _ => "",
    };
    format!("! {}: {}{advice}", safe(code), safe(message))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => safe(text),
        other => safe(&other.to_string()),
    }
}

fn safe(text: &str) -> String {
    printable(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Vec<String> {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let reader = Reader { zone, today: "2026-03-04".parse().unwrap() };
        reader.lines(&Incoming::read(line.as_bytes()), line.as_bytes())
    }

    #[test]
    fn a_message_is_shown_with_the_time_of_day_here() {
        let line = r#"{"type":"BROADCAST","from":"Alice","data":"Hello everyone!","time":"2026-03-04T08:30:15.123Z"}"#;
        assert_eq!(shown(line), ["[10:30:15] Alice: Hello everyone!"]);
    }

    #[test]
    fn a_message_of_another_day_is_shown_with_its_date() {
        // The day before in UTC is today here, and the other way round.
        let line = |time: &str| format!(r#"{{"type":"BROADCAST","from":"A","data":"x","time":"{time}"}}"#);
        assert_eq!(shown(&line("2026-03-03T22:00:00Z")), ["[00:00:00] A: x"]);
        assert_eq!(shown(&line("2026-03-04T22:00:00Z")), ["[2026-03-05 00:00:00] A: x"]);
        assert_eq!(shown(&line("half past nine")), ["[no time] A: x"]);
    }

    #[test]
    fn answers_are_shown_in_words() {
        for (line, expected) in [
            (r#"{"type":"OK","re":"REGISTER","data":"Welcome, Alice."}"#, "- Welcome, Alice."),
            (r#"{"type":"OK","re":"MESSAGE","data":0}"#, "- nobody else is here"),
            (r#"{"type":"OK","re":"MESSAGE","data":1}"#, "- went to 1 other"),
            (r#"{"type":"OK","re":"MESSAGE","data":12}"#, "- went to 12 others"),
            (r#"{"type":"OK","re":"LIST_USERS","data":["Alice","Bob"]}"#, "- 2 here: Alice, Bob"),
            (r#"{"type":"OK","re":"LIST_USERS","data":[]}"#, "- nobody is here"),
            (r#"{"type":"OK","re":"LIST_MESSAGES","data":[]}"#, "- nothing has been said yet"),
            (r#"{"type":"OK","re":"ECHO","data":{"a":[1,"\n"]}}"#, r#"- {"a":[1,"\n"]}"#),
            (
                r#"{"type":"OK","re":"TIME","data":"2026-03-04T08:30:15Z"}"#,
                "- the server's time is 2026-03-04T08:30:15Z, 10:30:15 here",
            ),
            (r#"{"type":"JOINED","data":"Bob"}"#, "* Bob has joined"),
            (r#"{"type":"LEFT","data":"Bob"}"#, "* Bob has left"),
            (
                r#"{"type":"ERROR","re":"MESSAGE","code":"NOT_REGISTERED","message":"register first"}"#,
                "! NOT_REGISTERED: register first (/name Alice)",
            ),
        ] {
            assert_eq!(shown(line), [expected], "{line}");
        }
    }

    #[test]
    fn the_history_is_shown_line_by_line() {
        let line = r#"{"type":"OK","re":"LIST_MESSAGES","data":[
            {"from":"A","data":"one","time":"2026-03-04T08:00:00Z"},{"from":"B","data":"two","time":"2026-03-04T08:00:01Z"},5]}"#;
        assert_eq!(shown(line), ["[10:00:00] A: one", "[10:00:01] B: two", "! not a message: 5"]);
    }

    #[test]
    fn nothing_that_others_send_can_act_on_a_terminal() {
        let hostile = r"\u001b[2J\u0000\u202e\u009b\r\n\u0007\u200b";
        for line in [
            format!(r#"{{"type":"BROADCAST","from":"{hostile}","data":"{hostile}","time":"{hostile}"}}"#),
            format!(r#"{{"type":"JOINED","data":"{hostile}"}}"#),
            format!(r#"{{"type":"ERROR","re":"{hostile}","code":"{hostile}","message":"{hostile}"}}"#),
            format!(r#"{{"type":"OK","re":"LIST_USERS","data":["{hostile}"]}}"#),
            format!(r#"{{"type":"OK","re":"LIST_MESSAGES","data":["{hostile}"]}}"#),
            format!(r#"{{"type":"OK","re":"TIME","data":"{hostile}"}}"#),
            format!(r#"{{"type":"OK","re":"ECHO","data":{{"{hostile}":"{hostile}"}}}}"#),
            "\u{1b}]0;title\u{7}\u{202e}".into(),
        ] {
            for shown in shown(&line) {
                assert!(!shown.contains(|c: char| c.is_control() || "\u{202e}\u{200b}".contains(c)), "{shown:?}");
            }
        }
    }

    #[test]
    fn of_a_long_line_that_is_no_line_of_the_protocol_the_beginning_is_shown() {
        let shown = shown(&"x".repeat(100_000));
        assert!(shown[0].len() < 600 && shown[0].ends_with('…'));
    }
}
