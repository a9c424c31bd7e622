//! The verbs and nouns of TwiML that carry attributes.

use super::values::{Method, Record, Track, Trim};
use super::xml::Element;

/// Declares an element and one setter per attribute, so that each attribute stands on one line.
macro_rules! element {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$doc:meta])* $setter:ident($type:ty) = $attribute:literal;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(Element);

        impl $name {
            pub(super) fn into_element(self) -> Element {
                self.0
            }

            $(
                $(#[$doc])*
                #[must_use]
                pub fn $setter(mut self, value: $type) -> Self {
                    self.0.set($attribute, value.to_string());
                    self
                }
            )*
        }
    };
}

element! {
    /// `<Connect>`: hands the call to a stream until that ends.
    Connect {
        /// The URL whose TwiML follows the stream; without it the next verb follows.
        action(&str) = "action";
        /// How `action` is requested.
        method(Method) = "method";
    }
}

impl Connect {
    /// Connects with this stream.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        let mut connect = Element::new("Connect");
        connect.push(stream.into_element());
        Self(connect)
    }
}

element! {
    /// `<Stream>`: a WebSocket that carries the call's audio.
    Stream {
        /// A name by which the stream may be stopped; default: its SID.
        name(&str) = "name";
        /// The name of a stream connector set up in the account.
        connector_name(&str) = "connectorName";
        /// Which side is carried; default: [`Track::Inbound`].
        track(Track) = "track";
        /// The absolute URL that is told when the stream starts, stops or fails.
        status_callback(&str) = "statusCallback";
        /// How `statusCallback` is requested.
        status_callback_method(Method) = "statusCallbackMethod";
        /// The required audio format; in Twilio's libraries since 9.12, undocumented.
        audio_format(&str) = "audioFormat";
        /// The required sample rate in Hz; in Twilio's libraries since 9.12, undocumented.
        sample_rate(u32) = "sampleRate";
    }
}

impl Stream {
    /// A stream to this `wss` URL. Twilio drops a query string; use [`Self::parameter`].
    #[must_use]
    pub fn new(url: &str) -> Self {
        let mut stream = Element::new("Stream");
        stream.set("url", url.to_owned());
        Self(stream)
    }

    /// Adds a custom parameter that `start` repeats.
    ///
    /// Twilio wants name and value together under 500 characters.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        let mut parameter = Element::new("Parameter");
        parameter.set("name", name.to_owned());
        parameter.set("value", value.to_owned());
        self.0.push(parameter);
        self
    }
}

element! {
    /// `<Say>`: speaks a text.
    Say {
        /// The voice's name, such as `Polly.Joanna-Neural`.
        voice(&str) = "voice";
        /// The language's tag, such as `en-GB`.
        language(&str) = "language";
        /// How often it is said; 0 for ever.
        repeat(u32) = "loop";
    }
}

impl Say {
    /// Says this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Element::new("Say").text(text))
    }
}

impl From<&str> for Say {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

element! {
    /// `<Play>`: plays a sound file, or keys.
    Play {
        /// How often it is played; 0 for ever.
        repeat(u32) = "loop";
    }
}

impl Play {
    /// Plays the sound file at this URL.
    #[must_use]
    pub fn url(url: &str) -> Self {
        Self(Element::new("Play").text(url))
    }

    /// Plays keys: `0-9 * # A-D`, and `w` for half a second of silence.
    #[must_use]
    pub fn digits(digits: &str) -> Self {
        let mut play = Element::new("Play");
        play.set("digits", digits.to_owned());
        Self(play)
    }
}

element! {
    /// `<Redirect>`: goes on with another document.
    Redirect {
        /// How the URL is requested.
        method(Method) = "method";
    }
}

impl Redirect {
    /// Goes on with the TwiML at this URL, absolute or relative to the document's own.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self(Element::new("Redirect").text(url))
    }
}

