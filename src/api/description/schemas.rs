//! The shapes of what is asked and answered.

use serde_json::{Value, json};

use super::reference;

pub(super) fn all() -> Value {
    let mut schemas = json!({
        "Anything": {"type": "object"},
        "Problem": object(json!({"error": object(json!({
            "code": {"type": "string", "description": "It stays."},
            "message": {"type": "string", "description": "For people; it may change."},
        }))})),
        "Status": object(json!({"call": text(), "status": text()})),
        "Placed": object(json!({"call": text(), "status": text()})),
        "Wish": asked(json!({
            "to": text(),
            "persona": optional("string"),
            "vars": {"type": "object", "additionalProperties": {"type": "string"}},
        }), &["to"]),
        "HandOver": asked(json!({"to": text(), "say": optional("string")}), &["to"]),
        "Keys": asked(json!({"digits": text()}), &["digits"]),
        "NewEngine": asked(json!({"url": text()}), &["url"]),
        "Edit": asked(json!({"voice": text(), "prompt": text()}), &["voice", "prompt"]),
        "SignIn": asked(json!({"token": text()}), &["token"]),
        "Session": object(json!({
            "open": flag(), "signed_in": flag(), "closed": flag(), "demo": flag(),
            "version": text(),
        })),
        "Settings": object(json!({"settings": list(object(json!({
            "key": text(), "value": text(), "source": text(),
        })))})),
        "Reloaded": object(json!({"status": text(), "needs_restart": list(text())})),
    });
    for more in [of_calls(), of_engines(), of_personas()] {
        let (Value::Object(more), Value::Object(all)) = (more, &mut schemas) else { continue };
        all.extend(more);
    }
    schemas
}

fn of_calls() -> Value {
    let summary = json!({
        "id": text(),
        "direction": {"enum": ["inbound", "outbound", "browser"]},
        "from": text(),
        "to": text(),
        "persona": text(),
        "engine": text(),
        "started_ms": count(),
        "ended_ms": optional("integer"),
        "duration_ms": count(),
        "reason": optional("string"),
        "reason_text": text(),
        "words": count(),
        "recording": {"oneOf": [
            object(json!({"bytes": count(), "format": {"enum": ["ogg", "wav"]}})),
            {"type": "null"},
        ]},
        "first_audio_ms": optional("integer"),
        "depth_p50_ms": optional("integer"),
    });
    let mut line = object(json!({
        "at_ms": count(), "until_ms": count(), "who": {"enum": ["bot", "caller"]}, "text": text(),
    }));
    line["properties"]["words"] = list(object(json!({"at_ms": count(), "text": text()})));
    let more = json!({
        "transcript": list(line),
        "notes": list(object(json!({"at_ms": count(), "kind": text(), "text": text()}))),
        "curve": object(json!({
            "every_ms": count(), "depth_ms": curve(), "target_ms": curve(), "queued_ms": curve(),
            "caller_dbfs": curve(), "engine_dbfs": curve(), "real_time_factor": curve(),
        })),
        "record": {"type": ["object", "null"]},
        "announced": flag(),
        "cost": object(json!({"seconds": number(), "engine_seconds": number()})),
    });
    json!({
        "Call": object(summary),
        "Detail": {"allOf": [reference("Call"), object(more)]},
        "Calls": object(json!({
            "calls": list(reference("Call")), "next": optional("string"), "total": count(),
        })),
        "Orders": object(json!({"orders": list(object(json!({
            "call": optional("string"), "persona": text(), "statuses": list(text()),
            "answered_by": optional("string"),
        })))})),
        "Peaks": object(json!({
            "duration_ms": count(), "caller": list(level()), "bot": list(level()),
        })),
    })
}

fn of_engines() -> Value {
    let spread = object(json!({"p50": optional("integer"), "p95": optional("integer")}));
    let slot = object(json!({
        "state": {"enum": ["free", "reserved", "priming", "primed", "call"]},
        "call": optional("string"), "persona": optional("string"), "age_s": number(),
    }));
    let engine = object(json!({
        "name": text(),
        "from": optional("string"),
        "state": {"enum": ["ready", "priming", "busy", "slow", "down", "draining"]},
        "rests_s": optional("number"),
        "on_trial": flag(),
        "slots": list(slot),
        "opened_ms": spread,
        "primed_ms": spread,
        "real_time_factor": optional("number"),
        "served": count(),
        "faults": {"type": "object", "additionalProperties": {"type": "integer"}},
    }));
    json!({
        "Engine": engine,
        "Engines": object(json!({"engines": list(reference("Engine"))})),
        "EngineStatus": object(json!({"engine": text(), "status": text()})),
    })
}

fn of_personas() -> Value {
    let persona = object(json!({
        "name": text(), "voice": text(), "prompt": text(), "prompt_tokens": count(),
        "primes_s": number(), "horizon_s": count(), "numbers": list(text()),
        "file": optional("string"), "rules": count(), "record": flag(),
        "variables": list(text()),
    }));
    json!({
        "Persona": persona,
        "Personas": object(json!({
            "personas": list(reference("Persona")), "default": text(), "voices": list(text()),
            "editable": flag(),
        })),
    })
}

/// An answer: all of these are there, and others may come.
fn object(properties: Value) -> Value {
    let names: Vec<&String> = properties.as_object().into_iter().flat_map(|it| it.keys()).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

/// A question: nothing else may be there.
fn asked(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object", "required": required, "properties": properties,
        "additionalProperties": false,
    })
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn optional(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn curve() -> Value {
    json!({"type": "array", "items": {"type": ["number", "null"]}, "description": "By the second."})
}

fn level() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 1})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn count() -> Value {
    json!({"type": "integer"})
}

fn number() -> Value {
    json!({"type": "number"})
}
