//! Who the bot is on one call.

/// A voice and a prompt under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persona {
    /// The name that configuration and logs use.
    pub name: String,
    /// Voice file name on the engine's server, such as `NATF2.pt`.
    pub voice: String,
    /// What the model is told about its role; never empty.
    pub prompt: String,
}
