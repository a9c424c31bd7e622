//! Measures what a call costs: each part by itself, many real calls, and the codec's floor beneath.
//! The server under test is this program run as `serve`, the carrier and engines that load it are
//! another process; both are ended when this lets go of them.

pub mod calls;
mod canned;
mod children;
pub mod floor;
mod folder;
pub mod limit;
pub mod load;
pub mod parts;
pub mod plot;
mod process;
pub mod report;
pub mod soak;
pub mod watched;

use std::path::PathBuf;

use voice_bot_core::audio::opus::OpusError;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A process under test could not be started.
    #[error("cannot start {what}: {source}; run the program from where it may start itself")]
    Start {
        /// The process.
        what: &'static str,
        /// What starting it gave.
        source: std::io::Error,
    },
    /// A process under test ended, or said nothing for too long.
    #[error("{what} {problem}; the last it said: {said}")]
    Child {
        /// The process.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
        /// Its last line.
        said: String,
    },
    /// The load could not do as it was told.
    #[error("the load broke off: {0}")]
    Load(String),
    /// The figures of a process cannot be read.
    #[error("the figures of process {pid} cannot be read ({source}); this takes Linux' /proc")]
    Process {
        /// The process.
        pid: u32,
        /// What reading gave.
        source: std::io::Error,
    },
    /// The codec failed on the bundled speech.
    #[error("the codec failed on the bundled speech: {0}")]
    Codec(#[from] OpusError),
    /// A plot could not be written.
    #[error(
        "{}: cannot be written ({source}); name a file in a folder that exists", path.display()
    )]
    Plot {
        /// The file.
        path: PathBuf,
        /// What writing it gave.
        source: std::io::Error,
    },
}
