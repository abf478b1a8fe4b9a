//! A real browser, Debian's Chromium, driven by `e2e/browser/driver.mjs`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use crate::{
    paths,
    wait::{self, Seen},
};

/// How long one command may take. Starting Chromium beside compilers takes most of it.
const COMMAND: Duration = Duration::from_mins(2);

/// How long the browser may take to end.
const END: Duration = Duration::from_secs(10);

/// A browser with one page. It ends when it is dropped.
pub struct Browser {
    driver: Mutex<Driver>,
    output: PathBuf,
}

struct Driver {
    process: Child,
    /// There until it is dropped: the driver ends the browser with it, and removes its profile.
    input: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.input.take());
        let asked = Instant::now();
        // After that it is killed.
        while asked.elapsed() < END && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What the console page says and shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// `starting`, `connecting`, `connected`, `waiting` or `ended`.
    pub state: String,
    /// Why it ended, as the reason word of the gateway.
    pub reason: String,
    /// The status line.
    pub status: String,
    /// The name of the session.
    pub name: String,
    /// What is shown in place of the console.
    pub notice: String,
    /// What is said while a desktop is woken; empty when nothing is waited for.
    pub waiting: String,
    /// The warning of a coming sleep; empty without.
    pub warning: String,
    /// How the target is by the gateway's word, such as `Asleep`; empty when it was not asked.
    pub target: String,
    /// The mark of a viewer who only looks; empty without.
    pub view_only: String,
    /// What the address bar says.
    pub address: String,
    /// The text of the terminal.
    pub terminal: String,
    /// The picture's width in pixels; 0 without a picture.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// How many colours it has, counted up to 256.
    pub colours: u32,
    /// How many of its pixels have the colour that was asked for.
    pub of_colour: u32,
    /// A number that changes when a pixel does.
    pub hash: i32,
    /// Script errors, refused resources and violations of the content security policy since the page was opened.
    pub problems: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    value: Value,
    error: Option<String>,
}

/// Red, green, blue.
pub type Colour = [u8; 3];

impl Browser {
    /// Starts a browser; its log and its pictures go to `output`.
    ///
    /// # Errors
    /// When Node or the driver's packages are missing.
    pub fn start(output: &Path) -> Result<Self> {
        let folder = paths::repository()?.join("e2e/browser");
        ensure!(
            folder.join("node_modules/puppeteer-core").is_dir(),
            "the browser's driver has no packages: run `make build`, or `npm ci` in e2e/browser"
        );
        let log = std::fs::File::create(output.join("browser.log"))?;
        let mut process = Command::new("node")
            .arg("driver.mjs")
            .arg("--insecure")
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start node for the browser")?;
        let input = process.stdin.take().context("the driver has no input")?;
        let answers = process.stdout.take().context("the driver has no output")?;
        Ok(Self {
            driver: Mutex::new(Driver {
                process,
                input: Some(input),
                answers: BufReader::new(answers).lines(),
            }),
            output: output.to_owned(),
        })
    }

    async fn command(&self, command: &str, mut parameters: Value) -> Result<Value> {
        if let Some(parameters) = parameters.as_object_mut() {
            parameters.insert("command".to_owned(), json!(command));
        }
        let driver = &mut *self.driver.lock().await;
        let talk = async {
            if let Some(input) = &mut driver.input {
                input.write_all(format!("{parameters}\n").as_bytes()).await?;
            }
            driver.answers.next_line().await
        };
        let line = tokio::time::timeout(COMMAND, talk)
            .await
            .with_context(|| format!("the browser does not answer {command}"))??;
        let log = self.output.join("browser.log");
        let line = line.with_context(|| format!("the browser has ended; see {}", log.display()))?;
        let answer: Answer = serde_json::from_str(&line)?;
        match answer.error {
            Some(error) => bail!("{command} in the browser: {error}"),
            None => Ok(answer.value),
        }
    }

    /// Opens a page without anything that was kept of an earlier one.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub async fn open(&self, url: &str) -> Result<()> {
        // Not in the message of an error: it holds a token.
        self.command("open", json!({"url": url})).await.map(drop)
    }

    /// The same as a phone does.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub async fn open_on_a_phone(&self, url: &str) -> Result<()> {
        let viewport = json!({"width": 390, "height": 760, "isMobile": true, "hasTouch": true, "deviceScaleFactor": 2});
        self.command("open", json!({"url": url, "viewport": viewport}))
            .await
            .map(drop)
    }

    /// What the page says and shows now; pixels of this colour are counted.
    ///
    /// # Errors
    /// When the browser has ended.
    pub async fn look(&self, colour: Colour) -> Result<Look> {
        let answer = self.command("look", json!({"colour": colour})).await?;
        Ok(serde_json::from_value(answer)?)
    }

    /// Types text on the keyboard; the console must have the focus.
    ///
    /// # Errors
    /// When the browser has ended.
    pub async fn type_text(&self, text: &str) -> Result<()> {
        self.command("type", json!({"text": text})).await.map(drop)
    }

    /// Presses one key, such as `Enter`.
    ///
    /// # Errors
    /// When there is no such key.
    pub async fn press(&self, key: &str) -> Result<()> {
        self.command("press", json!({"key": key})).await.map(drop)
    }

    /// Clicks on what a CSS selector finds.
    ///
    /// # Errors
    /// When there is no such element, or it is not shown.
    pub async fn click(&self, selector: &str) -> Result<()> {
        self.command("click", json!({"selector": selector})).await.map(drop)
    }

    /// Types into a field of the page itself.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        let parameters = json!({"selector": selector, "text": text});
        self.command("fill", parameters).await.map(drop)
    }

    /// The value of a JavaScript expression in the page.
    ///
    /// # Errors
    /// When it throws.
    pub async fn evaluate(&self, expression: &str) -> Result<Value> {
        self.command("evaluate", json!({"expression": expression})).await
    }

    /// Keeps a picture of the page as `<name>.png` with the test's output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn screenshot(&self, name: &str) -> Result<PathBuf> {
        let path = self.output.join(format!("{name}.png"));
        self.command("screenshot", json!({"path": path})).await?;
        Ok(path)
    }

    /// Waits until the page is as `condition` wants it; its `Err` says what is missing.
    ///
    /// # Errors
    /// After `bound`, with what the page said last. A picture is kept.
    pub async fn until(
        &self,
        what: &str,
        bound: Duration,
        colour: Colour,
        condition: impl Fn(&Look) -> bool,
    ) -> Result<Look> {
        let seen = wait::until(format!("the page shows {what}"), bound, || async {
            let look = self.look(colour).await?;
            let found = condition(&look).then(|| look.clone());
            Ok(Seen::some(found, format!("{look:?}")))
        })
        .await;
        if seen.is_err() {
            self.screenshot("failed").await?;
        }
        seen
    }

    /// Waits until the console is there.
    ///
    /// # Errors
    /// As [`Browser::until`].
    pub async fn connected(&self) -> Result<Look> {
        self.until("a console", wait::SHORT, [0; 3], |look| look.state == "connected")
            .await
    }

    /// Waits until the page says that the console ended for this reason.
    ///
    /// # Errors
    /// As [`Browser::until`].
    pub async fn ended(&self, reason: &str) -> Result<Look> {
        self.until(&format!("the end {reason}"), wait::SHORT, [0; 3], |look| {
            look.state == "ended" && look.reason == reason
        })
        .await
    }
}
