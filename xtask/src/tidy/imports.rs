//! Who may import whom: module against module in the core and in the shell, downhill only.

use std::collections::BTreeSet;

use super::scan::{is_ident, occurrences};
use super::tree::Tree;
use super::{File, Finding};

/// A crate whose top-level modules may import only what the table gives them.
struct House {
    /// Where its sources lie.
    folder: &'static str,
    /// How a path from the crate's root starts.
    roots: &'static [&'static str],
    /// What the crate's face gives out under its own name, and where that comes from.
    face: &'static [(&'static str, &'static str)],
    /// Each module and what it may import; a module that is missing here is a finding.
    table: &'static [(&'static str, &'static [&'static str])],
    /// What may not stand in its code at all, and why.
    banned: &'static [(&'static str, &'static str)],
}

const CORE: House = House {
    folder: "crates/core/src/",
    roots: &["crate::"],
    face: &[],
    table: &[
        ("tape", &["call", "leg", "audio", "pace", "record", "persona", "id"]),
        ("call", &["leg", "audio", "pace", "turns", "recording", "record", "persona", "id"]),
        ("recording", &["audio", "leg"]),
        ("utterance", &["audio", "leg", "recording"]),
        ("pace", &["leg", "audio"]),
        ("turns", &["audio"]),
        ("demo", &["wire", "audio"]),
        ("wire", &["leg", "audio", "persona"]),
        ("pool", &["leg", "id", "persona"]),
        ("rate", &[]),
        ("toll", &[]),
        ("transcript", &[]),
        ("record", &["id", "leg", "pace", "recording", "turns"]),
        ("carrier", &["audio"]),
        ("leg", &["audio", "persona"]),
        ("persona", &["audio"]),
        ("audio", &[]),
        ("id", &[]),
    ],
    banned: &[
        ("async", "the core never waits; it names a deadline"),
        ("tokio", "the core has no runtime"),
        ("std::env", "configuration reaches the core as values"),
        ("std::fs", "the core has no files"),
        ("std::net", "the core has no sockets"),
        ("std::process", "the core starts nothing"),
        ("std::thread", "the core runs where it is called"),
        ("Instant::now", "time is an argument in the core"),
        ("SystemTime", "time is an argument in the core"),
        ("HashMap", "hash order differs from run to run; use BTreeMap"),
        ("HashSet", "hash order differs from run to run; use BTreeSet"),
        ("Mutex", "state has one owner in the core"),
    ],
};

const SHELL: House = House {
    folder: "src/",
    roots: &["crate::", "voice_bot::"],
    face: &[("Server", "serve"), ("VoiceBot", "bot"), ("Conversation", "bot"), ("Heard", "bot")],
    table: &[
        ("main", &["cli"]),
        (
            "cli",
            &[
                "serve",
                "telephony",
                "http",
                "tls",
                "config",
                "dial",
                "doctor",
                "engine",
                "bench",
                "recordings",
                "tape",
                "store",
                "telemetry",
                "upgrade",
            ],
        ),
        (
            "doctor",
            &[
                "telephony",
                "engine",
                "recordings",
                "http",
                "tls",
                "transcription",
                "upgrade",
                "config",
            ],
        ),
        ("bench", &["engine", "process", "wav"]),
        ("bot", &["serve", "switchboard", "driver", "engine", "port", "config"]),
        ("server", &["serve", "switchboard", "driver", "engine", "port", "config"]),
        (
            "serve",
            &[
                "api",
                "dashboard",
                "fleet",
                "listen",
                "live",
                "metrics",
                "traces",
                "transcription",
                "web",
                "telephony",
                "switchboard",
                "driver",
                "recordings",
                "tape",
                "store",
                "webhooks",
                "engine",
                "port",
                "config",
                "telemetry",
            ],
        ),
        (
            "metrics",
            &["switchboard", "recordings", "store", "transcription", "webhooks", "process"],
        ),
        ("traces", &["switchboard", "http", "config"]),
        ("transcription", &["http", "config", "telemetry"]),
        ("web", &["switchboard", "config", "telemetry"]),
        (
            "telephony",
            &[
                "live",
                "transcription",
                "http",
                "lookup",
                "switchboard",
                "port",
                "config",
                "telemetry",
            ],
        ),
        (
            "switchboard",
            &[
                "driver",
                "recordings",
                "tape",
                "transcription",
                "store",
                "webhooks",
                "engine",
                "port",
                "config",
                "telemetry",
            ],
        ),
        (
            "driver",
            &[
                "recordings",
                "tape",
                "transcription",
                "store",
                "webhooks",
                "engine",
                "port",
                "config",
                "telemetry",
            ],
        ),
        ("recordings", &["store", "http", "config"]),
        ("store", &["config"]),
        ("engine", &["port", "config", "telemetry"]),
        ("tape", &["config", "telemetry"]),
        ("dial", &["http", "tls", "wav"]),
        ("webhooks", &["http", "config"]),
        ("telemetry", &["config"]),
        ("config", &["http", "wav"]),
        ("port", &[]),
        ("process", &[]),
        ("listen", &[]),
        ("live", &[]),
        ("fleet", &["doctor", "switchboard", "engine", "live", "config"]),
        (
            "api",
            &[
                "fleet",
                "switchboard",
                "telephony",
                "transcription",
                "recordings",
                "store",
                "config",
            ],
        ),
        ("dashboard", &[]),
        ("lookup", &["http", "config"]),
        ("http", &["tls"]),
        ("tls", &[]),
        ("upgrade", &[]),
        ("wav", &[]),
    ],
    banned: &[],
};

