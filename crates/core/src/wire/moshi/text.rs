//! Puts the model's word pieces together as text: its tokenizer (sentencepiece) spells rare
//! characters byte by byte, as pieces like `<0xE2>`.

/// Collects the bytes of a character that comes in pieces.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
}

impl Pieces {
    /// The text that is whole after this piece, possibly none. What can never become a character
    /// turns into U+FFFD.
    pub(super) fn push(&mut self, piece: &str) -> String {
        match byte(piece) {
            Some(byte) => {
                self.bytes.push(byte);
                self.take_whole()
            }
            None => self.take_broken() + if is_control(piece) { "" } else { piece },
        }
    }

    /// Takes everything but the beginning of a character that may yet be completed.
    fn take_whole(&mut self) -> String {
        let mut text = String::new();
        while let Err(error) = std::str::from_utf8(&self.bytes) {
            let Some(broken) = error.error_len() else {
                let rest = self.bytes.split_off(error.valid_up_to());
                text += &self.take_broken();
                self.bytes = rest;
                return text;
            };
            let rest = self.bytes.split_off(error.valid_up_to() + broken);
            text += &self.take_broken();
            self.bytes = rest;
        }
        text + &self.take_broken()
    }

    fn take_broken(&mut self) -> String {
        let bytes = std::mem::take(&mut self.bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The byte that a piece stands for.
fn byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let two_digits = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    two_digits.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Whether a piece steers the model and is nothing that it says.
fn is_control(piece: &str) -> bool {
    matches!(piece, "<s>" | "</s>" | "<unk>" | "<pad>")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&str]) -> Vec<String> {
        let mut reader = Pieces::default();
        pieces.iter().map(|piece| reader.push(piece)).collect()
    }

    #[test]
    fn words_pass_as_they_are() {
        assert_eq!(read(&[" Hel", "lo", ",", " naïve"]), [" Hel", "lo", ",", " naïve"]);
        assert_eq!(
            read(&["<0x", "<0xE2 >", "<0xGG>", "<0x+1>"]).concat(),
            "<0x<0xE2 ><0xGG><0x+1>"
        );
    }

    #[test]
    fn bytes_become_a_character_when_it_is_whole() {
        assert_eq!(read(&[" a", "<0xE2>", "<0x82>", "<0xAC>", "b"]), [" a", "", "", "€", "b"]);
        assert_eq!(read(&["<0x41>", "<0x0A>"]), ["A", "\n"]);
        assert_eq!(read(&["<0xf0>", "<0x9f>", "<0x99>", "<0x82>"]).concat(), "🙂");
    }

    #[test]
    fn what_cannot_become_a_character_is_replaced() {
        assert_eq!(read(&["<0xE2>", "<0x82>", " x"]), ["", "", "\u{fffd} x"]);
        assert_eq!(read(&["<0xFF>"]), ["\u{fffd}"]);
        assert_eq!(read(&["<0xE2>", "<0x41>"]), ["", "\u{fffd}A"]);
        assert_eq!(read(&["<0xE2>", "<0xC3>", "<0xA9>"]), ["", "\u{fffd}", "é"]);
    }

    #[test]
    fn control_pieces_are_not_said() {
        assert_eq!(read(&["<s>", " a", "</s>", "<unk>"]).concat(), " a");
        assert_eq!(read(&["<0xE2>", "</s>"]).concat(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_text_survives_spelling(text in any::<String>(), broken in any::<Vec<u8>>()) {
            let spell = |byte: &u8| format!("<0x{byte:02X}>");
            let mut reader = Pieces::default();
            let mut read = |bytes: &[u8]| -> String {
                bytes.iter().map(|byte| reader.push(&spell(byte))).collect()
            };
            prop_assert_eq!(read(text.as_bytes()), text);
            let read = read(&broken);
            prop_assert!(reader.bytes.len() < 4);
            prop_assert_eq!(read + &reader.push(""), String::from_utf8_lossy(&broken).into_owned());
        }
    }
}
