//! `/api/v1/settings` and `/api/v1/personas`: what a running server goes by, and who answers.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use voice_bot_core::persona::{Persona, Reading};
use voice_bot_core::wire::personaplex::VOICES;

use super::{Name, Problem, read};
use crate::config::Personas;
use crate::fleet::{EditError, Fleet, Setting};

pub(super) fn router(fleet: Fleet) -> Router {
    Router::new()
        .route("/api/v1/settings", get(settings))
        .route("/api/v1/personas", get(personas))
        .route("/api/v1/personas/{persona}", put(edit))
        .with_state(fleet)
}

async fn settings(State(fleet): State<Fleet>) -> Response {
    let (settings, sources) = fleet.settings().await;
    let of = |it: &Setting| json!({"key": it.key, "value": it.value, "source": sources.of(it.key)});
    let settings: Vec<_> = settings.iter().map(of).collect();
    Json(json!({"settings": settings})).into_response()
}

async fn personas(State(fleet): State<Fleet>) -> Response {
    let personas = fleet.personas();
    let all: Vec<_> = personas.iter().map(|persona| shown(&personas, persona)).collect();
    let extra = fleet.extra_voices().await;
    let voices: Vec<_> = VOICES.into_iter().chain(extra.iter().map(String::as_str)).collect();
    Json(json!({
        "personas": all,
        "default": personas.default_persona().name,
        "voices": voices,
        "editable": fleet.can_edit(),
    }))
    .into_response()
}

/// `PUT /api/v1/personas/PERSONA`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// A voice of the engine's.
    voice: String,
    /// What the model is told; it may hold `{{variables}}`.
    prompt: String,
}

async fn edit(
    State(fleet): State<Fleet>,
    Name(name): Name,
    request: Request,
) -> Result<Response, Problem> {
    let Edit { voice, prompt } =
        read(request, "{\"voice\": \"NATF2.pt\", \"prompt\": \"You are …\"}").await?;
    fleet.edit(&name, &voice, &prompt).await?;
    let personas = fleet.personas();
    let persona = personas.get(&name).ok_or_else(|| Problem::from(EditError::Unknown))?;
    Ok(Json(shown(&personas, persona)).into_response())
}

fn shown(personas: &Personas, persona: &Persona) -> Value {
    let reading = Reading::of(&persona.prompt);
    let mine = personas.numbers().filter(|(_, other)| other.name == persona.name);
    let numbers: Vec<_> = mine.map(|(number, _)| number).collect();
    json!({
        "name": persona.name,
        "voice": persona.voice,
        "prompt": personas.prompt(&persona.name),
        "prompt_tokens": reading.tokens,
        "primes_s": reading.takes(Reading::FAST_STEP).as_secs_f64(),
        "horizon_s": reading.horizon().as_secs(),
        "numbers": numbers,
        "file": personas.file(&persona.name).map(|file| file.display().to_string()),
        "rules": persona.rules.len(),
        "record": persona.record,
        "variables": personas.variables(&persona.name).collect::<Vec<_>>(),
    })
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        let (status, code) = match &error {
            EditError::Unknown => (StatusCode::NOT_FOUND, "no_persona"),
            EditError::NotAllowed => (StatusCode::FORBIDDEN, "denied"),
            EditError::NoFile => (StatusCode::CONFLICT, "no_file"),
            EditError::File { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "file"),
            EditError::Unreadable { .. } | EditError::Wrong(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
            }
        };
        Self(status, code, error.to_string())
    }
}