/// The name under which the shell's face gives out the core, which all of the shell may use.
const CORE_ALIAS: &str = "core";

/// The top-level modules of both houses.
pub(crate) struct Modules {
    core: BTreeSet<String>,
    shell: BTreeSet<String>,
}

impl Modules {
    /// The modules that `tree` has.
    pub(crate) fn of(tree: &Tree) -> Self {
        let all = |house: &House| {
            let paths = tree.rust().filter_map(|(path, _)| path.strip_prefix(house.folder));
            paths.map(|path| top_level(path).to_owned()).collect()
        };
        Self { core: all(&CORE), shell: all(&SHELL) }
    }

    /// Checks what one file outside of tests imports and mentions.
    pub(crate) fn check(&self, file: &File<'_>) -> Vec<Finding> {
        match (file.path.strip_prefix(CORE.folder), file.path.strip_prefix(SHELL.folder)) {
            (Some(path), _) => CORE.check(file, path, &self.core),
            (None, Some(path)) => SHELL.check(file, path, &self.shell),
            (None, None) => Vec::new(),
        }
    }
}

impl House {
    fn check(&self, file: &File<'_>, path: &str, modules: &BTreeSet<String>) -> Vec<Finding> {
        let mut findings = self.banned_words(file);
        let own = top_level(path);
        if own == "lib" {
            return findings;
        }
        let Some((_, allowed)) = self.table.iter().find(|(module, _)| *module == own) else {
            let message = format!("`{own}` is not in the table of who may import whom; add it");
            findings.push(file.on_line(1, message));
            return findings;
        };
        for (at, name) in self.imports(file, path, modules) {
            let known = self.face.iter().find(|(given, _)| *given == name);
            let name = known.map_or(name, |(_, module)| *module);
            if name != own && name != CORE_ALIAS && !allowed.contains(&name) {
                findings.push(file.at(at, refusal(own, name, allowed, modules)));
            }
        }
        findings
    }

    fn banned_words(&self, file: &File<'_>) -> Vec<Finding> {
        let found = |(word, reason): &(&'static str, &'static str)| {
            let message = format!("`{word}` is banned here: {reason}");
            file.source.find(word).map(|at| file.at(at, &*message)).collect::<Vec<_>>()
        };
        self.banned.iter().flat_map(found).collect()
    }

