//! What may be asked for, and what comes of it.

use serde_json::{Map, Value, json};
use voice_bot_core::record::EndReason;

use super::Route;

pub(super) fn all() -> Value {
    let mut paths = Map::new();
    let routes = [calls(), steering(), sound(), engines(), personas(), rest()];
    for Route { path, method, value } in routes.into_iter().flatten() {
        let place = paths.entry(path).or_insert_with(|| json!({}));
        place[method] = value.into();
    }
    paths.into()
}

fn calls() -> Vec<Route> {
    // A filter that says nothing asks for nothing.
    let reasons: Vec<_> = [""].into_iter().chain(EndReason::ALL.map(EndReason::name)).collect();
    let millis = || json!({"type": "integer", "format": "int64"});
    vec![
        Route::new("get", "/api/v1/calls", "listCalls", "The calls that run and that were")
            .query("state", json!({"enum": ["", "running", "ended"]}), "Both, if not told.")
            .query(
                "search",
                json!({"type": "string", "maxLength": 200}),
                "What stands in numbers, persona or words, whatever its case.",
            )
            .query("persona", json!({"type": "string"}), "Who talks.")
            .query("reason", json!({"enum": reasons}), "Why they ended.")
            .query("direction", json!({"enum": ["", "inbound", "outbound", "browser"]}), "")
            .query("since_ms", millis(), "Those that began at this moment or later, in Unix time.")
            .query("until_ms", millis(), "Those that began before it.")
            .query(
                "limit",
                json!({"type": "integer", "minimum": 1, "maximum": 1000}),
                "50 if not told.",
            )
            .query(
                "before",
                json!({"type": "string", "pattern": "^([0-9]{1,15}_[A-Za-z0-9_-]+)?$"}),
                "`next` of the page before.",
            )
            .gives(200, "Calls", "The latest first.")
            .problem(400, &["unreadable"])
            .problem(409, &["refused"])
            .problem(503, &["store_down"]),
        Route::new("post", "/api/v1/calls", "placeCall", "Has a number called")
            .body("Wish")
            .gives(201, "Placed", "The carrier has been asked.")
            .problem(400, &["no_variable", "no_persona"])
            .problem(403, &["denied"])
            .problem(409, &["not_configured"])
            .problem(429, &["too_many_wait"])
            .problem(502, &["refused", "unreachable"])
            .problem(504, &["unknown"]),
        Route::new("get", "/api/v1/calls/{call}", "showCall", "All that is known of a call")
            .gives(200, "Detail", "It.")
            .problem(404, &["no_call"])
            .problem(409, &["refused"])
            .problem(503, &["store_down"]),
        Route::new(
            "delete",
            "/api/v1/calls/{call}",
            "deleteCall",
            "Removes a call and its recording",
        )
        .gives_nothing(204, "It is gone.")
        .problem(404, &["no_call"])
        .problem(409, &["running", "refused"])
        .problem(503, &["store_down"]),
        Route::new(
            "get",
            "/api/v1/orders",
            "listOrders",
            "What became of calls that were asked for",
        )
        .gives(200, "Orders", "As far as they are remembered."),
    ]
}

fn steering() -> Vec<Route> {
    vec![
        Route::new("post", "/api/v1/calls/{call}/hangup", "hangUp", "Ends a call politely")
            .gives(202, "Status", "Its last words are played first.")
            .problem(404, &["no_call"])
            .problem(409, &["not_configured"])
            .problem(502, &["refused", "unreachable"])
            .problem(504, &["unknown"]),
        Route::new("post", "/api/v1/calls/{call}/transfer", "transfer", "Hands a caller over")
            .body("HandOver")
            .gives(202, "Status", "It is dialled once the last words are played.")
            .problem(400, &["no_target", "too_long"])
            .problem(403, &["denied"])
            .problem(404, &["no_call"])
            .problem(409, &["no_carrier"]),
        Route::new("post", "/api/v1/calls/{call}/digits", "sendDigits", "Sends keys down the line")
            .body("Keys")
            .gives(202, "Status", "The carrier has been asked.")
            .problem(400, &["no_digits"])
            .problem(404, &["no_call"])
            .problem(409, &["not_talking", "no_carrier", "not_configured"])
            .problem(502, &["refused", "unreachable"])
            .problem(504, &["unknown"]),
    ]
}

