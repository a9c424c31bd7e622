//! Personas: reads `personas/*.toml`, checks them, and says who answers which number.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use voice_bot_core::persona::Persona;
use voice_bot_core::wire::personaplex::{
    self, REQUEST_LINE_LIMIT, TargetError, VOICES, request_target,
};

use super::error::{ConfigError, Origin};
use super::layers::{Given, Layers};
use super::nearest::nearest;
use super::raw::{self, RawPersona};
use super::rules::May;
use super::variables::{Filled, Template, Variables};
use super::{rules, start, variables};

const DEFAULT_DIR: &str = "personas";
const DEFAULT_NAME: &str = "assistant";
/// The persona that needs no file, so that the server runs with nothing configured.
const BUILT_IN: &str = include_str!("../../personas/assistant.toml");

/// Every persona, the default one, and those that have a number of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personas {
    all: BTreeMap<String, Persona>,
    default: Persona,
    numbers: BTreeMap<String, Persona>,
    /// By the persona's name.
    templates: BTreeMap<String, Template>,
    overflows: BTreeMap<String, String>,
    /// By the persona's name, where it has one and nothing lies over what it says.
    files: BTreeMap<String, PathBuf>,
    can_edit: bool,
}

impl Personas {
    /// Who answers when nothing else was said.
    #[must_use]
    pub const fn default_persona(&self) -> &Persona {
        &self.default
    }

    /// Who answers when this number was called: E.164, such as `+15551234567`.
    #[must_use]
    pub fn for_number(&self, called: &str) -> &Persona {
        self.numbers.get(called).unwrap_or(&self.default)
    }

    /// The persona of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Persona> {
        self.all.get(name)
    }

    /// The persona as it is on one call: with these values for its variables, and the defaults of
    /// the others. One that is not of these is left as it is.
    #[must_use]
    pub fn fill(&self, persona: &Persona, values: &Variables) -> Filled {
        match self.templates.get(&persona.name) {
            Some(template) => template.fill(persona, values),
            None => Filled { persona: persona.clone(), opening: None },
        }
    }

    /// What the carrier's own voice says before it opens the stream to the persona of this name,
    /// with the defaults of its variables; never empty.
    #[must_use]
    pub fn opening(&self, name: &str) -> Option<String> {
        self.fill(self.get(name)?, &Variables::new()).opening
    }

    /// Where callers of the persona of this name go who can be served nowhere else, if it says so.
    #[must_use]
    pub fn overflow(&self, name: &str) -> Option<&str> {
        self.overflows.get(name).map(String::as_str)
    }

    /// What the persona of this name is told, with its variables as they are written.
    #[must_use]
    pub fn prompt(&self, name: &str) -> &str {
        self.templates.get(name).map_or("", Template::prompt)
    }

    /// The file that says all of the persona of this name, if there is one.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&Path> {
        self.files.get(name).map(PathBuf::as_path)
    }

    /// Whether their files may be changed by the control API.
    #[must_use]
    pub const fn can_edit(&self) -> bool {
        self.can_edit
    }

    /// The names of the variables that the persona of this name has.
    pub fn variables(&self, name: &str) -> impl Iterator<Item = &str> {
        self.templates.get(name).into_iter().flat_map(Template::variables)
    }

    /// Every persona, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Persona> {
        self.all.values()
    }

    /// Whether this is the built-in persona, and answers nobody of its own accord.
    pub(super) fn is_spare(&self, persona: &Persona) -> bool {
        *persona == Self::default().default
            && self.default.name != persona.name
            && self.numbers.values().all(|other| other.name != persona.name)
    }

    /// The numbers that have a persona of their own, and that persona.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, &Persona)> {
        self.numbers.iter().map(|(number, persona)| (number.as_str(), persona))
    }
}

impl Default for Personas {
    /// The built-in persona alone.
    fn default() -> Self {
        let built_in = built_in(&[]).expect("the persona in the program is valid, see the tests");
        let name = built_in.persona.name.clone();
        let templates = [(name.clone(), built_in.template)].into();
        let (default, all) = (built_in.persona.clone(), [(name, built_in.persona)].into());
        let (numbers, overflows, files) = Default::default();
        Self { all, default, numbers, templates, overflows, files, can_edit: false }
    }
}

