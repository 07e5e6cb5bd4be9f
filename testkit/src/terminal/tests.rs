use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

fn terminal() -> Terminal {
    Terminal::new(&TerminalOptions::new("/tmp")).unwrap()
}

fn is_running(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn number_after(seen: &str, word: &str) -> i32 {
    seen.split(word).nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().parse().unwrap()
}

#[test]
fn a_command_sees_a_real_terminal_of_eighty_columns_without_echo() {
    let mut terminal = terminal();
    terminal.run("test -t 0 && test -t 1 && stty size && stty -a | tr ' ' '\\n' | grep echo$", LIMIT).unwrap();
    terminal.expect("24 80", LIMIT).unwrap();
    terminal.expect("-echo", LIMIT).unwrap();
    assert_eq!(terminal.await_end(LIMIT), Ok(0));
}

#[test]
fn typed_text_appears_only_when_a_program_shows_it() {
    let mut terminal = terminal();
    terminal.run("sed -u s/hello/answer/", LIMIT).unwrap();
    terminal.type_line("hello").unwrap();
    terminal.expect("answer", LIMIT).unwrap();
    terminal.key(Ctrl::D).unwrap();
    assert_eq!(terminal.await_end(LIMIT), Ok(0));
    assert_eq!(terminal.seen().trim(), "answer");
}

#[test]
fn control_c_interrupts_the_foreground_command_and_not_the_shell() {
    let mut terminal = terminal();
    terminal.run("echo started; sleep 1000", LIMIT).unwrap();
    terminal.expect("started", LIMIT).unwrap();
    terminal.key(Ctrl::C).unwrap();
    assert_eq!(terminal.await_end(LIMIT), Ok(130));
    terminal.run("echo alive", LIMIT).unwrap();
    terminal.expect("alive", LIMIT).unwrap();
}

#[test]
fn a_control_c_at_the_prompt_is_not_taken_for_the_end_of_the_next_command() {
    let mut terminal = terminal();
    for _ in 0..5 {
        terminal.key(Ctrl::C).unwrap();
        terminal.run("sleep 0.01; sh -c 'exit 3'", LIMIT).unwrap();
        assert_eq!(terminal.await_end(LIMIT), Ok(3));
    }
}

#[test]
fn the_status_of_the_command_before_can_be_asked_for() {
    let mut terminal = terminal();
    terminal.run("sh -c 'exit 7'", LIMIT).unwrap();
    terminal.run("echo status $?", LIMIT).unwrap();
    terminal.expect("status 7", LIMIT).unwrap();
}

#[test]
fn a_command_is_typed_only_when_the_one_before_has_ended() {
    let mut terminal = terminal();
    terminal.run("sleep 1000", LIMIT).unwrap();
    let error = terminal.run("echo too early", SHORT).unwrap_err();
    assert!(error.contains("the command had not ended within 0.2 s"), "{error}");
}

#[test]
fn text_of_an_earlier_command_does_not_satisfy_a_later_one() {
    let mut terminal = terminal();
    terminal.run("echo same; echo same", LIMIT).unwrap();
    terminal.expect("same", LIMIT).unwrap();
    terminal.run("true", LIMIT).unwrap();
    let error = terminal.expect("same", LIMIT).unwrap_err();
    assert!(error.contains("the command had ended, with status 0: same"), "{error}");
}

#[test]
fn missing_text_is_reported_with_all_that_was_seen() {
    let mut terminal = terminal();
    terminal.run("echo something else; sleep 1000", LIMIT).unwrap();
    terminal.expect("something", LIMIT).unwrap();
    let error = terminal.expect("what I wanted", SHORT).unwrap_err();
    assert!(error.contains("expected within 0.2 s: what I wanted\nseen:\n    something else\n"), "{error}");
}

#[test]
fn a_shell_that_exits_is_noticed() {
    let mut terminal = terminal();
    terminal.run("exit", LIMIT).unwrap();
    let error = terminal.run("echo nobody reads this", LIMIT).unwrap_err();
    assert!(error.contains("the shell itself has ended"), "{error}");
}

#[test]
fn nothing_remains_of_what_ignores_control_c_forks_or_leaves_the_session() {
    let mut terminal = terminal();
    terminal.run("trap '' INT HUP TERM; sh -c 'echo stubborn $$; sleep 1000' & sleep 0", LIMIT).unwrap();
    terminal.expect("stubborn", LIMIT).unwrap();
    terminal.run("(setsid sh -c 'echo daemon $$; sleep 1001' &); sleep 1002", LIMIT).unwrap();
    terminal.expect("daemon", LIMIT).unwrap();
    let seen = terminal.seen();
    let (shell, stubborn, daemon) =
        (terminal.session().as_raw(), number_after(&seen, "stubborn"), number_after(&seen, "daemon"));
    assert!(is_running(shell) && is_running(stubborn) && is_running(daemon));
    terminal.end().unwrap();
    assert!(!is_running(shell) && !is_running(stubborn) && !is_running(daemon));
}

#[test]
fn a_dropped_terminal_takes_its_processes_with_it() {
    let mut terminal = terminal();
    terminal.run("echo pid $$; sleep 1000", LIMIT).unwrap();
    terminal.expect("pid", LIMIT).unwrap();
    let shell = number_after(&terminal.seen(), "pid");
    drop(terminal);
    assert!(!is_running(shell));
}

#[test]
fn variables_of_the_surrounding_make_and_cargo_are_not_passed_on() {
    let options =
        TerminalOptions { environment: vec![("GREETING".into(), "good day".into())], ..TerminalOptions::new("/") };
    let mut terminal = Terminal::new(&options).unwrap();
    terminal.run("echo \"[$GREETING] [$CARGO_PKG_NAME] [$MAKELEVEL] [$NO_COLOR] [$TERM] [$PWD]\"", LIMIT).unwrap();
    terminal.expect("[good day] [] [] [1] [dumb] [/]", LIMIT).unwrap();
}
