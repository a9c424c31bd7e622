//! A call's record as lines of text, whatever figures it has.

use serde_json::Value;

/// The lines of a record's JSON: what each is about, and its figures. A figure that is a group is
/// a line for itself.
#[must_use]
pub fn lines(record: &Value) -> Vec<(String, String)> {
    let Value::Object(fields) = record else { return vec![(String::new(), show(record))] };
    fields.iter().map(|(key, value)| (key.clone(), show(value))).collect()
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => join(items.iter().map(show)),
        Value::Object(fields) => match (fields.get("secs"), fields.get("nanos"), fields.len()) {
            (Some(Value::Number(secs)), Some(Value::Number(nanos)), 2) => seconds(secs, nanos),
            _ => join(fields.iter().map(|(key, value)| format!("{key} {}", show_within(value)))),
        },
    }
}

fn show_within(value: &Value) -> String {
    let group = matches!(value, Value::Object(fields) if !fields.contains_key("secs"));
    if group || value.is_array() { format!("({})", show(value)) } else { show(value) }
}

/// A duration in seconds, with as many digits as it has.
fn seconds(secs: &serde_json::Number, nanos: &serde_json::Number) -> String {
    let digits = format!("{:0>9}", nanos.to_string());
    match digits.trim_end_matches('0') {
        "" => format!("{secs} s"),
        digits => format!("{secs}.{digits} s"),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    let joined = parts.collect::<Vec<_>>().join(", ");
    if joined.is_empty() { "none".to_owned() } else { joined }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_shown_with_their_names() {
        let record = json!({
            "id": "CA1",
            "duration": { "secs": 12, "nanos": 50_000_000 },
            "waited": { "secs": 3, "nanos": 0 },
            "primed_after": null,
            "inbound": { "in_ms": 20, "gaps": { "p50": 1.5, "after": { "secs": 0, "nanos": 7 } } },
            "faults": {},
        });
        let lines = lines(&record);
        let of = |key: &str| lines.iter().find(|(name, _)| name == key).unwrap().1.as_str();
        assert_eq!(of("id"), "CA1");
        assert_eq!(of("duration"), "12.05 s");
        assert_eq!(of("waited"), "3 s");
        assert_eq!(of("primed_after"), "-");
        assert_eq!(of("inbound"), "gaps (after 0.000000007 s, p50 1.5), in_ms 20");
        assert_eq!(of("faults"), "none");
    }
}
