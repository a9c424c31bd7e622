//! What is printed of a call: words as they come, and on a terminal a line that says how it stands.

use std::io::{IsTerminal as _, Write, stderr, stdout};

use super::super::text::{bar, columns, cut, cut_front};
use super::ends::Seen;
use super::wire::State;

/// A line is ended at the word that reaches beyond so many columns.
const WIDTH: usize = 76;

/// A pause of so many milliseconds between words ends a line.
const PAUSE_MS: u64 = 1500;

/// To the line's beginning, and wipe it.
const WIPE: &str = "\r\x1b[K";

/// The words of a call in lines.
#[derive(Debug, Default)]
pub(super) struct Words {
    line: String,
    at_ms: u64,
}

impl Words {
    /// Takes a word; gives the line that it ends, if it ends one.
    pub(super) fn take(&mut self, text: &str, at_ms: u64) -> Option<String> {
        let full = columns(&self.line) + 1 + columns(text) > WIDTH;
        let paused = at_ms > self.at_ms + PAUSE_MS;
        self.at_ms = at_ms;
        let ended = if full || paused { self.end() } else { None };
        if !self.line.is_empty() {
            self.line.push(' ');
        }
        self.line.push_str(text);
        ended
    }

    /// The line that is not ended yet, if there is one.
    pub(super) fn end(&mut self) -> Option<String> {
        Some(std::mem::take(&mut self.line)).filter(|line| !line.is_empty())
    }
}

/// The line that says how the call stands has so many columns at most.
const STATUS: usize = 79;

/// How the call stands, with the latest words, in so many columns.
fn line(state: &State, seen: &Seen, words: &str, width: usize) -> String {
    let line = format!(
        "{:10} you {} bot {} {:>4.0}/{:.0}+{} ms, {} gaps ",
        state.phase.chars().take(10).collect::<String>(),
        bar(seen.dbfs, 5),
        bar(state.engine_dbfs, 5),
        state.depth_ms.clamp(0.0, 9999.0),
        state.target_ms.clamp(0.0, 9999.0),
        seen.queued_ms.min(99_999),
        seen.under_runs,
    );
    let room = width.saturating_sub(columns(&line));
    cut(&(line + &cut_front(words, room)), width)
}

/// How wide the line may be: one that is broken is not wiped whole.
fn width() -> usize {
    let columns = crossterm::terminal::size().map_or(0, |(columns, _)| usize::from(columns));
    // A terminal that does not know its size says 0.
    if columns == 0 { STATUS } else { STATUS.min(columns - 1) }
}

/// The terminal, or whatever the output is. One that cannot be written to is no reason to hang up.
pub(super) struct Screen {
    words: Words,
    state: State,
    /// Words stand on the line that is printed, where lines are not printed as a whole.
    begun: bool,
    live: bool,
    /// Both go to the same terminal, so that one must make way for the other.
    together: bool,
}

impl Screen {
    /// Looks at what there is.
    pub(super) fn new() -> Self {
        let live = stderr().is_terminal();
        let together = live && stdout().is_terminal();
        Self { words: Words::default(), state: State::default(), begun: false, live, together }
    }

    /// Shows a word.
    pub(super) fn word(&mut self, text: &str, at_ms: u64, seen: &Seen) {
        if self.together {
            let ended = self.words.take(text, at_ms);
            self.say(ended);
            self.status(seen);
        } else {
            let ended = self.words.take(text, at_ms).is_some();
            let before = match self.begun {
                true if ended => "\n",
                true => " ",
                false => "",
            };
            print(&mut stdout(), &format!("{before}{text}"));
            self.begun = true;
        }
    }

    /// Shows what we have said on a line of its own, where the bot's words stand around it.
    pub(super) fn own(&mut self, text: &str, seen: &Seen) {
        let line = format!("you: {text}");
        if self.together {
            self.say(Some(line));
            self.status(seen);
        } else {
            let before = if std::mem::take(&mut self.begun) { "\n" } else { "" };
            print(&mut stdout(), &format!("{before}{line}\n"));
        }
    }

    /// Shows how the call stands.
    pub(super) fn state(&mut self, state: State, seen: &Seen) {
        self.state = state;
        self.status(seen);
    }

    /// Ends what is shown.
    pub(super) fn end(&mut self) {
        if self.live {
            print(&mut stderr(), WIPE);
        }
        let ended = self.words.end();
        if self.together {
            self.say(ended);
        } else if std::mem::take(&mut self.begun) {
            print(&mut stdout(), "\n");
        }
    }

    /// A remark beside the words.
    pub(super) fn remark(&self, text: &str) {
        let before = if self.live { WIPE } else { "" };
        print(&mut stderr(), &format!("{before}{text}\n"));
    }

    fn say(&self, line: Option<String>) {
        if let Some(line) = line {
            print(&mut stderr(), WIPE);
            print(&mut stdout(), &format!("{line}\n"));
        }
    }

    fn status(&self, seen: &Seen) {
        if self.live {
            let words = if self.together { &self.words.line } else { "" };
            print(&mut stderr(), &format!("{WIPE}{}", line(&self.state, seen, words, width())));
        }
    }
}

fn print(out: &mut impl Write, text: &str) {
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_lines_by_room_and_by_pauses() {
        let mut words = Words::default();
        assert_eq!(words.take("Good", 1000), None);
        assert_eq!(words.take("morning.", 1200), None);
        assert_eq!(words.take("So?", 4000).unwrap(), "Good morning.");
        let long = "x".repeat(WIDTH - 3);
        assert_eq!(words.take(&long, 4100).unwrap(), "So?");
        assert_eq!(words.take("日本", 4200).unwrap(), long);
        assert_eq!(words.end().unwrap(), "日本");
        assert_eq!(words.end(), None);
    }

    #[test]
    fn the_line_fits_whatever_stands_on_it() {
        let state = State { phase: "recovering".to_owned(), depth_ms: 1e9, ..State::default() };
        let seen = Seen { queued_ms: 60_000, under_runs: 99_999, ..Seen::default() };
        for words in ["", "I will repeat it.", &"日本".repeat(40)] {
            for width in [0, 1, 20, 39, 60, STATUS] {
                let shown = line(&state, &seen, words, width);
                assert!(columns(&shown) <= width, "{width}: {shown}");
            }
        }
        let state = State { phase: "live".to_owned(), depth_ms: 110.0, target_ms: 120.0, ..state };
        let seen = Seen { queued_ms: 40, under_runs: 2, ..seen };
        let shown = line(&state, &seen, "I will repeat it.", STATUS);
        assert!(shown.contains("live") && shown.contains(" 110/120+40 ms, 2 gaps "), "{shown}");
    }
}
