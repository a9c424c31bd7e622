//! Where the account's numbers go: each should ask this server what to do with a call.

use url::Url;

use super::Finding;
use crate::config::Config;
use crate::telephony::twilio::rest::PhoneNumber;

/// More numbers than this are not shown one by one.
const SHOWN: usize = 20;

/// What there is to say about those of the account's numbers that matter here.
pub(super) fn examine(config: &Config, all: &[PhoneNumber]) -> Vec<Finding> {
    let Some(base) = &config.server.public_url else {
        return vec![Finding::skipped("not looked at: server.public_url is not set")];
    };
    let webhook = base.join("twiml").unwrap_or_else(|_| base.clone());
    let answered: Vec<&str> = config.personas.numbers().map(|(number, _)| number).collect();
    let mut findings = Vec::new();
    for name in &answered {
        match all.iter().find(|number| number.phone_number == *name) {
            Some(number) => findings.push(of_number(number, &webhook)),
            None => findings.push(Finding::warning(
                format!("{name} of personas.numbers is no number of this account"),
                "correct it; `voice-bot number list` shows the account's numbers",
            )),
        }
    }
    let others = all.iter().filter(|number| !answered.contains(&number.phone_number.as_str()));
    let others: Vec<&PhoneNumber> = others.collect();
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|number| comes_here(number, &webhook));
    let is_any_here = !here.is_empty() || !answered.is_empty();
    findings.extend(here.iter().take(SHOWN).map(|number| of_number(number, &webhook)));
    if all.is_empty() {
        findings.push(Finding::warning(
            "the account has no number, so nobody can call it",
            "buy one in the Twilio console: Phone Numbers, Manage, Buy a number",
        ));
    } else if is_any_here || elsewhere.len() > SHOWN {
        findings.extend(the_rest(&elsewhere, is_any_here));
    } else {
        findings.extend(elsewhere.iter().map(|number| of_number(number, &webhook)));
    }
    findings.extend(caller(config, all));
    findings
}

/// The number that calls come from.
fn caller(config: &Config, all: &[PhoneNumber]) -> Option<Finding> {
    let from = config.outbound.from.as_deref()?;
    if all.iter().any(|number| number.phone_number == from) {
        return Some(Finding::ok(format!("{from}, which calls come from, is the account's")));
    }
    Some(Finding::warning(
        format!("{from} of outbound.from is no number of this account"),
        "correct it, unless it is a verified caller ID of the account",
    ))
}

/// Numbers that belong to something else, or should not.
fn the_rest(elsewhere: &[&PhoneNumber], is_any_here: bool) -> Option<Finding> {
    let count = elsewhere.len();
    match (count, is_any_here) {
        (0, _) => None,
        (_, true) => Some(Finding::skipped(format!(
            "{count} more of the account go elsewhere; `voice-bot number list` shows them"
        ))),
        (_, false) => Some(Finding::failure(
            format!("none of the account's {count} numbers comes here"),
            "point one here: `voice-bot number set +1… --yes`",
        )),
    }
}

fn comes_here(number: &PhoneNumber, webhook: &Url) -> bool {
    let url = asked(number);
    url.is_some_and(|url| url.host() == webhook.host())
}

fn asked(number: &PhoneNumber) -> Option<Url> {
    Url::parse(number.voice_url.as_deref()?.trim()).ok()
}

