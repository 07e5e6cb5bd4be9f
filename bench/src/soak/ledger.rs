//! What every steady client has said and heard, and whether it fits together.

use std::collections::HashMap;

/// A moment: nanoseconds since the run began.
pub type Moment = u64;

/// One stay in the chat, from REGISTER to the end of the connection.
pub struct Stay {
    /// Its name, which nobody else ever has.
    pub name: String,
    /// Before REGISTER was sent: what had been answered by then cannot be for this stay.
    pub asks_in: Moment,
    /// When its OK had come: what is said from here on has to come.
    pub is_in: Moment,
    /// Before its leave was sent; for a stay that the server ended, when the end was seen.
    pub leaves: Moment,
    /// Whether the server ended it; if so, with which code, if it said so.
    pub ended_by_server: Option<Option<String>>,
    /// What it said, in order.
    pub said: Vec<Said>,
    /// The numbers of what it heard, by the name of who said it.
    pub heard: HashMap<String, Vec<u32>>,
    /// What was wrong in itself: a text that was changed, an answer that nobody expected.
    pub complaints: Vec<String>,
}

/// A message.
pub struct Said {
    /// Before it was sent.
    pub sent: Moment,
    /// When its OK had come.
    pub answered: Option<Moment>,
}

/// What is wrong between all of them: a line each.
pub fn problems(stays: &[Stay]) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    for listener in stays {
        problems.extend(listener.complaints.iter().map(|complaint| format!("{}: {complaint}", listener.name)));
        if listener.ended_by_server == Some(None) {
            problems.push(format!("{}: the server closed the connection and did not say why", listener.name));
        }
        for speaker in stays.iter().filter(|speaker| speaker.name != listener.name) {
            let heard = listener.heard.get(&speaker.name).map_or(&[][..], Vec::as_slice);
            problems.extend(between(listener, speaker, heard));
        }
        let is_known = |name: &&String| stays.iter().any(|stay| stay.name == **name && stay.name != listener.name);
        if let Some(stranger) = listener.heard.keys().find(|name| !is_known(name)) {
            problems.push(format!("{} heard {stranger}, who was never there", listener.name));
        }
    }
    problems
}

/// How many deliveries were held against what was said.
pub fn deliveries(stays: &[Stay]) -> usize {
    stays.iter().flat_map(|stay| stay.heard.values()).map(Vec::len).sum()
}

fn between(listener: &Stay, speaker: &Stay, heard: &[u32]) -> Option<String> {
    let what = |problem: String| Some(format!("{} ← {}: {problem}", listener.name, speaker.name));
    for pair in heard.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        match after {
            _ if after == before => return what(format!("message {after} was doubled")),
            _ if after < before => {
                return what(format!("message {after} came after {before}: doubled or out of order"));
            }
            _ if after > before + 1 => {
                return what(format!("after message {before} came {after}: lost or out of order"));
            }
            _ => {}
        }
    }
    // Without a gap, as we know by now.
    let heard = heard.first().zip(heard.last()).map_or(0..0, |(&first, &last)| first as usize..last as usize + 1);
    for (number, said) in speaker.said.iter().enumerate() {
        let was_over_before = said.answered.is_some_and(|answered| answered < listener.asks_in);
        if was_over_before && heard.contains(&number) {
            return what(format!(
                "message {number} was answered before this client asked to come in, and came all the same"
            ));
        }
        let is_due = said.sent > listener.is_in && said.answered.is_some_and(|answered| answered < listener.leaves);
        if is_due && !heard.contains(&number) {
            return what(format!("message {number} was lost"));
        }
    }
    (heard.end > speaker.said.len()).then(|| what(format!("message {} was never sent", heard.end - 1))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(name: &str, said: &[(Moment, Moment)], heard: &[(&str, &[u32])]) -> Stay {
        Stay {
            name: name.into(),
            asks_in: 10,
            is_in: 20,
            leaves: 100,
            ended_by_server: None,
            said: said.iter().map(|&(sent, answered)| Said { sent, answered: Some(answered) }).collect(),
            heard: heard.iter().map(|(name, numbers)| ((*name).into(), numbers.to_vec())).collect(),
            complaints: Vec::new(),
        }
    }

    /// Alice says five things: one before Bob asks to come in, one while he does, two while he is in, one as he leaves.
    fn found(bob_heard: &[u32]) -> Vec<String> {
        let alice = stay("alice", &[(1, 5), (6, 30), (40, 50), (60, 70), (90, 110)], &[]);
        problems(&[alice, stay("bob", &[], &[("alice", bob_heard)])])
    }

    #[test]
    fn what_is_said_while_somebody_comes_or_goes_may_be_heard_or_not() {
        for heard in [&[1, 2, 3, 4][..], &[2, 3], &[1, 2, 3], &[2, 3, 4]] {
            assert_eq!(found(heard), [""; 0], "{heard:?}");
        }
    }

    #[test]
    fn what_is_lost_at_the_beginning_within_and_at_the_end_is_found() {
        for heard in [&[3][..], &[1, 3, 4], &[1, 2], &[]] {
            assert!(found(heard)[0].contains("lost"), "{heard:?}");
        }
    }

    #[test]
    fn what_is_doubled_or_out_of_order_is_found() {
        assert!(found(&[1, 2, 2, 3])[0].contains("doubled"));
        assert!(found(&[1, 3, 2])[0].contains("out of order"));
        assert!(found(&[2, 1, 3])[0].contains("out of order"));
        assert!(found(&[1, 2, 3, 1])[0].contains("doubled"));
    }

    #[test]
    fn what_was_over_before_and_what_was_never_sent_is_found() {
        assert!(found(&[0, 1, 2, 3])[0].contains("before this client asked"));
        assert!(found(&[1, 2, 3, 4, 5])[0].contains("never sent"));
    }

    #[test]
    fn who_is_sent_away_has_to_be_told() {
        let mut bob = stay("bob", &[], &[]);
        bob.ended_by_server = Some(None);
        assert_eq!(problems(&[bob]).len(), 1);
        let mut bob = stay("bob", &[], &[]);
        bob.ended_by_server = Some(Some("SLOW_CONSUMER".into()));
        assert_eq!(problems(&[bob]).len(), 0);
    }
}
