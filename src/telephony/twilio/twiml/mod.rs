//! Writes TwiML, the XML that tells Twilio what to do with a call.
//!
//! Verbs, nouns and attributes carry Twilio's own names; see its "TwiML for Programmable Voice"
//! pages. Twilio reads at most 64 kB of TwiML (error 11750).

mod attributes;
mod values;
mod xml;

pub use attributes::{Connect, Dial, Enqueue, Number, Play, Redirect, Say, Sip, Stream, Task};
pub use values::{Method, Record, RejectReason, Track, Trim};
use xml::Element;

/// A TwiML document: verbs that Twilio obeys one after the other.
///
/// A call whose verbs are used up is hung up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twiml {
    response: Element,
}

impl Default for Twiml {
    fn default() -> Self {
        Self::new()
    }
}

impl Twiml {
    /// A document without verbs, which hangs up.
    #[must_use]
    pub const fn new() -> Self {
        Self { response: Element::new("Response") }
    }

    /// The document as XML, with its declaration.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = r#"<?xml version="1.0" encoding="UTF-8"?>"#.to_owned();
        self.response.write_to(&mut xml);
        xml
    }

    /// Connects the call with a WebSocket, both ways, until that is closed.
    #[must_use]
    pub fn connect(self, connect: Connect) -> Self {
        self.verb(connect.into_element())
    }

    /// [`Self::connect`] to a stream, without an action: the next verb follows the stream.
    #[must_use]
    pub fn connect_stream(self, stream: Stream) -> Self {
        self.connect(Connect::new(stream))
    }

    /// Speaks a text; a plain `&str` uses the account's voice and language.
    #[must_use]
    pub fn say(self, say: impl Into<Say>) -> Self {
        self.verb(say.into().into_element())
    }

    /// Waits silently for that many seconds.
    #[must_use]
    pub fn pause(self, seconds: u32) -> Self {
        let mut pause = Element::new("Pause");
        pause.set("length", seconds.to_string());
        self.verb(pause)
    }

    /// Plays a sound file or keys.
    #[must_use]
    pub fn play(self, play: Play) -> Self {
        self.verb(play.into_element())
    }

    /// Goes on with the TwiML found at another URL; verbs after this one are never reached.
    #[must_use]
    pub fn redirect(self, redirect: impl Into<Redirect>) -> Self {
        self.verb(redirect.into().into_element())
    }

    /// Connects the caller with another telephone.
    #[must_use]
    pub fn dial(self, dial: Dial) -> Self {
        self.verb(dial.into_element())
    }

    /// Puts the caller into a queue.
    #[must_use]
    pub fn enqueue(self, enqueue: Enqueue) -> Self {
        self.verb(enqueue.into_element())
    }

    /// Turns the call away; free of charge only as the very first verb.
    #[must_use]
    pub fn reject(self, reason: RejectReason) -> Self {
        let mut reject = Element::new("Reject");
        reject.set("reason", reason.to_string());
        self.verb(reject)
    }

    /// Ends the call.
    #[must_use]
    pub fn hangup(self) -> Self {
        self.verb(Element::new("Hangup"))
    }

    fn verb(mut self, verb: Element) -> Self {
        self.response.push(verb);
        self
    }
}

#[cfg(test)]
mod tests;
