//! The parts of a Markdown document that hold commands: fenced blocks and code spans.

/// A fenced code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// What stands after the opening fence.
    pub info: String,
    /// Its text, without the indentation of the opening fence.
    pub lines: Vec<String>,
}

/// All fenced code blocks of a document.
///
/// # Errors
///
/// `file:line:` where a block is never closed, or stands in a quotation, where it would not be seen.
pub fn blocks(file: &str, text: &str) -> Result<Vec<Block>, String> {
    split(file, text).map(|parts| parts.blocks)
}

/// The inline code of a document, outside of fenced blocks: each span with the line where its paragraph's part begins.
///
/// # Errors
///
/// As [`blocks`].
pub fn code_spans(file: &str, text: &str) -> Result<Vec<(usize, String)>, String> {
    let mut spans = Vec::new();
    for (line, paragraph) in split(file, text)?.paragraphs {
        spans_in(line, &paragraph, &mut spans);
    }
    Ok(spans)
}

#[derive(Default)]
struct Parts {
    blocks: Vec<Block>,
    /// Runs of lines that are not blank and not in a block.
    paragraphs: Vec<(usize, String)>,
}

struct Fence<'a> {
    indent: usize,
    mark: char,
    length: usize,
    info: &'a str,
}

fn split(file: &str, text: &str) -> Result<Parts, String> {
    let mut parts = Parts::default();
    let mut open: Option<(Fence<'_>, Block)> = None;
    let mut paragraph: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        if let Some((fence, mut block)) = open.take() {
            if closes(line, &fence) {
                parts.blocks.push(block);
            } else {
                block.lines.push(without_indent(line, fence.indent).into());
                open = Some((fence, block));
            }
        } else if let Some(fence) = fence_in(line) {
            parts.paragraphs.extend(paragraph.take());
            let block = Block { line: number, info: fence.info.into(), lines: Vec::new() };
            open = Some((fence, block));
        } else if line.trim_start().starts_with('>') && fence_in(line.trim_start_matches(['>', ' '])).is_some() {
            return Err(format!("{file}:{number}: a fenced block in a quotation"));
        } else if line.trim().is_empty() {
            parts.paragraphs.extend(paragraph.take());
        } else {
            let (_, text) = paragraph.get_or_insert_with(|| (number, String::new()));
            text.push_str(line);
            text.push('\n');
        }
    }
    parts.paragraphs.extend(paragraph);
    match open {
        Some((_, block)) => Err(format!("{file}:{}: this block is never closed", block.line)),
        None => Ok(parts),
    }
}

fn fence_in(line: &str) -> Option<Fence<'_>> {
    let trimmed = line.trim_start();
    let mark = trimmed.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let info = trimmed.trim_start_matches(mark);
    let length = trimmed.len() - info.len();
    // A span of code may begin a line as well: an info string holds no backtick.
    (length >= 3 && !(mark == '`' && info.contains('`'))).then(|| Fence {
        indent: line.len() - trimmed.len(),
        mark,
        length,
        info: info.trim(),
    })
}

fn closes(line: &str, fence: &Fence<'_>) -> bool {
    let line = line.trim();
    line.len() >= fence.length && line.chars().all(|character| character == fence.mark)
}

fn without_indent(line: &str, indent: usize) -> &str {
    let blanks = line.len() - line.trim_start_matches(' ').len();
    &line[blanks.min(indent)..]
}

/// A run of backticks opens a span that the next run of the same length closes; without one, it is text.
fn spans_in(first_line: usize, paragraph: &str, spans: &mut Vec<(usize, String)>) {
    let mut at = 0;
    while let Some(found) = paragraph[at..].find('`') {
        let start = at + found;
        let length = run_of_backticks(&paragraph[start..]);
        let inside = start + length;
        at = inside;
        // `\`` is a backtick, no span.
        if paragraph[..start].ends_with('\\') {
            continue;
        }
        if let Some(end) = closing_run(paragraph, inside, length) {
            let line = first_line + paragraph[..start].matches('\n').count();
            let words: Vec<&str> = paragraph[inside..end].split_whitespace().collect();
            spans.push((line, words.join(" ")));
            at = end + length;
        }
    }
}

fn closing_run(paragraph: &str, from: usize, length: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let start = at + paragraph[at..].find('`')?;
        let found = run_of_backticks(&paragraph[start..]);
        if found == length {
            return Some(start);
        }
        at = start + found;
    }
}

fn run_of_backticks(text: &str) -> usize {
    text.len() - text.trim_start_matches('`').len()
}
