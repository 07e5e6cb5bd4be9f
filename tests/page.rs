//! The HTML page, opened in a real browser.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is what a test is for")]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use socklab::event;
use socklab::view::page::{About, write};
use testkit::namespace::or_skip;
use testkit::process::Directory;

#[path = "page/browser.rs"]
mod browser;
#[path = "page/sample.rs"]
mod sample;

use browser::{Browser, available};

/// A browser, and a directory for the pages that it opens; `None` where the test is to be skipped.
fn start(what: &str) -> Option<(Browser, Directory)> {
    let name = available();
    or_skip(what, name.clone().map(drop)).then(|| (Browser::start(name.unwrap()), Directory::new()))
}

fn page(directory: &Directory, name: &str, events: &[event::Event]) -> PathBuf {
    let about = About {
        title: format!("demo 3: lab 3’s echo, {name}"),
        server_port: Some(7003),
        rung: "full: calls, states and segments".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        left_out: 0,
    };
    let path = directory.path().join(format!("{name}.html"));
    write(&mut fs::File::create(&path).unwrap(), &about, events).unwrap();
    path
}

fn count(browser: &mut Browser, selector: &str) -> u64 {
    browser.value(&format!("document.querySelectorAll({selector:?}).length")).as_u64().unwrap()
}

/// How many of these are on the screen, or would be after scrolling.
fn visible(browser: &mut Browser, selector: &str) -> u64 {
    let all = format!("[...document.querySelectorAll({selector:?})]");
    // What is in a closed <details> has a place, and what is not drawn in an SVG is not always called invisible.
    let is_visible = "it.checkVisibility() && it.getClientRects().length > 0";
    browser.value(&format!("{all}.filter((it) => {is_visible}).length")).as_u64().unwrap()
}

fn panel(browser: &mut Browser) -> String {
    browser.value("document.getElementById('panel').innerText").as_str().unwrap().to_string()
}

fn in_focus(browser: &mut Browser) -> String {
    browser.value("document.activeElement.getAttribute('aria-label')").as_str().unwrap_or_default().to_string()
}

#[test]
fn whatever_it_shows_the_page_has_no_error_and_asks_nobody_for_anything() {
    let Some((mut browser, directory)) = start("the page in a browser") else { return };
    for (name, events) in [
        ("echo", sample::echo()),
        ("hostile", sample::hostile()),
        ("crowd", sample::crowd(12)),
        ("nothing", Vec::new()),
    ] {
        let page = page(&directory, name, &events);
        browser.open(&page);
        let scripts = count(&mut browser, "script");
        assert_eq!((scripts, count(&mut browser, "img, iframe, object, embed")), (1, 0), "{name}");
        // The script has run: with another hash in the policy it would not have.
        assert_eq!(browser.value("document.documentElement.className"), "js", "{name}");
        browser.value("document.querySelectorAll('.thing').forEach((thing) => thing.focus())");
        for kind in ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"] {
            assert!(browser.told_of(kind).is_empty(), "{name}: {:?}", browser.told_of(kind));
        }
        assert!(browser.told_of("Page.javascriptDialogOpening").is_empty(), "{name}: a script of the recording ran");
        let is_the_page = |url: &Value| url.as_str() == Some(&format!("file://{}", page.display()));
        let requests = browser.told_of("Network.requestWillBeSent");
        let foreign: Vec<_> = requests.iter().filter(|request| !is_the_page(&request["request"]["url"])).collect();
        assert!(requests.len() - foreign.len() == 1 && foreign.is_empty(), "{name}: {requests:?}");
    }
}

#[test]
fn what_the_policy_does_not_name_cannot_run_in_the_page() {
    let Some((mut browser, directory)) = start("the page's policy in a browser") else { return };
    let path = page(&directory, "injected", &sample::echo());
    let text = fs::read_to_string(&path).unwrap();
    let injected = "<script>document.title = 'run'</script><p style='color: red' onclick='1' id='it'></p></main>";
    fs::write(&path, text.replace("</main>", injected)).unwrap();
    browser.open(&path);
    assert_ne!(browser.value("document.title"), "run");
    assert_eq!(browser.told_of("Log.entryAdded").len(), 3, "{:?}", browser.told_of("Log.entryAdded"));
}

