//! Scripts: what they type, what they wait for, and how the client ends.

use testkit::process::{Directory, Process};

use crate::peer::Peer;

fn stdout(client: &Process) -> String {
    String::from_utf8_lossy(&client.stdout()).into_owned()
}

#[test]
fn a_script_is_played_line_by_line_and_can_be_followed() {
    let (peer, directory) = (Peer::new(), Directory::new());
    let script = "# Alice's part\nREGISTER Alice\n\n@pause 10ms\n@wait Bob has joined\nHello, Bob!\n//slash\n";
    let (mut client, mut connection) = peer.play(&directory, script, &[]);
    connection.expect(r#"{"type":"REGISTER","data":"Alice"}"#).ok("REGISTER", r#""Welcome, Alice.""#);
    // A message here would come before the wait is over.
    connection.send(r#"{"type":"JOINED","data":"Carol"}"#).send(r#"{"type":"JOINED","data":"Bob"}"#);
    connection.expect_message("Hello, Bob!").ok("MESSAGE", "2");
    connection.expect_message("/slash").ok("MESSAGE", "2");
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    let expected = "> REGISTER Alice\n- Welcome, Alice.\n* Carol has joined\n* Bob has joined\n> Hello, Bob!\n\
                    - went to 2 others\n> //slash\n- went to 2 others\n- Goodbye.\n";
    assert_eq!(stdout(&client), expected);
}

#[test]
fn a_name_of_the_command_line_comes_before_the_first_line() {
    let (peer, directory) = (Peer::new(), Directory::new());
    let (mut client, mut connection) = peer.play(&directory, "hi\n/quit\nnot this\n", &["--name", "Alice"]);
    connection.expect(r#"{"type":"REGISTER","data":"Alice"}"#).ok("REGISTER", r#""Welcome.""#);
    connection.expect_message("hi").ok("MESSAGE", "0");
    connection.let_go();
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    assert_eq!(stdout(&client), "- Welcome.\n> hi\n- nobody else is here\n> /quit\n- Goodbye.\n");
}

#[test]
fn what_is_waited_for_may_have_come_already_and_counts_once() {
    let (peer, directory) = (Peer::new(), Directory::new());
    let script = "one\n@wait Bob\n@limit 200ms\n@wait Bob\ntwo\n";
    let (mut client, mut connection) = peer.play(&directory, script, &[]);
    connection.send(r#"{"type":"JOINED","data":"Bob"}"#).expect_message("one").ok("MESSAGE", "1");
    assert_eq!(client.finish().code(), Some(1), "{}", client.output());
    let stderr = client.stderr();
    assert!(
        stderr.starts_with("Error: script /") && stderr.contains("demo.chat:4: waited in vain: it did not"),
        "{stderr}"
    );
}

#[test]
fn a_script_whose_server_is_lost_fails() {
    let (peer, directory) = (Peer::new(), Directory::new());
    for script in ["one\n@wait Bob\n", "one\n@pause 20s\ntwo\n"] {
        let (mut client, mut connection) = peer.play(&directory, script, &[]);
        connection.expect_message("one").ok("MESSAGE", "1");
        drop(connection);
        assert_eq!(client.finish().code(), Some(1), "{}", client.output());
        assert!(client.stderr().starts_with("Error: "), "{}", client.stderr());
    }
}

#[test]
fn a_mistake_in_a_script_is_found_before_its_first_line_is_typed() {
    let directory = Directory::new();
    for (script, mistake) in [
        ("hello\n/usres\n", ":2: there is no /usres; did you mean /users?"),
        ("@puase 1s\n", ":1: there is no @puase; did you mean @pause?"),
        ("hello\n\n@pause 1 hour\n", ":3: \\\"1 hour\\\" is no length of time"),
    ] {
        let file = directory.path().join("demo.chat");
        std::fs::write(&file, script).unwrap();
        // To port 1, where nobody listens: it must not come to that.
        let mut command = std::process::Command::new(testkit::process::binary("lab7-client"));
        let ended = testkit::process::run(command.args(["127.0.0.1", "1", "--script", file.to_str().unwrap()]));
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.stderr.contains(mistake) || ended.stderr.contains(&mistake.replace('\\', "")),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("demo.chat") && !ended.stderr.contains("connect"), "{}", ended.stderr);
    }
}

#[test]
fn a_script_that_is_not_there_is_named_with_its_errno() {
    let mut command = std::process::Command::new(testkit::process::binary("lab7-client"));
    let ended = testkit::process::run(command.args(["--script", "/no/such/file"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("Error: read /no/such/file: ENOENT"), "{}", ended.stderr);
}