/// Reads the folder, lays `PERSONAPLEX_*` over the default persona and looks the numbers' up.
pub(super) fn resolve(
    layers: &Layers<'_>,
    extra_voices: &[String],
    may: May<'_>,
) -> Result<Personas, ConfigError> {
    let raw = &layers.raw.personas;
    let found = read_folder(layers, extra_voices, may)?;
    let file = |(name, found): (&String, &Found)| Some((name.clone(), found.file.clone()?));
    let mut files: BTreeMap<_, _> = found.iter().filter_map(file).collect();
    let overflow = |(name, found): (&String, &Found)| Some((name.clone(), found.overflow.clone()?));
    let overflows = found.iter().filter_map(overflow).collect();
    let templates = found.iter().map(|(name, found)| (name.clone(), found.template.clone()));
    let mut templates: BTreeMap<_, _> = templates.collect();
    let mut all: BTreeMap<_, _> =
        found.into_iter().map(|(name, found)| (name, found.persona)).collect();
    let wanted =
        layers.text(layers.overrides.persona.as_ref(), "personas.default", raw.default.as_ref());
    let wanted = wanted.unwrap_or_else(|| Given {
        text: DEFAULT_NAME.to_owned(),
        origin: layers.key("personas.default"),
    });
    let mut default = find(&all, &wanted)?;
    let over = layers.overrides;
    if over.voice.is_some() || over.prompt.is_some() {
        files.remove(&default.name);
    }
    if let Some(template) = templates.get_mut(&default.name) {
        override_default(layers, &mut default, template, extra_voices)?;
    }
    all.insert(default.name.clone(), default.clone());
    let mut numbers = BTreeMap::new();
    for (number, name) in raw.numbers.iter().flatten() {
        let origin = layers.key(&format!("personas.numbers.{number:?}"));
        if !is_e164(number) {
            let fix = "write it as Twilio does, with + and country code: \"+15551234567\"";
            return Err(origin.refuse_text(name, "is for something that is no phone number", fix));
        }
        numbers.insert(number.clone(), find(&all, &Given { text: name.clone(), origin })?);
    }
    let can_edit = raw.edit.unwrap_or_default();
    Ok(Personas { all, default, numbers, templates, overflows, files, can_edit })
}

fn override_default(
    layers: &Layers<'_>,
    default: &mut Persona,
    template: &mut Template,
    extra_voices: &[String],
) -> Result<(), ConfigError> {
    if let Some(voice) = &layers.overrides.voice {
        check_voice(voice, extra_voices)?;
        default.voice.clone_from(&voice.text);
    }
    if let Some(prompt) = &layers.overrides.prompt {
        check_prompt(prompt, &default.voice)?;
        *template = template.with_prompt(prompt)?;
        *default = template.fill(default, &Variables::new()).persona;
    }
    Ok(())
}

fn find(all: &BTreeMap<String, Persona>, wanted: &Given) -> Result<Persona, ConfigError> {
    let names = || all.keys().map(String::as_str);
    all.get(&wanted.text).cloned().ok_or_else(|| {
        let fix = match nearest(&wanted.text, names()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!(
                "use one of: {}; or add the file {}.toml to the personas folder",
                names().collect::<Vec<_>>().join(", "),
                wanted.text
            ),
        };
        wanted.refuse("is not a persona", fix)
    })
}

/// What a persona's file says.
struct Found {
    persona: Persona,
    template: Template,
    overflow: Option<String>,
    /// None for the built-in one.
    file: Option<PathBuf>,
}

fn built_in(extra_voices: &[String]) -> Result<Found, ConfigError> {
    let file = Path::new("personas/assistant.toml");
    Ok(Found { file: None, ..read_persona(file, BUILT_IN, extra_voices, May::default())? })
}

/// The personas in the folder, and the built-in one unless one there has its name.
fn read_folder(
    layers: &Layers<'_>,
    extra_voices: &[String],
    may: May<'_>,
) -> Result<BTreeMap<String, Found>, ConfigError> {
    let raw = layers.raw.personas.dir.as_deref();
    let base = layers.file.parent().unwrap_or(Path::new(""));
    let folder = base.join(raw.unwrap_or(DEFAULT_DIR));
    let mut found: BTreeMap<String, (Found, PathBuf)> = BTreeMap::new();
    let may_be_absent = raw.is_none_or(|dir| dir == DEFAULT_DIR);
    for file in persona_files(&folder, may_be_absent, &layers.key("personas.dir"))? {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| unreadable(&layers.key("personas.dir"), &file, &error))?;
        let read = read_persona(&file, &text, extra_voices, may)?;
        let name = read.persona.name.clone();
        if let Some((_, other)) = found.get(&name) {
            let problem = format!("is also the name in {}", other.display());
            let origin = Origin::File(file, "name".to_owned());
            return Err(origin.refuse_text(&name, problem, "give one of them another name"));
        }
        found.insert(name, (read, file));
    }
    let mut all: BTreeMap<_, _> = found.into_iter().map(|(name, (it, _))| (name, it)).collect();
    if !all.contains_key(DEFAULT_NAME) {
        all.insert(DEFAULT_NAME.to_owned(), built_in(extra_voices)?);
    }
    Ok(all)
}

