//! What can be said about a command without running it.

use std::env;

use nix::unistd::geteuid;

use super::{Action, Sequence};

/// Programs that the documents may use and that a machine may lack. Anything else that is missing is a failure.
const OUTSIDE_TOOLS: [&str; 22] = [
    "cc", "curl", "gcc", "go", "htop", "ip", "jq", "lsof", "nc", "node", "openssl", "pgrep", "pkill", "ps", "python3",
    "socat", "ss", "strace", "tcpdump", "telnet", "tmux", "tshark",
];

/// The program names in a shell command: its first word, and the first after each `|`, `&`, `;`, `(` and `$(`.
///
/// Assignments before it, `sudo` and `timeout` with its duration are passed over.
pub fn first_words(command: &str) -> Vec<String> {
    simple_commands(command)
        .into_iter()
        .filter_map(|words| {
            let mut words =
                words.into_iter().skip_while(|word| word == "sudo" || is_assignment(word) || is_redirection(word));
            match words.next() {
                Some(word) if word == "timeout" => {
                    words.find(|word| !word.starts_with(|c: char| "-0123456789".contains(c)))
                }
                word => word,
            }
        })
        .collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    })
}

/// `>file`, `2>&1`; what such a word redirects to stands in it, or is not looked at.
fn is_redirection(word: &str) -> bool {
    word.trim_start_matches(|character: char| character.is_ascii_digit()).starts_with(['<', '>'])
}

/// A command line's simple commands, each as its words. Quotes keep words together; `$(` in double quotes counts too.
fn simple_commands(command: &str) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    let mut word = String::new();
    let mut quote = None;
    let mut characters = command.chars().peekable();
    while let Some(character) = characters.next() {
        let substitution = character == '$' && quote != Some('\'') && characters.peek() == Some(&'(');
        let redirection = word.ends_with(['>', '<']) || (character == '&' && characters.peek() == Some(&'>'));
        match (quote, character) {
            _ if substitution => {
                characters.next();
                all.push(Vec::new());
                word.clear();
            }
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.push(character),
            (None, '\'' | '"') => quote = Some(character),
            (None, '|' | '&' | ';' | '(' | ')') if !redirection => {
                end_word(&mut all, &mut word);
                all.push(Vec::new());
            }
            (None, _) if character.is_whitespace() => end_word(&mut all, &mut word),
            (None, _) => word.push(character),
        }
    }
    end_word(&mut all, &mut word);
    all
}

fn end_word(all: &mut [Vec<String>], word: &mut String) {
    if !word.is_empty()
        && let Some(words) = all.last_mut()
    {
        words.push(std::mem::take(word));
    }
}

/// Whether this machine has what the commands of `sequence` need; if not, what is missing.
///
/// # Errors
///
/// `file:line:` and the tool that is not installed, or that root is needed.
pub fn requirements(sequence: &Sequence) -> Result<(), String> {
    for step in &sequence.steps {
        let Action::Command(command) = &step.action else { continue };
        let lacks = |what: &str| Err(format!("{}:{}: {what}", sequence.file, step.line));
        if command.starts_with("sudo ") && !geteuid().is_root() {
            return lacks("needs root");
        }
        // Not only as the first word: some commands are given others to run, `--server 'nc -l 127.0.0.1 {port}'`.
        for word in command.split([' ', '\'', '"', '=']) {
            if OUTSIDE_TOOLS.contains(&word) && !is_installed(word) {
                return lacks(&format!("{word} is not installed"));
            }
        }
    }
    Ok(())
}

/// The command as it is typed here: root needs no sudo.
pub(super) fn as_played(command: &str) -> &str {
    match command.strip_prefix("sudo ") {
        Some(rest) if geteuid().is_root() => rest.trim_start(),
        _ => command,
    }
}

/// Whether the command may compile something before it does what it is for.
pub(super) fn builds(command: &str) -> bool {
    first_words(command).iter().any(|word| word == "make" || word == "cargo")
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