fn set(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn of_number(number: &PhoneNumber, webhook: &Url) -> Finding {
    let name = &number.phone_number;
    let here = format!("`voice-bot number set {name} --yes`");
    let failure = |what: String| Finding::failure(format!("{name} {what}"), here.clone());
    for (what, sid) in
        [("SIP trunk", &number.trunk_sid), ("application", &number.voice_application_sid)]
    {
        if let Some(sid) = set(sid) {
            let what = format!("{name} goes to {what} {sid}, which beats its webhook");
            let fix = format!(
                "in the console, under the number's voice configuration, choose Webhook in its \
                 place; then {here}"
            );
            return Finding::failure(what, fix);
        }
    }
    let Some(given) = set(&number.voice_url) else {
        return failure("goes nowhere: it has no webhook".to_owned());
    };
    let Some(url) = asked(number) else {
        return failure(format!("asks {given:?}, which is no address"));
    };
    if let Some(difference) = difference(&url, webhook) {
        return failure(format!("asks {given}, not {webhook}: {difference}"));
    }
    if number.voice_method.as_deref().is_some_and(|method| method != "POST") {
        let what = format!("{name} asks {webhook} by GET, so all it says stands in the query");
        return Finding::warning(what, format!("let it POST: {here}"));
    }
    let fallback = match set(&number.voice_fallback_url) {
        Some(url) => format!("if that does not answer, {url}"),
        None => "and nothing if that does not answer (`number set --fallback URL`)".to_owned(),
    };
    Finding::ok(format!("{name} asks {webhook}, {fallback}"))
}

/// In what the address that a number asks differs from the one that it should.
fn difference(given: &Url, wanted: &Url) -> Option<String> {
    if given.scheme() != wanted.scheme() {
        return Some(format!("it says {}:// in place of {}://", given.scheme(), wanted.scheme()));
    }
    if given.host() != wanted.host() {
        return Some("it is another host, as an old tunnel's".to_owned());
    }
    if given.port_or_known_default() != wanted.port_or_known_default() {
        return Some("it is another port".to_owned());
    }
    if given.path() != wanted.path() {
        return Some(format!("the path is {}, not {}", given.path(), wanted.path()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;
    use crate::doctor::State;

    fn number(voice_url: &str, change: impl FnOnce(&mut PhoneNumber)) -> PhoneNumber {
        let json = serde_json::json!({
            "sid": "PN1", "phone_number": "+15550100", "voice_url": voice_url,
            "voice_method": "POST", "trunk_sid": null, "voice_application_sid": "",
        });
        let mut number = serde_json::from_value(json).unwrap();
        change(&mut number);
        number
    }

    fn found(number: PhoneNumber) -> Finding {
        let webhook = "https://bot.example.com/twiml".parse().unwrap();
        of_number(&number, &webhook)
    }

    #[test]
    fn each_way_to_go_astray_is_named() {
        for (url, why) in [
            ("", "it has no webhook"),
            ("bot", "is no address"),
            ("http://bot.example.com/twiml", "http:// in place of https://"),
            ("https://old.ngrok.app/twiml", "another host"),
            ("https://bot.example.com:8443/twiml", "another port"),
            ("https://bot.example.com/twiml/", "the path is /twiml/, not /twiml"),
        ] {
            let finding = found(number(url, |_| {}));
            assert_eq!(finding.state, State::Failure);
            assert!(finding.what.contains(why), "{}", finding.what);
            assert!(finding.fix.unwrap().contains("number set +15550100 --yes"));
        }
        let right = "https://bot.example.com:443/twiml#rc=2";
        assert_eq!(found(number(right, |_| {})).state, State::Ok);
        let by_get = number(right, |number| number.voice_method = Some("GET".to_owned()));
        assert_eq!(found(by_get).state, State::Warning);
        let trunk = number(right, |number| number.trunk_sid = Some("TK1".to_owned()));
        assert!(found(trunk).what.contains("SIP trunk TK1"));
        let application = number(right, |it| it.voice_application_sid = Some("AP1".to_owned()));
        assert!(found(application).what.contains("application AP1"));
    }

    #[test]
    fn numbers_with_a_persona_must_come_here_and_be_the_accounts() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[server]\npublic_url = \"https://bot.example.com\"\n[outbound]\nfrom = \
                    \"+15550109\"\n[personas.numbers]\n\"+15550100\" = \"assistant\"\n\
                    \"+15550101\" = \"assistant\"\n";
        std::fs::write(folder.path().join("voice-bot.toml"), text).unwrap();
        let env = |name: &str| (name == "TWILIO_AUTH_TOKEN").then(|| "x".to_owned());
        let config = Config::load_from(folder.path(), &Flags::default(), &env).unwrap();
        let findings = examine(&config, &[number("https://old.example/twiml", |_| {})]);
        let told: Vec<_> = findings.iter().map(|it| (it.state, it.what.as_str())).collect();
        let [(State::Failure, elsewhere), (State::Warning, unknown), (State::Warning, from)] =
            told[..]
        else {
            panic!("{told:?}");
        };
        assert!(elsewhere.starts_with("+15550100 asks https://old.example/twiml"), "{elsewhere}");
        assert!(unknown.starts_with("+15550101 of personas.numbers is no number"), "{unknown}");
        assert!(from.starts_with("+15550109 of outbound.from is no number"), "{from}");
    }

    #[test]
    fn numbers_of_other_programs_are_left_alone_once_one_comes_here() {
        let mut config = Config::default();
        config.server.public_url = Some("https://bot.example.com".parse().unwrap());
        let here = number("https://bot.example.com/twiml", |_| {});
        let other = number("https://other.example", |it| it.phone_number = "+15550101".to_owned());
        let states = |all: &[PhoneNumber]| {
            examine(&config, all).into_iter().map(|it| it.state).collect::<Vec<_>>()
        };
        assert_eq!(states(&[here, other.clone()]), [State::Ok, State::Skipped]);
        assert_eq!(states(std::slice::from_ref(&other)), [State::Failure]);
        assert_eq!(states(&vec![other; 30]), [State::Failure]);
        assert_eq!(states(&[]), [State::Warning]);
    }
}