fn persona_files(
    folder: &Path,
    may_be_absent: bool,
    origin: &Origin,
) -> Result<Vec<PathBuf>, ConfigError> {
    let listed = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>());
    let mut files = match listed {
        Ok(files) => files,
        Err(error) if error.kind() == ErrorKind::NotFound && may_be_absent => Vec::new(),
        Err(error) => return Err(unreadable(origin, folder, &error)),
    };
    files.retain(|file| {
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && file.extension().is_some_and(|extension| extension == "toml")
    });
    files.sort();
    Ok(files)
}

fn unreadable(origin: &Origin, path: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError::Unreadable {
        origin: origin.clone(),
        path: path.to_owned(),
        problem: error.to_string(),
        fix: "name a readable folder of persona files".to_owned(),
    }
}

fn read_persona(
    file: &Path,
    text: &str,
    extra: &[String],
    may: May<'_>,
) -> Result<Found, ConfigError> {
    let raw: RawPersona = raw::parse(file, text)?;
    let take = |key: &str, value: Option<String>, example: &str| {
        let origin = Origin::File(file.to_owned(), key.to_owned());
        let text = value.as_deref().unwrap_or_default().trim().to_owned();
        if text.is_empty() {
            return Err(ConfigError::MissingKey { origin, fix: format!("add {key} = {example}") });
        }
        Ok(Given { text, origin })
    };
    let name = take("name", raw.name, "\"receptionist\"")?;
    let voice = take("voice", raw.voice, "\"NATF2.pt\"")?;
    let prompt = take("prompt", raw.prompt, "\"You enjoy having a good conversation.\"")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.text.chars().all(plain) {
        return Err(name.refuse("is not a plain name", "use letters, digits, - and _ alone"));
    }
    check_voice(&voice, extra)?;
    check_prompt(&prompt, &voice.text)?;
    let start = start::resolve(file, &raw.start)?;
    let rules = rules::resolve(file, &raw.rules, may)?;
    let overflow = raw.overflow.map(|to| {
        let origin = Origin::File(file.to_owned(), "overflow".to_owned());
        may.dial_target(&Given { text: to.trim().to_owned(), origin })
    });
    let defaults = variables::defaults(file, &raw.variables)?;
    let template = Template::new(&prompt, start.say.as_ref(), &defaults)?;
    let persona = Persona::new(name.text, voice.text, prompt.text);
    let record = raw.record.unwrap_or_default();
    let transcribe = raw.transcribe.unwrap_or_default();
    let persona = Persona { start: start.sound, rules, record, transcribe, ..persona };
    let persona = template.fill(&persona, &Variables::new()).persona;
    Ok(Found { persona, template, overflow: overflow.transpose()?, file: Some(file.to_owned()) })
}

/// Refuses a voice that the engine's servers do not have.
fn check_voice(voice: &Given, extra: &[String]) -> Result<(), ConfigError> {
    if personaplex::check_voice(&voice.text, extra).is_ok() {
        return Ok(());
    }
    let known = || VOICES.into_iter().chain(extra.iter().map(String::as_str));
    let file = format!("{}.pt", voice.text);
    let fix = match known()
        .find(|name| name.eq_ignore_ascii_case(&file) || name.eq_ignore_ascii_case(&voice.text))
    {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!(
            "use one of {}, or list a file of your own in engine.extra_voices",
            known().collect::<Vec<_>>().join(", ")
        ),
    };
    Err(voice.refuse("is not a voice that PersonaPlex has", fix))
}

/// Refuses a prompt that would make the request longer than the engine's server reads.
fn check_prompt(prompt: &Given, voice: &str) -> Result<(), ConfigError> {
    let Err(error) = request_target(voice, &prompt.text) else { return Ok(()) };
    let (problem, fix) = match error {
        TargetError::PromptTooLong { line } => (
            format!("is {} bytes too long for one request", line + 1 - REQUEST_LINE_LIMIT),
            "shorten it; a space and each byte beyond ASCII count as three".to_owned(),
        ),
        TargetError::EmptyPrompt | TargetError::Voice(_) => {
            ("cannot be sent".to_owned(), error.to_string())
        }
    };
    Err(prompt.refuse(&problem, fix))
}

fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}
