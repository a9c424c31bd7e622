//! The closed lists of values that TwiML's attributes take.

use std::fmt;

/// Declares a closed list of attribute values with Twilio's spelling of each.
macro_rules! values {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[$doc:meta])* $value:ident = $text:literal,)* }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $value,)*
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $text,)*
                })
            }
        }
    };
}

values! {
    /// How Twilio requests a URL.
    Method {
        /// Parameters in the query.
        Get = "GET",
        /// Parameters in a form; Twilio's default.
        Post = "POST",
    }
}

values! {
    /// Which side of the call a stream carries.
    Track {
        /// What the caller says; the only one that a `<Connect>` stream may carry (error 31941).
        Inbound = "inbound_track",
        /// What the caller hears.
        Outbound = "outbound_track",
        /// Both, as two tracks.
        Both = "both_tracks",
    }
}

values! {
    /// What the caller of a rejected call hears.
    RejectReason {
        /// A message that the number is not in service.
        Rejected = "rejected",
        /// The busy tone.
        Busy = "busy",
    }
}

values! {
    /// Whether and from when a dialled call is recorded.
    Record {
        /// Not at all.
        Never = "do-not-record",
        /// From the answer, both sides mixed.
        FromAnswer = "record-from-answer",
        /// From the ringing, both sides mixed.
        FromRinging = "record-from-ringing",
        /// From the answer, each side on its own channel.
        FromAnswerDual = "record-from-answer-dual",
        /// From the ringing, each side on its own channel.
        FromRingingDual = "record-from-ringing-dual",
    }
}

values! {
    /// Whether silence is cut from a recording's ends.
    Trim {
        /// Cut it.
        Silence = "trim-silence",
        /// Keep it.
        Nothing = "do-not-trim",
    }
}