#[test]
fn a_thing_in_focus_shows_its_details_and_lights_up_what_belongs_to_it() {
    let Some((mut browser, directory)) = start("focus in a browser") else { return };
    browser.open(&page(&directory, "echo", &sample::echo()));
    assert!(panel(&mut browser).contains("Point at a call"));
    let segment = ".segment[aria-label*=\"51234 → 127.0.0.1:7003: P.\"]";
    browser.value(&format!("document.querySelector('{segment}').focus()"));
    let details = panel(&mut browser);
    for part in ["PSH, ACK", "1 relative", "2989453172 absolute", "65536 bytes", "TS val 3121855 ecr 3120551"] {
        assert!(details.contains(part), "{part} is not in:\n{details}");
    }
    let lit = "[...document.querySelectorAll('.lit.thing')].map((it) => it.getAttribute('aria-label')).join('\\n')";
    let lit = browser.value(lit).as_str().unwrap().to_string();
    for part in ["client 815: write(", "server/child 1 816: read(", "7003 → 127.0.0.1:51234: .  ack 7"] {
        assert!(lit.contains(part), "{part} is not in:\n{lit}");
    }
    assert_eq!(lit.lines().count(), 3, "{lit}");
    browser.press("Escape");
    assert_eq!(count(&mut browser, ".lit, .on, .looking"), 0);
    assert!(panel(&mut browser).contains("Point at a call"));
}

#[test]
fn the_pointer_shows_details_for_as_long_as_it_stays() {
    let Some((mut browser, directory)) = start("the pointer in a browser") else { return };
    browser.open(&page(&directory, "echo", &sample::echo()));
    browser.point_at(".call[aria-label^=\"client 815: connect\"] > .hit");
    assert!(panel(&mut browser).contains("connect()"));
    browser.point_at(".state[aria-label*=\"7003: CLOSE-WAIT\"] > .stay");
    assert!(panel(&mut browser).contains("the other side has sent its FIN"));
    // A part of a bar, further down than where the call was entered.
    browser.point_at(".part.call.open > .bar");
    assert!(panel(&mut browser).contains("not before the end of the recording"));
    browser.point_at("h1");
    assert!(panel(&mut browser).contains("Point at a call"));
}

#[test]
fn keys_lead_from_thing_to_thing_and_change_the_size() {
    let Some((mut browser, directory)) = start("keys in a browser") else { return };
    browser.open(&page(&directory, "echo", &sample::echo()));
    browser.press("ArrowDown");
    assert!(in_focus(&mut browser).starts_with("server 812: starts"));
    browser.press("ArrowDown");
    assert!(in_focus(&mut browser).starts_with("server 812: socket("));
    browser.press("Tab");
    assert!(in_focus(&mut browser).starts_with("server 812: setsockopt("));
    browser.press("ArrowUp");
    assert!(in_focus(&mut browser).starts_with("server 812: socket("));
    let width = "document.querySelector('svg.body').getBoundingClientRect().width";
    let before = browser.value(width).as_f64().unwrap();
    browser.press("+");
    let larger = browser.value(width).as_f64().unwrap();
    assert!((larger / before - 1.2).abs() < 0.01, "{before} {larger}");
    browser.press("-");
    browser.press("-");
    assert!(browser.value(width).as_f64().unwrap() < before);
    browser.press("0");
    assert!((browser.value(width).as_f64().unwrap() - before).abs() < 1.0);
}

