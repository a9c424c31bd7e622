//! Text of strangers on a terminal: what it may hold, and how many columns it takes.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Marks that may stand on one letter: languages need two, what has more is there to do harm.
const MARKS: usize = 2;

/// `text` without anything that a terminal would obey or measure in a way of its own: control
/// characters, orders for the direction of writing, joiners; at most `longest` characters of it.
pub(super) fn plain(text: &str, longest: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(longest));
    let mut marks = MARKS;
    for letter in text.chars().filter(|letter| !steers(*letter)).take(longest) {
        let letter = if letter.is_whitespace() { ' ' } else { letter };
        let wide = letter.width().unwrap_or(0) > 0;
        marks = if wide { 0 } else { marks + 1 };
        if marks <= MARKS {
            shown.push(letter);
        }
    }
    shown
}

/// JSON in which no character stands as it is that a terminal would obey; it means the same.
pub(super) fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        // Outside of its texts JSON has none of them but line feeds.
        if steers(letter) || (letter.is_control() && letter != '\n') {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Whether a terminal obeys this character, or shows it by others that stand beside it.
fn steers(letter: char) -> bool {
    // A tab or a new line is white space, which becomes a blank.
    let control = letter.is_control() && !letter.is_whitespace();
    control
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// How many columns `text` takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// The beginning of `text` in at most `room` columns, with `…` where something is left out.
pub(super) fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut kept = fitting(text.chars(), room.saturating_sub(1));
    if room > 0 {
        kept.push('…');
    }
    kept
}

/// The end of `text` in at most `room` columns, with `…` where something is left out.
pub(super) fn cut_front(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut kept = fitting(text.chars().rev(), room.saturating_sub(1));
    if room > 0 {
        kept.push('…');
    }
    kept.chars().rev().collect()
}

/// `text` in exactly `room` columns: cut, or followed by blanks.
pub(super) fn fit(text: &str, room: usize) -> String {
    let mut fitted = cut(text, room);
    let blanks = room.saturating_sub(columns(&fitted));
    fitted.extend(std::iter::repeat_n(' ', blanks));
    fitted
}

fn fitting(letters: impl Iterator<Item = char>, room: usize) -> String {
    let mut left = room;
    let fits = |letter: &char| {
        let width = letter.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    letters.take_while(fits).collect()
}

/// `text` in lines of at most `room` columns, broken between words where that can be. A letter that
/// is wider has a line of its own.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && columns(&line) + 1 + columns(word) > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let mut rest = word;
        while columns(rest) > room {
            let mut piece = fitting(rest.chars(), room);
            if piece.is_empty() {
                // Some letters are three columns wide.
                piece.extend(rest.chars().next());
            }
            rest = &rest[piece.len()..];
            lines.push(piece);
        }
        line.push_str(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// A level from -60 to 0 dBFS as a bar of `width` characters and two brackets.
pub(super) fn bar(dbfs: f32, width: usize) -> String {
    let filled = ((dbfs + 60.0).clamp(0.0, 60.0) / 60.0 * width as f32).round() as usize;
    format!("[{}{}]", "#".repeat(filled), ".".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_left_out() {
        for (text, shown) in [
            ("\u{1b}[2J\u{1b}]0;title\u{7}hello", "[2J]0;titlehello"),
            ("a\r\nb\tc\u{85}d\u{9b}31m\u{7f}", "a  b c d31m"),
            ("\u{202e}drowssap\u{2066}\u{feff}", "drowssap"),
            ("e\u{301} Z\u{300}\u{301}\u{302}\u{303}!", "e\u{301} Z\u{300}\u{301}!"),
            ("\u{300}\u{301}", ""),
            ("👩\u{200d}👩\u{200d}👧", "👩👩👧"),
            ("日本 ok", "日本 ok"),
        ] {
            assert_eq!(plain(text, 100), shown, "{text:?}");
        }
        assert_eq!(plain(&"x".repeat(1000), 10), "x".repeat(10));
    }

    #[test]
    fn json_means_the_same_without_what_a_terminal_would_obey() {
        let value = serde_json::json!({"a\u{9b}31m": "\u{85}\u{7f}\u{202e}\u{e0041}\n日本 é"});
        let shown = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(shown.contains(r"\u009b31m") && shown.contains(r"\udb40\udc41\n日本 é"), "{shown}");
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(!shown.chars().any(|letter| letter != '\n' && letter.is_control()), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn text_is_cut_by_columns_not_by_letters() {
        assert_eq!(cut("receptionist", 12), "receptionist");
        assert_eq!(cut("receptionists", 12), "receptionis…");
        assert_eq!(cut("日本語日本語", 6), "日本…");
        assert_eq!(fit("日本語日本語", 6), "日本… ");
        assert_eq!(cut_front("I will repeat it.", 8), "…eat it.");
        assert_eq!(cut("ab", 0), "");
        assert_eq!(fit("", 3), "   ");
    }

    #[test]
    fn lines_break_between_words_and_else_anywhere() {
        assert_eq!(wrap("one two  three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("日本語", 3), ["日", "本", "語"]);
        assert_eq!(wrap("\u{17d8}a\u{17d8}", 2), ["\u{17d8}", "a", "\u{17d8}"]);
        assert!(wrap("  ", 9).is_empty());
    }

    #[test]
    fn bars_are_as_long_as_they_should_be() {
        assert_eq!(bar(-100.0, 4), "[....]");
        assert_eq!(bar(-30.0, 4), "[##..]");
        assert_eq!(bar(f32::NAN, 4), "[....]");
        assert_eq!(bar(3.0, 4), "[####]");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(
            text in "\\PC{0,60}|[\u{0}-\u{10ffff}]{0,60}",
            room in 0..30_usize,
        ) {
            let text = plain(&text, 50);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert!(columns(&cut(&text, room)) <= room);
            prop_assert!(columns(&cut_front(&text, room)) <= room);
            prop_assert_eq!(columns(&fit(&text, room)), room);
            for line in wrap(&text, room) {
                prop_assert!(columns(&line) <= room.max(3), "{:?}", line);
            }
        }
    }
}
