//! The Twilio account: is it there, do its SID and token belong together, may it make calls?

use std::time::Duration;

use tokio::time::timeout;

use super::{Finding, numbers};
use crate::config::{Config, TwilioAccount};
use crate::telephony::twilio::rest::{Account, Problem, Rest, RestError};

/// Hexadecimal digits of an auth token.
const TOKEN_DIGITS: usize = 32;
/// How much longer Twilio may take than a server nearby.
const FAR: u32 = 2;

/// What there is to say about the account, and about its numbers.
pub(super) async fn examine(config: &Config, limit: Duration) -> (Vec<Finding>, Vec<Finding>) {
    let Some(account) = config.twilio.account() else {
        let without = vec![Finding::skipped("not looked at: that needs the Twilio account")];
        return (vec![not_configured(config)], without);
    };
    let limit = limit * FAR;
    let rest = match Rest::new(account.clone()) {
        Ok(rest) => rest,
        Err(error) => return (vec![failed(&account, &error)], Vec::new()),
    };
    let found = timeout(limit, rest.account()).await.unwrap_or_else(|_| Err(late(limit)));
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let skipped = Finding::skipped("not looked at, as Twilio does not let us in");
            return (vec![failed(&account, &error)], vec![skipped]);
        }
    };
    let numbers = timeout(limit, rest.numbers(None)).await.unwrap_or_else(|_| Err(late(limit)));
    let numbers = match numbers {
        Ok(numbers) => numbers::examine(config, &numbers),
        Err(error) => vec![failed(&account, &error)],
    };
    (of_account(&found), numbers)
}

fn not_configured(config: &Config) -> Finding {
    let what = match (&config.twilio.account_sid, &config.twilio.auth_token) {
        (None, Some(_)) => "TWILIO_ACCOUNT_SID is not set, so Twilio cannot be asked",
        (Some(_), None) => "TWILIO_AUTH_TOKEN is not set, so Twilio cannot be asked",
        _ => {
            "neither TWILIO_ACCOUNT_SID nor TWILIO_AUTH_TOKEN is set, so Twilio cannot be asked, \
             and only this machine can call"
        }
    };
    Finding::skipped(what)
}

fn late(limit: Duration) -> RestError {
    RestError::Unknown(format!("nothing within {} s", limit.as_secs()))
}

fn of_account(account: &Account) -> Vec<Finding> {
    let name = match account.friendly_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{} ({name})", account.sid),
        None => account.sid.clone(),
    };
    let mut findings = Vec::new();
    match account.status.as_deref().unwrap_or("active") {
        "active" => findings
            .push(Finding::ok(format!("{name} is active, and TWILIO_AUTH_TOKEN is its token"))),
        status => findings.push(Finding::failure(
            format!("{name} is {status}, so no call comes through"),
            "see what the Twilio console says on its first page: mostly the balance is used up",
        )),
    }
    if account.kind.as_deref() == Some("Trial") {
        findings.push(Finding::warning(
            "it is a trial account: calls come only from and go only to verified numbers, begin \
             with a notice, and end after 10 minutes",
            "verify the numbers that you try it with in the console, or upgrade the account",
        ));
    }
    findings
}

fn failed(account: &TwilioAccount, error: &RestError) -> Finding {
    let (sid, api) = (&account.sid, &account.api);
    match error {
        RestError::Unreachable(why) | RestError::Unknown(why) => Finding::failure(
            format!("Twilio's API at {api} does not answer ({why})"),
            "let this machine open https connections to it, and see twilio.api_url",
        ),
        RestError::Unreadable(why) => Finding::failure(
            format!("what answers at {api} is not Twilio's API ({why})"),
            "set twilio.api_url to https://api.twilio.com, or take away the proxy between",
        ),
        RestError::Refused(problem) => refused(account, sid, problem),
    }
}

fn refused(account: &TwilioAccount, sid: &str, problem: &Problem) -> Finding {
    let token = account.auth_token.expose();
    let is_token = token.len() == TOKEN_DIGITS && token.bytes().all(|it| it.is_ascii_hexdigit());
    match (problem.code, problem.status) {
        (20003, _) | (_, 401) if !is_token => Finding::failure(
            "Twilio refuses TWILIO_AUTH_TOKEN, which is no auth token (32 hexadecimal digits)",
            "copy the auth token from the console, below the account SID; the secret of an API \
             key will not do, as it signs no webhooks",
        ),
        (20003, _) | (_, 401) => Finding::failure(
            format!("Twilio refuses TWILIO_AUTH_TOKEN: it is not the token of {sid}"),
            "copy both from the same page of the console; a token that was rotated is void, and \
             a sub-account has a token of its own",
        ),
        (20404, _) | (_, 404) => Finding::failure(
            format!("Twilio knows no account {sid}, which TWILIO_ACCOUNT_SID names"),
            "copy it from the console; for another region set twilio.api_url",
        ),
        _ => Finding::failure(
            format!("Twilio refuses to show the account: {problem}"),
            "look the code up at https://www.twilio.com/docs/api/errors",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::doctor::State;

    fn account(token: &str) -> TwilioAccount {
        TwilioAccount {
            api: "https://api.twilio.com".parse().unwrap(),
            sid: "AC1".to_owned(),
            auth_token: Secret::new(token.to_owned()),
        }
    }

    fn refusal(token: &str, status: u16, code: u32) -> String {
        let problem = Problem { status, code, message: "no".to_owned() };
        let finding = failed(&account(token), &RestError::Refused(problem));
        assert!(!format!("{finding:?}").contains(token));
        finding.what
    }

    #[test]
    fn a_refusal_says_which_variable_is_wrong() {
        let token = "0123456789abcdef0123456789abcdef";
        assert!(refusal(token, 401, 20003).contains("is not the token of AC1"));
        assert!(refusal("SecretOfAnApiKey", 401, 20003).contains("is no auth token"));
        assert!(refusal(token, 404, 20404).contains("which TWILIO_ACCOUNT_SID names"));
    }

    #[test]
    fn an_account_that_is_suspended_or_on_trial_is_named() {
        let account = |status: &str, kind: &str| Account {
            sid: "AC1".to_owned(),
            friendly_name: None,
            status: Some(status.to_owned()),
            kind: Some(kind.to_owned()),
        };
        let states = |account| of_account(&account).iter().map(|it| it.state).collect::<Vec<_>>();
        assert_eq!(states(account("active", "Full")), [State::Ok]);
        assert_eq!(states(account("active", "Trial")), [State::Ok, State::Warning]);
        assert_eq!(states(account("suspended", "Full")), [State::Failure]);
    }
}
