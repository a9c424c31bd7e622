//! `/api/v1/openapi.json`: what the API is, in the words of OpenAPI 3.1, for programs that make
//! clients, documents and tests of it. `openapi.json` in the repository is what this gives.

mod routes;
mod schemas;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

/// The route.
pub(super) fn router() -> Router {
    Router::new().route("/api/v1/openapi.json", get(|| async { Json(document()) }))
}

/// The whole description.
fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "voice-bot",
            "version": "1",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "description": "Calls of a voice-bot: made, watched, ended, and what is left of them. \
                An error has a code, which stays, and a message for people, which may change. \
                New fields may come into answers; what is there stays until /api/v2.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}],
        "paths": routes::all(),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "VOICE_BOT_API_TOKEN",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "voice-bot-session",
                    "description": "Of a browser that has signed in. With it, requests that \
                        change something need the header X-Voice-Bot: 1.",
                },
            },
            "schemas": schemas::all(),
        },
    })
}

/// One thing that may be asked for.
struct Route {
    path: &'static str,
    method: &'static str,
    value: Map<String, Value>,
}

impl Route {
    fn new(method: &'static str, path: &'static str, name: &str, summary: &str) -> Self {
        let value = json!({
            "operationId": name,
            "summary": summary,
            "parameters": [],
            "responses": {},
        });
        let Value::Object(value) = value else { unreachable!("it is written as one") };
        let route = Self { path, method, value };
        let parts = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let named = |route: Self, name| {
            route.parameter("path", name, true, json!({"type": "string", "minLength": 1}), "")
        };
        let route = parts.fold(route, named);
        let has_name = path.contains('{');
        let route = if has_name { route.problem(400, &["unreadable"]) } else { route };
        route.problem(401, &["unauthorized"]).problem(403, &["closed", "cross_origin", "no_mark"])
    }

    fn parameter(
        mut self,
        place: &str,
        name: &str,
        required: bool,
        schema: Value,
        about: &str,
    ) -> Self {
        let mut parameter =
            json!({"name": name, "in": place, "required": required, "schema": schema});
        if !about.is_empty() {
            parameter["description"] = about.into();
        }
        if let Some(Value::Array(all)) = self.value.get_mut("parameters") {
            all.push(parameter);
        }
        self
    }

    /// It is for everybody.
    fn for_everybody(mut self) -> Self {
        self.value.insert("security".into(), json!([]));
        self
    }

    fn query(self, name: &str, schema: Value, about: &str) -> Self {
        self.parameter("query", name, false, schema, about)
    }

    fn body(mut self, schema: &str) -> Self {
        let content = json!({"application/json": {"schema": reference(schema)}});
        self.value.insert("requestBody".into(), json!({"required": true, "content": content}));
        self.problem(400, &["unreadable"]).problem(408, &["late"])
    }

    /// What it answers: one of the schemas.
    fn gives(self, status: u16, schema: &str, about: &str) -> Self {
        let content = json!({"application/json": {"schema": reference(schema)}});
        self.answers(status, json!({"description": about, "content": content}))
    }

    fn gives_nothing(self, status: u16, about: &str) -> Self {
        self.answers(status, json!({"description": about}))
    }

    fn answers(mut self, status: u16, answer: Value) -> Self {
        if let Some(Value::Object(all)) = self.value.get_mut("responses") {
            all.insert(status.to_string(), answer);
        }
        self
    }

    /// An error with one of these codes, beside those that this status has already.
    fn problem(self, status: u16, codes: &[&str]) -> Self {
        let before = self.value["responses"].get(status.to_string());
        let before = before.and_then(|it| it.pointer(CODES)).and_then(Value::as_array);
        let mut all: Vec<Value> = before.cloned().unwrap_or_default();
        let new = codes.iter().map(|code| Value::from(*code));
        all.extend(new.filter(|code| !before.is_some_and(|it| it.contains(code))));
        let listed: Vec<_> = all.iter().filter_map(Value::as_str).collect();
        let about = format!("error.code is {}", listed.join(" or "));
        let narrow = json!({"properties": {"error": {"properties": {"code": {"enum": all}}}}});
        let schema = json!({"allOf": [reference("Problem"), narrow]});
        let content = json!({"application/json": {"schema": schema}});
        self.answers(status, json!({"description": about, "content": content}))
    }
}

/// Where in an answer the codes are.
const CODES: &str =
    "/content/application~1json/schema/allOf/1/properties/error/properties/code/enum";

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_description_in_the_repository_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        let text = format!("{:#}\n", document());
        if std::env::var_os("RENEW").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "run this test once with RENEW=1, and look at the difference");
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        fn named(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(all) => {
                    if let Some(Value::String(path)) = all.get("$ref") {
                        found.push(path.trim_start_matches('#').to_owned());
                    }
                    all.values().for_each(|value| named(value, found));
                }
                Value::Array(all) => all.iter().for_each(|value| named(value, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let (document, mut found) = (document(), Vec::new());
        named(&document, &mut found);
        assert!(found.len() > 40);
        found.iter().for_each(|path| assert!(document.pointer(path).is_some(), "{path}"));
    }
}
