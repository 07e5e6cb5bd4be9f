use super::*;
use crate::scene::Shown;

const QUEUE: &str = "\
title   A connection is established before anybody accepts it
program server  lab1-server --port {port}
program client  lab1-client 127.0.0.1 {port}

# The server is held before accept().
server  until listen returns
ask     In which state is the client's socket when connect() has returned?
predict client ESTABLISHED | SYN-SENT | CLOSED
wrong   SYN-SENT  The handshake does not wait for accept():
then    the kernel answers by itself.
client  until connect
reveal
expect  server queue 1
note    The handshake is the kernel's work.
server  until accept returns
expect  server queue 0
print   states
";

fn actions(text: &str) -> Vec<Action> {
    parse(text)
        .unwrap_or_else(|mistake| panic!("{}", mistake.shown("scene")))
        .steps
        .into_iter()
        .map(|step| step.action)
        .collect()
}

/// One line after a header with a server and a client.
fn one(line: &str) -> Result<Action, Mistake> {
    let text = format!("program server a\nprogram client b\n{line}\n");
    Ok(parse(&text)?.steps.remove(0).action)
}

fn mistake(line: &str) -> String {
    let mistake = one(line).expect_err(line);
    assert_eq!(mistake.line, 3);
    mistake.shown("s")
}

#[test]
fn a_scene_is_read_line_by_line() {
    let scene = parse(QUEUE).unwrap();
    assert_eq!(scene.title, "A connection is established before anybody accepts it");
    assert_eq!(scene.programs[1].command, "lab1-client 127.0.0.1 {port}");
    let lines: Vec<usize> = scene.steps.iter().map(|step| step.line).collect();
    assert_eq!(lines, [6, 8, 11, 12, 13, 14, 15, 16, 17]);
    let Action::Predict(prediction) = &scene.steps[1].action else { panic!() };
    assert_eq!(
        prediction.question.as_deref(),
        Some("In which state is the client's socket when connect() has returned?")
    );
    assert_eq!(prediction.menu.len(), 3);
    assert_eq!(
        prediction.misconceptions,
        [(
            Value::Word("SYN-SENT".into()),
            "The handshake does not wait for accept(): the kernel answers by itself.".into()
        )]
    );
    let Action::Expect(asked, value) = &scene.steps[4].action else { panic!() };
    assert_eq!((asked.to_string(), value), ("server queue".into(), &Value::Number(1)));
    assert_eq!(scene.steps[8].action, Action::Print(Shown::States));
}

#[test]
fn a_place_is_a_call_one_of_its_ends_its_descriptor_its_outcome_and_how_many_of_them() {
    let Ok(Action::Until(role, mark)) = one("server until 2nd read returns EAGAIN on fd 5") else { panic!() };
    assert_eq!(role, "server");
    assert_eq!((mark.left, mark.fd, mark.edge), (2, Some(5), Edge::Returns));
    assert_eq!(mark.outcome, Wanted::Error("EAGAIN".into()));
    assert!(mark.calls.contains(&"recvfrom".to_owned()), "{:?}", mark.calls);
    let Ok(Action::Until(role, mark)) = one("server/child-2 until write enters") else { panic!() };
    assert_eq!((role.as_str(), mark.edge, mark.left), ("server/child 2", Edge::Enters, 1));
    assert_eq!(one("client until ends"), Ok(Action::UntilEnd("client".into())));
}

#[test]
fn everything_that_can_be_asked_is_written_back_as_it_was_read() {
    for fact in [
        "client",
        "client's peer recv-q",
        "server queue",
        "server zombies",
        "client exit",
        "client in",
        "client's peer remote",
        "client connect returns",
        "server accept count",
        "client sent FIN",
        "client says \"connected to\"",
    ] {
        let value = match fact {
            "client" => "LISTEN",
            "client's peer remote" => "::ffff:127.0.0.1",
            _ => "7",
        };
        let Ok(Action::Wait(asked, _)) = one(&format!("wait {fact} {value}")) else { panic!("{fact}") };
        assert_eq!(asked.to_string(), fact);
    }
}

#[test]
fn what_is_typed_ends_with_a_newline_unless_it_says_otherwise() {
    assert_eq!(one("type client hello  you"), Ok(Action::Type("client".into(), b"hello  you\n".to_vec())));
    assert_eq!(one("type client a\\x00\\c"), Ok(Action::Type("client".into(), b"a\0".to_vec())));
}

#[test]
fn a_prediction_has_a_menu_with_meanings_or_wants_a_number() {
    let text =
        "program server a\npredict server accept returns 4 | EMFILE = there is no descriptor left | 10..\nreveal";
    let Action::Predict(prediction) = &actions(text)[0] else { panic!() };
    let shown: Vec<String> = prediction.menu.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["4", "there is no descriptor left", "10 or more"]);
    let text = "program server a\npredict server queue number\nreveal";
    let Action::Predict(prediction) = &actions(text)[0] else { panic!() };
    assert!(prediction.menu.is_empty());
}

#[test]
fn a_mistake_is_told_with_its_place_and_the_nearest_word() {
    for (line, place, what) in [
        ("server  untill listen", "s:3:9:", "do you mean \"until\"?"),
        ("servr until listen", "s:3:1:", "do you mean \"server\"?"),
        ("server until lissen", "s:3:14:", "do you mean \"listen\"?"),
        ("expect client ESTABLISHD", "s:3:15:", "do you mean \"ESTABLISHED\"?"),
        ("expect client queu 1", "s:3:15:", "do you mean \"queue\"?"),
        ("expect server queue many", "s:3:21:", "a number is expected here"),
        ("expect server queue", "s:3:20:", "the value that is expected is missing here"),
        ("expect client LISTEN now", "s:3:22:", "nothing is expected here"),
        ("signal server SIGTREM", "s:3:15:", "do you mean \"SIGTERM\"?"),
        ("print stats", "s:3:7:", "do you mean \"states\"?"),
        ("kill serverr", "s:3:6:", "do you mean \"server\"?"),
        ("expect client's pear LISTEN", "s:3:8:", "'s peer"),
        ("limit soon", "s:3:7:", "a number of seconds"),
        ("server/kid-1 freely", "s:3:1:", "child-1"),
        ("reveal", "s:3:1:", "nothing was predicted"),
        ("wrong LISTEN because", "s:3:21:", "there is none above"),
        ("predict client ESTABLISHED | SYN-SENT", "s:3:38:", "never revealed"),
        ("program server c", "s:3:9:", "already"),
    ] {
        let shown = mistake(line);
        assert!(shown.starts_with(place) && shown.contains(what), "{line}: {shown}");
    }
}

#[test]
fn a_scene_without_programs_says_how_one_is_written() {
    let mistake = parse("title nothing\n").unwrap_err();
    assert!(mistake.what.contains("program server"), "{mistake:?}");
}
