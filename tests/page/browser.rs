//! A browser without a window, spoken to in the DevTools protocol: JSON messages on two pipes, each ended by a NUL.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::process::{Directory, PATIENCE};

/// By which names it may be installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The browser's name; if there is none, that.
pub fn available() -> Result<&'static str, String> {
    let is_there = |name: &&&str| {
        let version = Command::new(name).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    };
    NAMES.iter().find(is_there).copied().ok_or_else(|| format!("none of these is installed: {}", NAMES.join(", ")))
}

pub struct Browser {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    /// What it told without being asked.
    told: Vec<Value>,
    session: Option<String>,
    asked: u64,
    _profile: Directory,
}

impl Browser {
    /// Starts it with an empty profile, and attaches to its only page.
    pub fn start(name: &str) -> Self {
        let profile = Directory::new();
        // The browser reads from descriptor 3 and writes to descriptor 4. It runs without its sandbox, which root
        // cannot use: what it is shown are pages of our own.
        let script = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut command = Command::new("sh");
        command.args([
            "-c",
            script,
            name,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
        ]);
        command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let mut child = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let requests = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let told = Vec::new();
        let mut browser = Self { child, requests, messages, told, session: None, asked: 0, _profile: profile };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let targets = self.ask("Target.getTargets", json!({}));
        let page = targets["targetInfos"].as_array().unwrap().iter().find(|target| target["type"] == "page").unwrap();
        let attached = self.ask("Target.attachToTarget", json!({"targetId": page["targetId"], "flatten": true}));
        self.session = Some(attached["sessionId"].as_str().unwrap().to_string());
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.ask(&format!("{domain}.enable"), json!({}));
        }
        self.ask("Emulation.setFocusEmulationEnabled", json!({"enabled": true}));
        let metrics = json!({"width": 1480, "height": 1000, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn next(&mut self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("the browser has something to say")
    }

    /// Asks for something, and waits for the answer.
    pub fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut request = json!({"id": self.asked, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).unwrap();
        loop {
            let message = self.next();
            if message["id"] == self.asked {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.told.push(message);
        }
    }

    /// Opens a page, and waits until it is loaded. What was told before is forgotten.
    pub fn open(&mut self, page: &Path) {
        self.told.clear();
        self.ask("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        while self.told_of("Page.loadEventFired").is_empty() {
            let message = self.next();
            self.told.push(message);
        }
    }

    /// What was told since the page was opened, by its kind.
    pub fn told_of(&self, kind: &str) -> Vec<&Value> {
        self.told.iter().filter(|message| message["method"] == kind).map(|message| &message["params"]).collect()
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let result = self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Presses a key and lets it go.
    pub fn press(&mut self, key: &str) {
        let text = if key.len() == 1 { key } else { "" };
        let code = if key == "Tab" { 9 } else { 0 };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code});
            self.ask("Input.dispatchKeyEvent", event);
        }
    }

    /// Moves the pointer to the middle of the first element that this selector finds.
    pub fn point_at(&mut self, selector: &str) {
        let place = self.value(&format!(
            "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView({{block: 'center'}});
                const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        let event = json!({"type": "mouseMoved", "x": place[0], "y": place[1]});
        self.ask("Input.dispatchMouseEvent", event);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
