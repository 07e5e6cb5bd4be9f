//! The report as one HTML page that needs nothing else. What comes from outside is text of the page only.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::report::{Judged, Outcome, Report, hint};

const STYLE: &str = "
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9rem }
pre { overflow-x: auto; margin: 0.3rem 0 0.8rem }
section { border-left: 0.3rem solid gray; padding: 0.1rem 1rem; margin: 1rem 0 }
section.passed { border-color: seagreen } section.failed { border-color: crimson } section.not-judged { border-color: orange }
h2 { font-size: 1rem; margin: 0.2rem 0 } h3 { font-size: 0.9rem; margin: 0.5rem 0 0 }
.facts { opacity: 0.75 } .seen { font-weight: 600 }
";

/// The whole page.
pub fn page(report: &Report) -> String {
    let title = format!("check {}: {}", report.lab.number, report.command);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Lab " (report.lab.number) ": " (report.lab.idea) }
                p { code { (report.command) } }
                p.facts { (report.place) }
                p { strong { (report.summary()) } }
                @for result in &report.results { (section(report, result)) }
                footer.facts { "socklab " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    markup.into_string()
}

fn section(report: &Report, result: &Judged) -> Markup {
    html! {
        section class=(result.outcome.name()) {
            h2 { code { (result.check.name) } " · " (result.check.title) " · " (result.outcome.name()) }
            @match &result.outcome {
                Outcome::Passed => p.facts { (result.steps.join(", ")) },
                Outcome::Skipped(need) => p { "It needs " code { (need) } ", which was not passed." },
                Outcome::NotJudged(why) => p { (why) },
                Outcome::Failed(failure) => {
                    @if !result.steps.is_empty() {
                        ol { @for step in &result.steps { li { (step) " ✓" } } }
                    }
                    p.seen { "Expected " (failure.expected) "; " (failure.seen) " (" (failure.kind.name()) ")." }
                    @if let Some(why) = &failure.why { p { "Why: " (why) } }
                    (list("Its last words", &failure.last_words))
                    (list("Last calls", failure.calls.as_deref().unwrap_or_default()))
                    (list("Sockets", &failure.sockets))
                    p { "See: " code { (report.see(result)) } }
                    @if let Some(hint) = hint(report.lab, result.check.name) { p { "Hint: " code { (hint) } } }
                },
            }
        }
    }
}

fn list(name: &str, lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            h3 { (name) }
            pre { (lines.join("\n")) }
        }
    }
}
