//! What Twilio's error codes of streams and calls mean, each in one sentence, with the fix.
//! Source: twilio.com/docs/api/errors.

/// What this code means.
pub(super) const fn meaning(code: u32) -> Option<&'static str> {
    Some(match code {
        31901 => {
            "Twilio got no answer when it opened the stream: is the port open to the internet?"
        }
        31902 => "the connection for the stream was refused: nothing listens at public_url's port",
        31903 => "the stream's connection broke in the middle of the call",
        31910 => {
            "TLS failed for the stream: the certificate must be valid for public_url's host, by a \
             public authority; self-signed ones are refused"
        }
        31920 => {
            "the stream's socket was refused: a proxy does not pass WebSocket upgrades on, drops \
             the X-Twilio-Signature header, or changes the path"
        }
        31921 => "this server closed the stream, as it does at the end of each call",
        31922 => "the stream's address is not wss: public_url must begin with https://",
        31923 => "the stream's address is malformed: see public_url",
        31924 => "the WebSocket protocol was broken: does a proxy change the frames?",
        31930 => "this side reads too slowly, and Twilio drops the caller's audio: overloaded?",
        31931 => "more than ten minutes of audio waited to be played; the rest was dropped",
        31941 => "the <Stream> has a track that <Connect> does not allow",
        31950 => "Twilio was sent a binary message, which it does not understand",
        31951 => "Twilio was sent a message that it does not understand",
        11200 => "Twilio could not fetch an address: see the Twilio console for which",
        11205 => "Twilio could not connect to this server in time: see public_url",
        12100 => "Twilio could not read the TwiML that it was sent",
        13224 => "the number that was called is not valid",
        13227 => "calls to that country are not enabled in the Twilio console",
        21215 | 21216 => "the account may not call that number",
        32009 => "whoever was called is not registered",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_streams_has_a_sentence() {
        let codes = [
            31901, 31902, 31903, 31910, 31920, 31921, 31922, 31923, 31924, 31930, 31931, 31941,
            31950, 31951,
        ];
        for code in codes {
            assert!(meaning(code).is_some_and(|text| text.len() > 30), "{code}");
        }
        assert_eq!(meaning(1), None);
    }
}
