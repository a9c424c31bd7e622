//! Whether recordings can be kept: the folder, the key that encrypts them, the bucket.

use super::Finding;
use crate::config::Config;
use crate::recordings::{Recordings, key_id, key_name};

const BUCKET: &str = "look at recording.s3, s3_endpoint and s3_region, and whether the key may \
                      put, get and delete objects there";

/// What was found; nothing is looked at where no call is recorded.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let recorded: Vec<_> = config.personas.iter().filter(|persona| persona.record).collect();
    if recorded.is_empty() && config.recording.s3.is_none() {
        return vec![Finding::skipped("no persona's calls are recorded")];
    }
    let recordings = Recordings::new(&config.recording, |_, _| async {});
    let folder = config.recording.dir.display();
    let mut found = vec![match recordings.prepare() {
        Ok(()) => Finding::ok(format!("recordings can be put into {folder}")),
        Err(error) => Finding::failure(error.to_string(), "without it no call is recorded"),
    }];
    found.push(match config.recording.keys.as_slice() {
        [] => Finding::ok("recordings are not encrypted by voice-bot"),
        [key, others @ ..] => {
            let (name, others) = (key_name(key_id(key)), others.len());
            let others = match others {
                0 => String::new(),
                count => format!("; {count} more can read older ones"),
            };
            Finding::ok(format!("recordings are encrypted with the key {name}{others}"))
        }
    });
    if let Some(tried) = recordings.try_out().await {
        found.push(match tried {
            Ok(place) => Finding::ok(format!("{place} can be written to, read and cleared")),
            Err(error) => Finding::failure(error.to_string(), BUCKET),
        });
    }
    found
}
