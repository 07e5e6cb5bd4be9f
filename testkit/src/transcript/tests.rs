use super::*;
use crate::terminal::TerminalOptions;
use std::time::Duration;

fn steps(transcript: &str) -> Result<Vec<Sequence>, String> {
    parse("a.md", &format!("# Title\n\n```console\n{transcript}\n```\n"))
}

fn played(transcript: &str) -> Result<(), String> {
    let sequences = steps(transcript).unwrap();
    let stage = Stage { patience: Duration::from_secs(5), ..Stage::new(TerminalOptions::new("/tmp")) };
    play(&sequences[0], &stage)
}

#[test]
fn each_kind_of_line_is_a_step_with_its_line_number() {
    let sequences = steps("1$ make lab1\n1| listening on …\n2$ cat\n2>  two blanks\n\n2^D\n1^C").unwrap();
    let actions: Vec<_> = sequences[0].steps.iter().map(|step| (step.line, step.terminal, &step.action)).collect();
    let (command, cat) = (Action::Command("make lab1".into()), Action::Command("cat".into()));
    let (expect, typed) = (Action::Expect("listening on …".into()), Action::Type(" two blanks".into()));
    let (end, interrupt) = (Action::Press(Ctrl::D), Action::Press(Ctrl::C));
    let wanted = [(4, 1, &command), (5, 1, &expect), (6, 2, &cat), (7, 2, &typed), (9, 2, &end), (10, 1, &interrupt)];
    assert_eq!(actions, wanted);
}

#[test]
fn a_continued_block_belongs_to_the_sequence_before_and_a_plain_one_begins_a_new_one() {
    let text = "```console\n1$ a\n```\ntext\n```console continued\n1| b\n```\n  ~~~ console\n  2$ c\n  ~~~\n";
    let sequences = parse("a.md", text).unwrap();
    let shape: Vec<_> = sequences.iter().map(|sequence| (sequence.line, sequence.steps.len())).collect();
    assert_eq!(shape, [(1, 2), (8, 1)]);
}

#[test]
fn mistakes_are_reported_with_file_and_line() {
    let wrong = |text: &str| parse("a.md", text).unwrap_err();
    assert!(wrong("```console\n$ ls\n```").starts_with("a.md:2: not a step of a transcript"));
    assert!(wrong("```console\n1^X\n```").starts_with("a.md:2: not a step of a transcript"));
    assert!(wrong("```console\n0$ ls\n```").starts_with("a.md:2: not a step of a transcript"));
    assert!(wrong("```console\n1$ ls\n1|x\n```").starts_with("a.md:3: not a step of a transcript"));
    assert_eq!(wrong("```console\n1| x\n```"), "a.md:2: nothing has been started in terminal 1");
    assert_eq!(wrong("\n```console\n1$ x\n"), "a.md:2: this block is never closed");
    assert!(wrong("```console continued\n1$ x\n```").starts_with("a.md:1: there is no block before"));
    assert_eq!(wrong("> ```console\n> 1$ x\n> ```"), "a.md:1: a fenced block in a quotation");
    assert_eq!(wrong("```console\n\n```"), "a.md:1: an empty transcript");
}

#[test]
fn a_longer_fence_holds_a_shorter_one() {
    let found = blocks("a.md", "````text\n```console\n1$ x\n```\n````\n").unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].info.as_str(), found[0].lines.len()), ("text", 3));
}

#[test]
fn code_spans_are_found_across_lines_and_not_in_blocks() {
    let text = "Type `make\nlab1` or ``a`b``, \\`not this\\`.\n\n```text\n`nor this`\n```\n| `make lab2` | `x` |\n";
    let spans = code_spans("a.md", text).unwrap();
    let wanted = [(1, "make lab1"), (2, "a`b"), (7, "make lab2"), (7, "x")];
    assert_eq!(spans, wanted.map(|(line, span)| (line, span.to_string())));
}

#[test]
fn the_programs_of_a_command_are_found_behind_pipes_quotes_and_substitutions() {
    assert_eq!(first_words("ss -tan 'sport = :7001' | grep -c LISTEN"), ["ss", "grep"]);
    assert_eq!(first_words("sudo strace -p $(pgrep lab2-server) 2>&1"), ["strace", "pgrep"]);
    assert_eq!(first_words("A=1 make x && echo 'a | nc'; (tcpdump -i lo &)"), ["make", "echo", "tcpdump"]);
    assert_eq!(first_words("timeout 5 nc 127.0.0.1 7001 >/dev/null"), ["nc"]);
}

#[test]
fn a_tool_that_is_missing_is_named_with_its_line() {
    let sequences = steps("1$ echo a | tshark -r x").unwrap();
    if let Err(missing) = requirements(&sequences[0]) {
        assert_eq!(missing, "a.md:4: tshark is not installed");
    }
    assert_eq!(requirements(&steps("1$ echo a | cat").unwrap()[0]), Ok(()));
}

#[test]
fn a_transcript_that_is_true_plays() {
    let transcript = "1$ sed -u s/a/b/\n1> a  a\n1| b a\n2$ echo one; echo two\n2| one\n2| t…o\n1^D\n2$ true";
    assert_eq!(played(transcript), Ok(()));
}

#[test]
fn a_wrong_expectation_is_reported_with_its_line_and_what_all_terminals_showed() {
    let error = played("1$ echo ready; cat\n1| ready\n2$ echo hello\n2| goodbye").unwrap_err();
    assert!(
        error.starts_with("a.md:7: terminal 2: expected but the command had ended, with status 0: goodbye"),
        "{error}"
    );
    assert!(error.contains("seen:\n    hello\n"), "{error}");
    assert!(error.contains("terminal 1, `echo ready; cat` (still running):\n    ready\n"), "{error}");
}

#[test]
fn lines_must_appear_in_the_order_that_is_shown() {
    let error = played("1$ echo one; echo two\n1| two\n1| one").unwrap_err();
    assert!(error.starts_with("a.md:6: "), "{error}");
}

#[test]
fn a_failure_that_the_document_does_not_show_is_one() {
    let error = played("1$ sh -c 'echo some text; exit 3'\n1| some\n1$ true").unwrap_err();
    assert!(error.contains("ended with status 3, and no expected text speaks of an error"), "{error}");
    assert!(played("1$ no-such-program").unwrap_err().contains("ended with status 127"));
    assert_eq!(played("1$ sh -c 'echo Error: so it is; exit 3'\n1| Error\n1$ true"), Ok(()));
    assert_eq!(played("1$ sh -c 'exit 3'\n1$ echo $?\n1| 3"), Ok(()));
}

#[test]
fn what_is_typed_never_reaches_the_shell_as_a_command() {
    let error = played("1$ echo over\n1| over\n2$ sleep 0.2\n2$ true\n1> echo typed").unwrap_err();
    assert!(error.contains("`echo over` does not run any more, it ended with status 0"), "{error}");
}

#[test]
fn a_key_that_ends_a_command_is_waited_for() {
    assert_eq!(played("1$ cat\n1^C\n1$ cat\n1^D"), Ok(()));
}
