//! The signatures of Twilio's own libraries, and everything that must not pass for one.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
    published_known_answers: Vec<Published>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    method: String,
    auth_token: String,
    url: String,
    #[serde(default)]
    params: Vec<(String, String)>,
    body_as_received: Option<String>,
    algorithm: Option<String>,
    header_x_twilio_signature: String,
    valid: bool,
}

#[derive(Deserialize)]
struct Published {
    auth_token: String,
    string: String,
    signature: String,
}

/// Vectors whose verdict here is not that of Twilio's library for Python, and why.
const OURS: [(&str, &str); 4] = [
    ("44-quirk-wss-port-443-signed", "443 is the port of wss"),
    ("45-quirk-empty-query", "as Node: a bare question mark is part of the address"),
    ("46-quirk-ipv6-port", "as Node: the port stands behind the bracket"),
    ("47-quirk-userinfo-port", "as Node: the port stands behind the host"),
];

fn file() -> File {
    serde_json::from_str(include_str!("../../../../tests/vectors/twilio_signature.json")).unwrap()
}

fn signatures(token: &str) -> Signatures {
    Signatures::new(&Secret::new(token.to_owned()))
}

fn verdict(vector: &Vector) -> Result<(), Mismatch> {
    let shared = SharedKey { id: "K1".to_owned(), secret: Secret::new(vector.auth_token.clone()) };
    let settings = vector.algorithm.as_ref().map(|algorithm| match algorithm.as_str() {
        "HMAC_SHA256" => format!("key=K1,algorithm={algorithm}"),
        _ => format!("algorithm={algorithm}"),
    });
    let body = match &vector.body_as_received {
        Some(body) => Body::Raw(body.as_bytes()),
        None if vector.method == "POST" => Body::Form(&vector.params),
        None => Body::None,
    };
    let signature = Some(vector.header_x_twilio_signature.as_str());
    let claim = Claim { signature, settings: settings.as_deref() };
    signatures(&vector.auth_token).with_shared_key(&shared).check(claim, &vector.url, body)
}

#[test]
fn the_vectors_of_twilios_own_library_pass() {
    let vectors = file().vectors;
    assert_eq!(vectors.len(), 47);
    for vector in vectors {
        let ours = OURS.iter().any(|(name, _)| *name == vector.name);
        assert_eq!(verdict(&vector).is_ok(), vector.valid || ours, "{}", vector.name);
    }
}

#[test]
fn the_answers_that_twilio_has_published_are_ours() {
    for known in file().published_known_answers {
        let (url, fields) = known.string.split_at(known.string.find("CallSid").unwrap());
        // The fields are in order already, so one long name is signed like all of them.
        let fields = [(fields.to_owned(), String::new())];
        let signed = signatures(&known.auth_token).sign(url, Body::Form(&fields));
        assert_eq!(signed, known.signature);
    }
}

fn fields() -> Vec<(String, String)> {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    [("CallSid", "CA1"), ("From", "+15550100"), ("To", "+15550199")].map(pair).to_vec()
}

#[test]
fn whatever_is_changed_is_refused() {
    const URL: &str = "https://bot.example.com/twiml?line=2";
    let own = signatures("0123456789abcdef");
    let signed = own.sign(URL, Body::Form(&fields()));
    let check = |signature: &str, url: &str, body: Body<'_>| {
        own.check(Claim { signature: Some(signature), settings: None }, url, body)
    };
    assert_eq!(check(&signed, URL, Body::Form(&fields())), Ok(()));
    for url in [
        "http://bot.example.com/twiml?line=2",
        "https://bot.example.org/twiml?line=2",
        "https://bot.example.com/twiml/?line=2",
        "https://bot.example.com/twiml?line=3",
        "https://bot.example.com/twiml",
        "https://bot.example.com:8443/twiml?line=3",
        "wss://bot.example.com/twiml?line=2",
    ] {
        assert_eq!(check(&signed, url, Body::Form(&fields())), Err(Mismatch::Wrong), "{url}");
    }
    for index in 0..3 {
        let mut changed = fields();
        changed[index].1.push('0');
        assert_eq!(check(&signed, URL, Body::Form(&changed)), Err(Mismatch::Wrong));
        let mut less = fields();
        less.remove(index);
        assert_eq!(check(&signed, URL, Body::Form(&less)), Err(Mismatch::Wrong));
    }
    assert_eq!(check(&signed, URL, Body::None), Err(Mismatch::Wrong));
    for at in 0..signed.len() {
        let mut broken = signed.clone().into_bytes();
        broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
        let broken = String::from_utf8(broken).unwrap();
        assert_eq!(check(&broken, URL, Body::Form(&fields())), Err(Mismatch::Wrong), "{at}");
    }
    for broken in [&signed[..20], "?", "AAAA", &format!("{signed}AAAA")] {
        assert_eq!(check(broken, URL, Body::Form(&fields())), Err(Mismatch::Wrong));
    }
    for missing in [None, Some("")] {
        let claim = Claim { signature: missing, settings: None };
        assert_eq!(own.check(claim, URL, Body::Form(&fields())), Err(Mismatch::Missing));
    }
}

#[test]
fn a_shared_key_counts_only_where_it_is_configured() {
    let key = SharedKey { id: "K1".to_owned(), secret: Secret::new("shared".to_owned()) };
    let theirs = signatures("shared").sign("https://a.example/", Body::None);
    let check = |signatures: &Signatures, settings: &str| {
        let claim = Claim { signature: Some(&theirs), settings: Some(settings) };
        signatures.check(claim, "https://a.example/", Body::None)
    };
    let (with, without) = (signatures("token").with_shared_key(&key), signatures("token"));
    assert_eq!(check(&with, "key=K1,algorithm=HMAC_SHA1"), Ok(()));
    assert_eq!(check(&with, "key=K1, algorithm=HMAC_SHA256"), Err(Mismatch::Wrong));
    assert_eq!(check(&with, "key=K1,algorithm=MD5"), Err(Mismatch::UnknownKey));
    assert_eq!(check(&with, "key=K2,algorithm=HMAC_SHA1"), Err(Mismatch::UnknownKey));
    assert_eq!(check(&with, "algorithm=HMAC_SHA256"), Err(Mismatch::UnknownKey));
    assert_eq!(check(&without, "key=K1,algorithm=HMAC_SHA1"), Err(Mismatch::UnknownKey));
    assert_eq!(check(&without, ""), Err(Mismatch::Wrong), "signed with another key");
}

#[test]
fn a_key_is_not_printed() {
    assert_eq!(format!("{:?}", signatures("hunter2")), "Signatures(***)");
}
