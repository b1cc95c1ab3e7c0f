//! The terminal while it is ours, and how it is given back: at the end, on an error, on a signal, and on a panic.

use std::io::{self, IsTerminal as _, Stdout, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal};
use rustix::process::{Signal, getpid, kill_process};

/// Whether there is a terminal to draw on and to read keys from.
pub(super) fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The terminal, as long as this lives.
pub(super) struct Stage {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Stage {
    pub(super) fn enter() -> io::Result<Stage> {
        give_back_on_panic();
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()));
        // Whoever can't have it gives it back.
        terminal.map(|terminal| Stage { terminal }).inspect_err(|_| give_back())
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Gives the terminal to whoever started us, until they let us go on.
    pub(super) fn rest(&mut self) -> io::Result<()> {
        give_back();
        kill_process(getpid(), Signal::TSTP)?;
        take()?;
        self.terminal.clear()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        give_back();
    }
}

/// It is given back once: whoever leaves a screen that is left already moves the cursor.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    IS_TAKEN.store(true, Ordering::Relaxed);
    execute!(io::stdout(), EnterAlternateScreen, Hide).inspect_err(|_| give_back())
}

/// A terminal that is gone needs nothing back, so that nothing here is looked at.
fn give_back() {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    let _ = io::stdout().flush();
    let _ = disable_raw_mode();
}

/// The report of a panic is to be read, and the terminal to be used after it.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            report(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const CHILD: &str = "QUORATE_TEST_STAGE";

    /// Run by the test below in a terminal of its own.
    #[test]
    fn panics_on_stage() {
        if std::env::var_os(CHILD).is_some() {
            let mut stage = Stage::enter().unwrap();
            stage.draw(|frame| frame.render_widget("Hamlet", frame.area())).unwrap();
            panic!("the play is over");
        }
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_reported() {
        let own = std::env::current_exe().unwrap();
        let play = format!(
            "stty rows 24 cols 80; '{}' --exact --nocapture top::stage::tests::panics_on_stage; stty -a",
            own.display()
        );
        let mut script = Command::new("script");
        script.args(["-qec", &play, "/dev/null"]).env(CHILD, "1").stdin(Stdio::null());
        let Ok(output) = script.output() else {
            println!("SKIPPED script: not installed");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let find = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what:?} is not in {text:?}"));
        let (entered, shown) = (find("\x1b[?1049h"), find("Hamlet"));
        let (left, reported) = (find("\x1b[?1049l"), find("the play is over"));
        assert_eq!(text.matches("\x1b[?1049l").count(), 1, "the report is drawn over: {text:?}");
        assert!(entered < shown && shown < left && left < reported, "{text:?}");
        let settings = &text[find("speed ")..];
        for setting in ["icanon", "echo", "isig"] {
            assert!(settings.split_whitespace().any(|word| word == setting), "{setting}: {settings}");
        }
    }
}
