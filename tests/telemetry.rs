//! Sets logging up for a whole process, which is why this test has one of its own.

use voice_bot::config::{LogConfig, LogFormat};
use voice_bot::telemetry::{Pii, TelemetryError, init};

#[test]
fn personal_data_is_shown_to_who_asks_and_logging_starts_once() {
    let pii = Pii("+15551234567");
    assert_eq!(pii.to_string(), "[redacted]");
    let shown = LogConfig {
        level: "off".parse().unwrap(),
        format: LogFormat::Json,
        show_personal_data: true,
    };
    init(&shown).unwrap();
    assert_eq!(format!("{pii} {pii:?}"), "+15551234567 \"+15551234567\"");
    let hidden = LogConfig { show_personal_data: false, ..shown };
    assert_eq!(init(&hidden), Err(TelemetryError::AlreadySet));
    assert_eq!(pii.to_string(), "+15551234567", "a refused start changes nothing");
}
