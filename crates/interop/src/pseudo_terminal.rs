//! A program in a terminal of its own: what it shows, what is typed, and how it leaves the terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::server::{PATIENCE, pause};

/// A program and its terminal. It ends with the test.
pub struct PseudoTerminal {
    child: Child,
    keyboard: File,
    /// The program's side, which stays open so that its settings can be looked at when the program is gone.
    line: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl std::fmt::Debug for PseudoTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}:\n{}", self.child, self.text())
    }
}

impl PseudoTerminal {
    /// Starts a program in a terminal of this size, which is its controlling one, so that it hears when the size changes.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(program: &Command, (columns, rows): (u16, u16)) -> PseudoTerminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = openpt(flags).expect("the system has terminals");
        grantpt(&keyboard).and_then(|()| unlockpt(&keyboard)).expect("the terminal is ours");
        let line = ioctl_tiocgptpeer(&keyboard, flags).expect("the terminal has another side");
        let keyboard = File::from(keyboard);
        tcsetwinsize(&line, size(columns, rows)).expect("a terminal has a size");
        let side = || line.try_clone().expect("a descriptor can be had twice");
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program.get_program()).args(program.get_args()).env("TERM", "xterm-256color");
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("the program can be started");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(rows), some(columns), 0)));
        let (mut output, seen) = (keyboard.try_clone().expect("a descriptor can be had twice"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // It ends with the last who has the other side open.
            while let Ok(read @ 1..) = output.read(&mut chunk) {
                seen.lock().expect("nobody panics here").process(&chunk[..read]);
            }
        });
        PseudoTerminal { child, keyboard, line, screen }
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.screen.lock().expect("nobody panics here").screen().contents()
    }

    /// Waits until the screen shows this.
    ///
    /// # Panics
    /// If it does not by the deadline; with what it shows.
    pub fn await_text(&mut self, text: &str) {
        let deadline = Instant::now() + 2 * PATIENCE;
        while !self.text().contains(text) {
            let ended = self.child.try_wait().expect("it is ours");
            assert!(ended.is_none() && Instant::now() < deadline, "in vain: {text}; {ended:?}\n{}", self.text());
            pause();
        }
    }

    /// Types.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// Gives the terminal another size, as a window that is pulled at.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.lock().expect("nobody panics here").screen_mut().set_size(some(rows), some(columns));
        tcsetwinsize(&self.line, size(columns, rows)).expect("a terminal has a size");
    }

    /// Sends the program a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for the program's end; how it ended.
    ///
    /// # Panics
    /// If it does not end by the deadline, or leaves the terminal otherwise than it found it.
    pub fn end(mut self) -> ExitStatus {
        let deadline = Instant::now() + 2 * PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
            pause();
        };
        let modes = tcgetattr(&self.line).expect("a terminal has settings").local_modes;
        let usual = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        assert!(modes.contains(usual), "the terminal is left raw: {modes:?}");
        let is_given_back = || {
            let parser = self.screen.lock().expect("nobody panics here");
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        };
        // What it wrote last may be on its way.
        while !is_given_back() {
            assert!(Instant::now() < deadline, "the screen is not given back:\n{}", self.text());
            pause();
        }
        status
    }
}

impl Drop for PseudoTerminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn some(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has room for something")
}