    /// What each path from the crate's root names first, with its place.
    fn imports<'a>(
        &self,
        file: &'a File<'_>,
        path: &str,
        modules: &BTreeSet<String>,
    ) -> Vec<(usize, &'a str)> {
        let code = &file.source.code;
        let mut imports = Vec::new();
        for root in self.roots {
            for at in file.source.find(root).filter(|&at| !code[..at].ends_with('$')) {
                imports.extend(heads(&code[at + root.len()..]).into_iter().map(|name| (at, name)));
            }
        }
        let climbed = climbs(code, depth(path)).filter(|(at, _)| !file.source.is_test(*at));
        for (at, after) in climbed {
            // Inside a module within the file the climb ends lower, at names that are no modules.
            let known = heads(&code[after..]).into_iter().filter(|name| modules.contains(*name));
            imports.extend(known.map(|name| (at, name)));
        }
        imports
    }
}

fn refusal(own: &str, name: &str, allowed: &[&str], modules: &BTreeSet<String>) -> String {
    if !modules.contains(name) {
        return format!("`{own}` imports `{name}` through the crate's face; name its module");
    }
    match allowed {
        [] => format!("`{own}` must not import `{name}`: it imports no other module"),
        _ => format!("`{own}` must not import `{name}`, only {}", allowed.join(", ")),
    }
}

/// The top-level module that the file at `path` (from the sources' folder) belongs to.
fn top_level(path: &str) -> &str {
    let head = path.split('/').next().unwrap_or(path);
    head.strip_suffix(".rs").unwrap_or(head)
}

/// How many modules the file's module lies below the crate's root.
fn depth(path: &str) -> usize {
    let stem = path.strip_suffix("/mod.rs").unwrap_or(path);
    stem.split('/').count()
}

/// Where `super::` is repeated `depth` times and so reaches the crate's root: start and end.
fn climbs(code: &str, depth: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    const STEP: &str = "super::";
    let starts = occurrences(code, STEP).filter(|&at| !code[..at].ends_with(STEP));
    starts.filter_map(move |at| {
        let steps = code[at..].split(STEP).take_while(|part| part.is_empty()).count();
        (steps == depth).then(|| (at, at + steps * STEP.len()))
    })
}

/// The first names of what follows a path's `::`: one name, or one for each member of a group.
fn heads(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![head(rest)] };
    let mut depth = 0_usize;
    let mut names = Vec::new();
    let mut member = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' => {
                names.push(head(&group[member..at]));
                break;
            }
            ',' if depth == 0 => {
                names.push(head(&group[member..at]));
                member = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn head(member: &str) -> &str {
    let member = member.trim_start();
    if member.starts_with('*') {
        return "*";
    }
    let end = member.find(|c| !is_ident(c)).unwrap_or(member.len());
    &member[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_no_circles() {
        for house in [CORE, SHELL] {
            let mut left: Vec<_> = house.table.to_vec();
            while !left.is_empty() {
                let names: Vec<_> = left.iter().map(|(name, _)| *name).collect();
                let before = left.len();
                left.retain(|(_, allowed)| allowed.iter().any(|name| names.contains(name)));
                assert!(left.len() < before, "a circle among {names:?}");
            }
        }
    }

    #[test]
    fn the_tables_name_only_modules_that_they_list() {
        for house in [CORE, SHELL] {
            for (module, allowed) in house.table {
                for name in *allowed {
                    let listed = house.table.iter().any(|(listed, _)| listed == name);
                    assert!(listed, "{module} -> {name}");
                }
            }
        }
    }

    #[test]
    fn wire_and_call_never_meet() {
        let allowed = |module| CORE.table.iter().find(|(name, _)| *name == module).unwrap().1;
        assert!(!allowed("wire").contains(&"call"));
        assert!(!allowed("call").contains(&"wire"));
    }

    #[test]
    fn heads_of_paths_and_groups() {
        assert_eq!(heads("leg::Format;"), ["leg"]);
        assert_eq!(heads("{audio::{self, frame::Rate}, id, leg as l};"), ["audio", "id", "leg"]);
        assert_eq!(heads("{\n    audio::x,\n};\nfn f() {}"), ["audio"]);
        assert_eq!(heads("*;"), ["*"]);
    }

    #[test]
    fn climbing_to_the_root_is_noticed() {
        assert_eq!(climbs("super::super::call::X", depth("wire/twilio.rs")).count(), 1);
        assert_eq!(climbs("super::Format", depth("wire/twilio.rs")).count(), 0);
        assert_eq!(climbs("super::call::X", depth("wire/mod.rs")).count(), 1);
    }
}
