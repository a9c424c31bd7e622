//! The request that opens a session: which voice, which prompt, and what the server would choke on.

/// The voices that NVIDIA ships, as the server names their files.
pub const VOICES: [&str; 18] = [
    "NATF0.pt", "NATF1.pt", "NATF2.pt", "NATF3.pt", "NATM0.pt", "NATM1.pt", "NATM2.pt", "NATM3.pt",
    "VARF0.pt", "VARF1.pt", "VARF2.pt", "VARF3.pt", "VARF4.pt", "VARM0.pt", "VARM1.pt", "VARM2.pt",
    "VARM3.pt", "VARM4.pt",
];

/// Bytes that the first line of the request, `GET target HTTP/1.1`, must stay below: the server's
/// HTTP library answers 400 to longer ones.
pub const REQUEST_LINE_LIMIT: usize = 8190;

/// The longest voice name, in bytes.
const VOICE_LIMIT: usize = 100;

const LINE_AROUND_TARGET: usize = "GET  HTTP/1.1".len();

/// Why a voice name is not sent to a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoiceError {
    /// A name that is not of that form; a path would make the server open, even run, any file.
    #[error(
        "voice {0:?} is not a plain file name: use letters, digits, '-', '_' and single dots, \
         ending in .pt, such as NATF2.pt"
    )]
    NotAFileName(String),
    /// A name that neither NVIDIA ships nor the configuration allows.
    #[error("voice {0:?} is unknown: use one of {known}, or allow it", known = VOICES.join(", "))]
    Unknown(String),
}

/// Why there is no request for a voice and a prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The voice name is of the wrong form.
    #[error(transparent)]
    Voice(#[from] VoiceError),
    /// The server crashes on an empty prompt.
    #[error("the prompt is empty: say in a sentence who the bot is")]
    EmptyPrompt,
    /// The request would be longer than the server's HTTP library reads.
    #[error(
        "the prompt is too long: it takes {line} bytes in the request (a space takes 3, a letter \
         like é 6), below {REQUEST_LINE_LIMIT} are possible: shorten it"
    )]
    PromptTooLong {
        /// Length of the request line in bytes.
        line: usize,
    },
}

/// Checks that a voice is one of [`VOICES`] or `extra_allowed`, and a plain file name either way.
///
/// # Errors
/// Names the voice and what would do.
pub fn check_voice(name: &str, extra_allowed: &[String]) -> Result<(), VoiceError> {
    check_file_name(name)?;
    let known = VOICES.contains(&name) || extra_allowed.iter().any(|allowed| allowed == name);
    if known { Ok(()) } else { Err(VoiceError::Unknown(name.to_owned())) }
}

/// The request target for a session with that voice and prompt: `/api/chat` with a query
/// (RFC 3986). Whether the server has the voice is not checked.
///
/// # Errors
/// A voice that is not a plain file name, a prompt of nothing but space, or one that is too long.
pub fn request_target(voice: &str, prompt: &str) -> Result<String, TargetError> {
    check_file_name(voice)?;
    let prompt = prompt.trim();
    if prompt.is_empty() {
        return Err(TargetError::EmptyPrompt);
    }
    let target = format!("/api/chat?voice_prompt={}&text_prompt={}", encode(voice), encode(prompt));
    let line = LINE_AROUND_TARGET + target.len();
    if line >= REQUEST_LINE_LIMIT {
        return Err(TargetError::PromptTooLong { line });
    }
    Ok(target)
}

fn check_file_name(name: &str) -> Result<(), VoiceError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let stem = name.strip_suffix(".pt").unwrap_or_default();
    let fits = !stem.is_empty() && name.len() <= VOICE_LIMIT;
    if fits && name.bytes().all(plain) && !name.starts_with('.') && !name.contains("..") {
        Ok(())
    } else {
        Err(VoiceError::NotAFileName(name.to_owned()))
    }
}

/// Percent-encodes all but what RFC 3986, section 2.3, calls unreserved.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
        }
    }
    encoded
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighteen_voices_pass_the_check() {
        for voice in VOICES {
            assert_eq!(check_voice(voice, &[]), Ok(()));
        }
        let unique: std::collections::BTreeSet<_> = VOICES.iter().collect();
        assert_eq!(unique.len(), 18);
    }

    #[test]
    fn other_voices_need_to_be_allowed() {
        let allowed = ["my-voice_1.0.pt".to_owned(), "../x.pt".to_owned()];
        assert_eq!(check_voice("my-voice_1.0.pt", &allowed), Ok(()));
        let unknown = check_voice("NATF9.pt", &allowed);
        assert_eq!(unknown, Err(VoiceError::Unknown("NATF9.pt".to_owned())));
        let message = unknown.unwrap_err().to_string();
        assert!(message.contains("NATF9.pt") && message.contains("VARM4.pt"), "{message}");
        assert!(matches!(check_voice("../x.pt", &allowed), Err(VoiceError::NotAFileName(_))));
    }

    #[test]
    fn path_tricks_are_refused_everywhere() {
        let tricks = [
            "",
            ".pt",
            "NATF2",
            "NATF2.wav",
            "natf2.PT",
            "../NATF2.pt",
            "/etc/x.pt",
            "a/b.pt",
            "a\\b.pt",
            "..pt",
            "a..pt",
            ".hidden.pt",
            "a%2Fb.pt",
            "a b.pt",
            "a\0.pt",
            "a\n.pt",
            "a&seed=1.pt",
            "ä.pt",
            "~x.pt",
            "c:x.pt",
        ];
        for trick in tricks {
            let refused = VoiceError::NotAFileName(trick.to_owned());
            assert_eq!(check_voice(trick, &[trick.to_owned()]), Err(refused.clone()));
            assert_eq!(request_target(trick, "Hi"), Err(TargetError::Voice(refused)));
        }
        assert!(check_voice(&format!("{}.pt", "a".repeat(98)), &[]).is_err());
    }

    #[test]
    fn query_is_percent_encoded() {
        let target = request_target("NATF2.pt", " You enjoy 100% & <é>\n\"#+?=/ok~-_. ");
        let expected = "/api/chat?voice_prompt=NATF2.pt&text_prompt=\
            You%20enjoy%20100%25%20%26%20%3C%C3%A9%3E%0A%22%23%2B%3F%3D%2Fok~-_.";
        assert_eq!(target.unwrap(), expected);
    }

    #[test]
    fn an_empty_prompt_is_refused() {
        for prompt in ["", " ", "\n\t "] {
            assert_eq!(request_target("NATF2.pt", prompt), Err(TargetError::EmptyPrompt));
        }
    }

    #[test]
    fn the_request_line_stays_below_the_limit() {
        let line = |target: &str| format!("GET {target} HTTP/1.1").len();
        let fixed = line(&request_target("NATF2.pt", "x").unwrap()) - 1;
        let longest = "x".repeat(REQUEST_LINE_LIMIT - 1 - fixed);
        assert_eq!(line(&request_target("NATF2.pt", &longest).unwrap()), 8189);
        let error = request_target("NATF2.pt", &(longest + "x"));
        assert_eq!(error, Err(TargetError::PromptTooLong { line: 8190 }));
        assert!(request_target("NATF2.pt", &"€ ".repeat(700)).is_err(), "encoding counts");
    }
}
