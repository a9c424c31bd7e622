//! Reads Rust source just far enough to check it: text and comments are blanked, tests are marked.

use std::ops::Range;

/// A source file whose comments and literals are spaces, byte for byte and line for line.
pub(crate) struct Source {
    /// The code that is left; as many bytes and lines as the file has.
    pub(crate) code: String,
    /// Byte ranges of what is compiled for tests only, in order.
    tests: Vec<Range<usize>>,
}

impl Source {
    /// Scans `text`.
    pub(crate) fn new(text: &str) -> Self {
        let code = blank(text);
        let tests = test_ranges(&code);
        Self { code, tests }
    }

    /// Whether the byte at `at` is compiled for tests only.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// The line that holds the byte at `at`, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }

    /// How many lines are not for tests only.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let in_tests: usize =
            self.tests.iter().map(|r| self.line(r.end - 1) + 1 - self.line(r.start)).sum();
        self.code.lines().count() - in_tests
    }

    /// Where `word` stands outside of tests, not as a part of a longer identifier.
    pub(crate) fn find<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        occurrences(&self.code, word).filter(|&at| !self.is_test(at))
    }

    /// The modules that are declared for tests only and live in files of their own.
    pub(crate) fn test_modules(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().filter_map(|range| {
            let item = self.code[range.clone()].strip_suffix(';')?;
            let (_, name) = item.rsplit_once("mod ")?;
            Some(name.trim())
        })
    }
}

/// Where `word` stands in `code`, not as a part of a longer identifier.
pub(crate) fn occurrences<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let cut_before = word.starts_with(is_ident);
    let cut_after = word.ends_with(is_ident);
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !(cut_before && code[..at].ends_with(is_ident)
            || cut_after && code[at + word.len()..].starts_with(is_ident))
    })
}

/// Whether `c` may stand inside an identifier.
pub(crate) fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The end of the item that starts at `start`: past its `;` or past the brace that closes it.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b'{' => curly += 1,
            b'}' => curly -= 1,
            _ => {}
        }
        if round == 0 && curly == 0 && (byte == b';' || byte == b'}') {
            return at + 1;
        }
    }
    code.len()
}

fn test_ranges(code: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    if code.contains("#![cfg(test)]") {
        ranges.push(0..code.len());
    }
    for attribute in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (start, _) in code.match_indices(attribute) {
            let after = start + code[start..].find(']').map_or(0, |close| close + 1);
            ranges.push(start..item_end(code, after));
        }
    }
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|inner, outer| inner.start < outer.end);
    ranges
}

fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let literal = literal_len(rest, code.ends_with(is_ident));
        if literal == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let kept = rest[..literal].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' });
            code.extend(kept);
            rest = &rest[literal..];
        }
    }
    code
}

/// The length of the comment or literal that `rest` starts with; 0 when it starts with code.
fn literal_len(rest: &str, inside_ident: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_len(rest);
    }
    if rest.starts_with('"') {
        return quoted_len(rest, '"');
    }
    if rest.starts_with('\'') {
        return char_len(rest);
    }
    if inside_ident { 0 } else { raw_string_len(rest) }
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    rest.len()
}

/// A character literal's length; 0 for a lifetime.
fn char_len(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted_len(rest, '\''),
        _ => 0,
    }
}

/// The length of `r"..."` or `r#"..."#`, with the prefixes `b` and `c`; 0 when it is none.
fn raw_string_len(rest: &str) -> usize {
    let body = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
    let Some(body) = body.strip_prefix('r') else { return 0 };
    let hashes = body.bytes().take_while(|&b| b == b'#').count();
    if !body[hashes..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let open = rest.len() - body.len() + hashes + 1;
    rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "a // todo!\nb /* x /* y */\nz */ c \"d\\\" e\" 'f' '\\'' g";
        let code = Source::new(text).code;
        assert_eq!(code.len(), text.len());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "g"]);
        assert_eq!(code.lines().count(), 3);
    }

    #[test]
    fn raw_strings_end_where_their_hashes_say() {
        let code = Source::new("x r#\"a \" b\"# y br\"\\\" z cr##\"\"# \"## w").code;
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["x", "y", "z", "w"]);
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        let text = "fn f<'a>(r#type: &'a str, bar: &'static u8)";
        assert_eq!(Source::new(text).code, text);
    }

    #[test]
    fn a_test_module_is_marked_to_its_closing_brace() {
        let source = Source::new("fn a() {}\n#[cfg(test)]\nmod tests {\n  x\n}\nfn b() {}\n");
        assert!(source.is_test(source.code.find('x').unwrap()));
        assert!(!source.is_test(source.code.find("fn b").unwrap()));
        assert_eq!(source.lines_without_tests(), 2);
    }

    #[test]
    fn a_test_module_in_its_own_file_is_named() {
        let source = Source::new("#[cfg(test)]\nmod property;\n#[cfg(test)]\nuse a::{b, c};\n");
        assert_eq!(source.test_modules().collect::<Vec<_>>(), ["property"]);
    }

    #[test]
    fn a_word_is_found_whole_and_outside_of_tests() {
        let source = Source::new("async_x; async fn; #[cfg(test)] mod t { async }");
        assert_eq!(source.find("async").collect::<Vec<_>>(), [9]);
    }
}