#[test]
fn each_lens_can_be_switched_off_and_on_again() {
    let Some((mut browser, directory)) = start("the lenses in a browser") else { return };
    browser.open(&page(&directory, "echo", &sample::echo()));
    let lenses = ["calls", "states", "segments", "output"];
    for lens in lenses {
        let all: Vec<u64> = lenses.iter().map(|each| visible(&mut browser, &format!(".thing.lens-{each}"))).collect();
        assert!(all.iter().all(|count| *count > 2), "{all:?}");
        browser.value(&format!("document.getElementById('lens-{lens}').click()"));
        for (each, before) in lenses.iter().zip(&all) {
            let now = visible(&mut browser, &format!(".lens-{each}"));
            assert!(if *each == lens { now == 0 } else { now >= *before }, "{lens} off: {now} of {before} {each}");
        }
        browser.value(&format!("document.getElementById('lens-{lens}').click()"));
    }
    browser.value("document.getElementById('lens-calls').click()");
    browser.press("ArrowDown");
    assert!(in_focus(&mut browser).contains("LISTEN"), "a hidden thing was in focus: {}", in_focus(&mut browser));
}

#[test]
fn without_a_script_every_event_stands_in_a_table() {
    let Some((mut browser, directory)) = start("the page without its script") else { return };
    let events = sample::echo();
    let page = page(&directory, "echo", &events);
    browser.open(&page);
    assert_eq!(visible(&mut browser, "tbody tr"), 0, "with the script it is folded away");
    browser.ask("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    browser.open(&page);
    assert_eq!(browser.value("document.documentElement.className"), "");
    assert_eq!(visible(&mut browser, "tbody tr"), events.len() as u64);
    assert_eq!(visible(&mut browser, "#panel, .controls"), 0, "what does nothing without the script is not shown");
    assert!(visible(&mut browser, ".thing") > 40, "the picture is there all the same");
}

/// Pairs of texts of the picture that lie over each other, and texts that leave it.
const CROWDED: &str = "(() => {
    const boxes = [...document.querySelectorAll('svg.body text')].map((text) => {
        const box = text.getBoundingClientRect(), sheet = text.ownerSVGElement.getBoundingClientRect();
        return {text: text.textContent, box, out: box.left < sheet.left || box.right > sheet.right + 1
            || box.top < sheet.top - 1 || box.bottom > sheet.bottom + 1};
    });
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    const found = boxes.filter((it) => it.out).map((it) => 'cut off: ' + it.text);
    boxes.forEach((one, index) => boxes.slice(index + 1).forEach((other) => {
        if (meet(one.box, other.box)) found.push(one.text + ' | ' + other.text);
    }));
    return found;
})()";

#[test]
fn no_text_of_the_picture_lies_over_another_and_none_is_cut_off() {
    let Some((mut browser, directory)) = start("texts in a browser") else { return };
    for (name, events) in [
        ("echo", sample::echo()),
        ("four", sample::crowd(2)),
        ("crowd", sample::crowd(9)),
        ("hostile", sample::hostile()),
    ] {
        browser.open(&page(&directory, name, &events));
        let found = browser.value(CROWDED);
        assert_eq!(found, json!([]), "{name}");
    }
}

#[test]
fn in_the_dark_and_on_paper_the_page_looks_as_it_should() {
    let Some((mut browser, directory)) = start("dark and printed pages") else { return };
    browser.open(&page(&directory, "echo", &sample::echo()));
    let paper = "getComputedStyle(document.body).backgroundColor";
    assert_eq!(browser.value(paper), "rgb(255, 255, 255)");
    let dark = json!([{"name": "prefers-color-scheme", "value": "dark"}]);
    browser.ask("Emulation.setEmulatedMedia", json!({"media": "screen", "features": dark}));
    assert_eq!(browser.value(paper), "rgb(20, 23, 27)");
    browser.ask("Emulation.setEmulatedMedia", json!({"media": "print", "features": dark}));
    assert_eq!(browser.value(paper), "rgb(255, 255, 255)", "nobody prints on black");
    let ink = "getComputedStyle(document.querySelector('svg.body text.code')).fill";
    assert_eq!(browser.value(ink), "rgb(0, 0, 0)");
    assert_eq!(visible(&mut browser, "#panel, .controls, footer"), 0);
}
