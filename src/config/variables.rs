//! `{{name}}` in what a persona is told and says first: what is filled in for each call.

use std::collections::BTreeMap;
use std::path::Path;

use voice_bot_core::persona::Persona;
use voice_bot_core::wire::personaplex::request_target;

use super::error::{ConfigError, Origin};
use super::layers::Given;

/// Values of variables, by their names.
pub type Variables = BTreeMap<String, String>;

/// Characters of a variable's name, and of its value, at most.
const NAME_CHARACTERS: usize = 40;
const VALUE_CHARACTERS: usize = 200;

/// What a persona's file says before its variables are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    prompt: String,
    say: Option<String>,
    defaults: Variables,
}

impl Template {
    /// Checks that every variable in `prompt` and `say` has a default.
    pub(super) fn new(
        prompt: &Given,
        say: Option<&Given>,
        defaults: &Variables,
    ) -> Result<Self, ConfigError> {
        for given in [Some(prompt), say].into_iter().flatten() {
            for name in names(&given.text) {
                if !defaults.contains_key(name) {
                    let problem = format!("has {{{{{name}}}}}, which has no default");
                    let fix = format!("add {name} = \"…\" below [variables]");
                    return Err(given.refuse(&problem, fix));
                }
            }
        }
        let (prompt, say) = (prompt.text.clone(), say.map(|say| say.text.clone()));
        Ok(Self { prompt, say, defaults: defaults.clone() })
    }

    /// The same with another prompt.
    pub(super) fn with_prompt(&self, prompt: &Given) -> Result<Self, ConfigError> {
        let other = Self::new(prompt, None, &self.defaults)?;
        Ok(Self { say: self.say.clone(), ..other })
    }

    /// The prompt, with its variables as they are written.
    pub(super) fn prompt(&self) -> &str {
        &self.prompt
    }

    /// The names of its variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.defaults.keys().map(String::as_str)
    }

    /// Puts the values in, and the defaults of those that have none. A prompt that becomes too long
    /// for one request has the defaults alone.
    pub(super) fn fill(&self, persona: &Persona, values: &Variables) -> Filled {
        let value = |name: &str| {
            let value =
                values.get(name).map(|value| clean(value)).filter(|value| !value.is_empty());
            value.or_else(|| self.defaults.get(name).cloned()).unwrap_or_default()
        };
        let default = |name: &str| self.defaults.get(name).cloned().unwrap_or_default();
        let mut persona = persona.clone();
        persona.prompt = put_in(&self.prompt, value);
        if request_target(&persona.voice, &persona.prompt).is_err() {
            persona.prompt = put_in(&self.prompt, default);
        }
        let opening = self.say.as_ref().map(|say| put_in(say, value));
        Filled { persona, opening }
    }
}

/// A persona as it is on one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The persona.
    pub persona: Persona,
    /// What the carrier's own voice says before the stream; never empty.
    pub opening: Option<String>,
}

/// The `[variables]` of the persona in `file`, checked.
pub(super) fn defaults(file: &Path, raw: &Variables) -> Result<Variables, ConfigError> {
    for (name, value) in raw {
        let origin = || Origin::File(file.to_owned(), format!("variables.{name}"));
        if !is_name(name) {
            let fix = format!("use 1 to {NAME_CHARACTERS} small letters, digits and _");
            return Err(origin().refuse_text(value, "has a name that no variable can have", fix));
        }
        if value.chars().count() > VALUE_CHARACTERS {
            let fix = format!("use {VALUE_CHARACTERS} characters at most");
            return Err(origin().refuse_text(value, "is too long", fix));
        }
    }
    Ok(raw.clone())
}

/// Whether a variable can have this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=NAME_CHARACTERS).contains(&name.len()) && name.bytes().all(plain)
}

/// A value as it is put in: strangers may have written it, so it is one line of limited length.
fn clean(value: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let value: String = value.chars().map(plain).take(VALUE_CHARACTERS).collect();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names between `{{` and `}}`; what can be no name is text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()));
    inside.filter(|name| is_name(name))
}

/// The text with each variable's value in its place. Values are not looked into.
fn put_in(text: &str, value: impl Fn(&str) -> String) -> String {
    let mut parts = text.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("}}") {
            Some((name, rest)) if is_name(name.trim()) => {
                filled.push_str(&value(name.trim()));
                filled.push_str(rest);
            }
            _ => {
                filled.push_str("{{");
                filled.push_str(part);
            }
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given {
        Given { text: text.to_owned(), origin: Origin::Flag("--x") }
    }

    fn values(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_are_put_in_and_defaults_where_there_are_none() {
        let defaults = values(&[("caller_name", "friend"), ("city", "")]);
        let prompt =
            given("Greet {{caller_name}} from {{ city }}. {{Not}} {{ and {{caller_name}}.");
        let template = Template::new(&prompt, Some(&given("Hi {{caller_name}}")), &defaults);
        let persona = Persona::new("sam", "NATM1.pt", "x");
        let fill = |pairs: &[_]| template.as_ref().unwrap().fill(&persona, &values(pairs));
        let filled = fill(&[("city", "Bonn\n\tam Rhein "), ("caller_name", " \u{7}")]);
        let expected = "Greet friend from Bonn am Rhein. {{Not}} {{ and friend.";
        assert_eq!(filled.persona.prompt, expected);
        assert_eq!(filled.opening.as_deref(), Some("Hi friend"));
        let evil = fill(&[("caller_name", "{{city}}"), ("city", "X")]);
        assert!(evil.persona.prompt.starts_with("Greet {{city}} from X."));
        let long = fill(&[("caller_name", &"x".repeat(1000))]);
        assert!(long.persona.prompt.starts_with(&format!("Greet {} from", "x".repeat(200))));
    }

    #[test]
    fn a_variable_without_a_default_is_refused() {
        let error = Template::new(&given("Hello {{nmae}}"), None, &Variables::new()).unwrap_err();
        let expected = "--x = \"Hello {{nmae}}\" has {{nmae}}, which has no default; \
                        add nmae = \"…\" below [variables]";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_would_make_the_prompt_too_long_is_left_out() {
        let defaults = values(&[("name", "friend")]);
        let prompt = given(&format!("{}{{{{name}}}}", "word ".repeat(1000)));
        let template = Template::new(&prompt, None, &defaults).unwrap();
        let persona = Persona::new("sam", "NATM1.pt", "x");
        assert!(request_target("NATM1.pt", &prompt.text).is_ok());
        let long = template.fill(&persona, &values(&[("name", &"\u{1d465}".repeat(200))]));
        assert!(long.persona.prompt.ends_with("friend"));
    }
}
