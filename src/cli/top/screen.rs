//! The terminal: taken, drawn on, and given back as it was, whatever happens.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Whether the terminal is ours: to leave its other screen twice would misplace what follows.
static OURS: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal: its other screen, and each key as it is pressed.
    ///
    /// # Errors
    /// When there is none, or it does not let us.
    pub(super) fn open() -> io::Result<Self> {
        let before = panic::take_hook();
        // What a panic has to say would be lost with the other screen.
        panic::set_hook(Box::new(move |about| {
            give_back();
            before(about);
        }));
        OURS.store(true, Ordering::Relaxed);
        enable_raw_mode()?;
        let open = || {
            execute!(stdout(), EnterAlternateScreen, Hide)?;
            Terminal::new(CrosstermBackend::new(stdout()))
        };
        match open() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Draws; only what has changed since is written.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame.area(), frame.buffer_mut())).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back; where it is gone there is nothing to be done.
fn give_back() {
    if !OURS.swap(false, Ordering::Relaxed) {
        return;
    }
    drop(disable_raw_mode());
    drop(execute!(stdout(), Show, LeaveAlternateScreen));
}