impl From<&str> for Redirect {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

element! {
    /// `<Dial>`: connects the caller with another telephone.
    Dial {
        /// The URL whose TwiML follows the dialled call; without it the next verb follows.
        action(&str) = "action";
        /// How `action` is requested.
        method(Method) = "method";
        /// How long it may ring, in seconds.
        timeout(u32) = "timeout";
        /// Whether the caller may end the dialled call with `*`.
        hangup_on_star(bool) = "hangupOnStar";
        /// How long the dialled call may last, in seconds.
        time_limit(u32) = "timeLimit";
        /// The number that the dialled side sees; one that the account may use.
        caller_id(&str) = "callerId";
        /// Whether the dialled call is recorded.
        record(Record) = "record";
        /// Whether silence is cut from the recording.
        trim(Trim) = "trim";
        /// The URL that is told of the recording.
        recording_status_callback(&str) = "recordingStatusCallback";
        /// How `recordingStatusCallback` is requested.
        recording_status_callback_method(Method) = "recordingStatusCallbackMethod";
        /// Which events it is told of, separated by spaces.
        recording_status_callback_event(&str) = "recordingStatusCallbackEvent";
        /// Whether the caller hears ringing until the other side answers.
        answer_on_bridge(bool) = "answerOnBridge";
        /// The ringing tone's country, such as `us`, or `automatic`.
        ring_tone(&str) = "ringTone";
        /// Whether several nouns are tried one after the other.
        sequential(bool) = "sequential";
        /// The URL that decides over a SIP REFER.
        refer_url(&str) = "referUrl";
        /// How `referUrl` is requested.
        refer_method(Method) = "referMethod";
    }
}

impl Dial {
    /// Dials a telephone number in E.164 form, such as `+15550100`.
    #[must_use]
    pub fn number(number: &str) -> Self {
        Self(Element::new("Dial").text(number))
    }

    /// Dials what [`Self::or_number`] and [`Self::or_sip`] add, all at once unless sequential.
    #[must_use]
    pub const fn nouns() -> Self {
        Self(Element::new("Dial"))
    }

    /// Adds a telephone number.
    #[must_use]
    pub fn or_number(mut self, number: Number) -> Self {
        self.0.push(number.into_element());
        self
    }

    /// Adds a SIP address.
    #[must_use]
    pub fn or_sip(mut self, sip: Sip) -> Self {
        self.0.push(sip.into_element());
        self
    }
}

element! {
    /// `<Number>`: a telephone number to dial.
    Number {
        /// Keys sent once it has answered.
        send_digits(&str) = "sendDigits";
        /// The URL whose TwiML the dialled side hears first.
        url(&str) = "url";
        /// How `url` is requested.
        method(Method) = "method";
        /// Which events `statusCallback` is told of, separated by spaces.
        status_callback_event(&str) = "statusCallbackEvent";
        /// The URL that is told of the dialled call.
        status_callback(&str) = "statusCallback";
        /// How `statusCallback` is requested.
        status_callback_method(Method) = "statusCallbackMethod";
    }
}

impl Number {
    /// This number, in E.164 form.
    #[must_use]
    pub fn new(number: &str) -> Self {
        Self(Element::new("Number").text(number))
    }
}

element! {
    /// `<Sip>`: a SIP address to dial.
    Sip {
        /// The user name for the address's own authentication.
        username(&str) = "username";
        /// The password for it.
        password(&str) = "password";
        /// The URL whose TwiML the dialled side hears first.
        url(&str) = "url";
        /// How `url` is requested.
        method(Method) = "method";
        /// Which events `statusCallback` is told of, separated by spaces.
        status_callback_event(&str) = "statusCallbackEvent";
        /// The URL that is told of the dialled call.
        status_callback(&str) = "statusCallback";
        /// How `statusCallback` is requested.
        status_callback_method(Method) = "statusCallbackMethod";
    }
}

impl Sip {
    /// This address, such as `sip:desk@example.com`.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self(Element::new("Sip").text(address))
    }
}

element! {
    /// `<Enqueue>`: puts the caller into a queue.
    Enqueue {
        /// The URL whose TwiML follows the queue.
        action(&str) = "action";
        /// How `action` is requested.
        method(Method) = "method";
        /// How many callers the queue may hold.
        max_queue_size(u32) = "maxQueueSize";
        /// The URL whose TwiML the waiting caller hears.
        wait_url(&str) = "waitUrl";
        /// How `waitUrl` is requested.
        wait_url_method(Method) = "waitUrlMethod";
    }
}

impl Enqueue {
    /// The queue of this name; it comes into being with its first caller.
    #[must_use]
    pub fn queue(name: &str) -> Self {
        Self(Element::new("Enqueue").text(name))
    }

    /// A TaskRouter workflow, with the task that it is to route.
    #[must_use]
    pub fn workflow(workflow_sid: &str, task: Task) -> Self {
        let mut enqueue = Element::new("Enqueue");
        enqueue.set("workflowSid", workflow_sid.to_owned());
        enqueue.push(task.into_element());
        Self(enqueue)
    }
}

element! {
    /// `<Task>`: what a workflow is told of the caller.
    Task {
        /// The task's priority; more is sooner.
        priority(u32) = "priority";
        /// How long the task may wait, in seconds.
        timeout(u32) = "timeout";
    }
}

impl Task {
    /// A task with these attributes, a JSON object.
    #[must_use]
    pub fn new(json: &str) -> Self {
        Self(Element::new("Task").text(json))
    }
}