fn sound() -> Vec<Route> {
    let binary = json!({"schema": {"type": "string", "format": "binary"}});
    let sound = json!({"audio/ogg": binary, "audio/wav": binary});
    // One that cannot be read counts as none (RFC 9110, section 14.2).
    let range = json!({"type": "string"});
    vec![
        Route::new("get", "/api/v1/calls/{call}/recording", "getRecording", "A call's recording")
            .query("download", json!({"enum": ["", "1"]}), "Have it saved under a name.")
            .parameter("header", "Range", false, range, "One range, RFC 9110, section 14.")
            .answers(
                200,
                json!({"description": "Left the caller, right the bot.", "content": sound}),
            )
            .answers(206, json!({"description": "A part of it.", "content": sound}))
            .problem(400, &["unreadable"])
            .problem(404, &["no_call", "no_recording"])
            .problem(409, &["running", "refused"])
            .problem(416, &["no_range"])
            .problem(503, &["busy", "store_down"]),
        Route::new(
            "get",
            "/api/v1/calls/{call}/peaks",
            "getPeaks",
            "How loud both sides were, to be drawn",
        )
        .query(
            "points",
            json!({"type": "integer", "minimum": 1, "maximum": 8000}),
            "1000 if not told.",
        )
        .gives(200, "Peaks", "Fewer points where the call is short.")
        .problem(400, &["unreadable"])
        .problem(404, &["no_call", "no_recording"])
        .problem(409, &["running", "refused"])
        .problem(503, &["busy", "store_down"]),
    ]
}

fn engines() -> Vec<Route> {
    vec![
        Route::new("get", "/api/v1/engines", "listEngines", "The engines and their slots").gives(
            200,
            "Engines",
            "In the order in which they came.",
        ),
        Route::new("post", "/api/v1/engines", "addEngine", "Adds an engine")
            .body("NewEngine")
            .gives(201, "EngineStatus", "It gets calls from now on.")
            .problem(400, &["no_url", "unusable"])
            .problem(409, &["known"]),
        Route::new(
            "delete",
            "/api/v1/engines/{engine}",
            "removeEngine",
            "Gives an engine no more calls",
        )
        .gives(202, "EngineStatus", "It is gone once those that it has are over.")
        .problem(404, &["no_engine"]),
        Route::new("post", "/api/v1/reload", "reload", "Has configuration and personas read again")
            .gives(200, "Reloaded", "New calls have them.")
            .problem(422, &["configuration"])
            .problem(503, &["not_configured"]),
    ]
}

fn personas() -> Vec<Route> {
    vec![
        Route::new("get", "/api/v1/personas", "listPersonas", "Who may talk")
            .gives(200, "Personas", "By name."),
        Route::new(
            "put",
            "/api/v1/personas/{persona}",
            "changePersona",
            "Changes a persona's file",
        )
        .body("Edit")
        .gives(200, "Persona", "As it is now.")
        .problem(403, &["denied"])
        .problem(404, &["no_persona"])
        .problem(409, &["no_file"])
        .problem(422, &["invalid"])
        .problem(500, &["file"]),
    ]
}

fn rest() -> Vec<Route> {
    let events = json!({"text/event-stream": {"schema": {"type": "string"}}});
    let about = "Server-sent events: state twice a second, word, note, ended, and missed where \
                 the reader was too slow.";
    vec![
        Route::new("get", "/api/v1/live", "watch", "What happens, as it happens")
            .answers(200, json!({"description": about, "content": events}))
            .problem(503, &["too_many", "stopping"]),
        Route::new("get", "/api/v1/settings", "listSettings", "What the server goes by").gives(
            200,
            "Settings",
            "Secrets are only said to be set.",
        ),
        Route::new("get", "/api/v1/session", "showSession", "Whether this browser is signed in")
            .for_everybody()
            .gives(200, "Session", "For everybody."),
        Route::new("post", "/api/v1/session", "signIn", "Signs this browser in")
            .for_everybody()
            .parameter("header", "X-Voice-Bot", true, json!({"const": "1"}), "")
            .body("SignIn")
            .problem(400, &["insecure"])
            .gives_nothing(204, "A cookie is set.")
            .problem(503, &["no_randomness"]),
        Route::new("delete", "/api/v1/session", "signOut", "Signs this browser out")
            .for_everybody()
            .parameter("header", "X-Voice-Bot", true, json!({"const": "1"}), "")
            .gives_nothing(204, "The cookie is gone."),
        Route::new("get", "/api/v1/openapi.json", "describe", "This description").gives(
            200,
            "Anything",
            "OpenAPI 3.1.",
        ),
    ]
}
