//! What the writer writes, to the letter.

use super::*;

fn body(twiml: &Twiml) -> String {
    let xml = twiml.to_xml();
    let open = r#"<?xml version="1.0" encoding="UTF-8"?><Response>"#;
    xml.strip_prefix(open).unwrap().strip_suffix("</Response>").unwrap().to_owned()
}

#[test]
fn a_bot_is_connected_with_its_parameters() {
    let stream = Stream::new("wss://bot.example.com/twilio/stream")
        .track(Track::Inbound)
        .parameter("persona", "front desk")
        .parameter("token", "t0k3n");
    let twiml = Twiml::new().connect(Connect::new(stream).action("/after").method(Method::Post));
    assert_eq!(
        body(&twiml),
        concat!(
            r#"<Connect action="/after" method="POST">"#,
            r#"<Stream url="wss://bot.example.com/twilio/stream" track="inbound_track">"#,
            r#"<Parameter name="persona" value="front desk"/>"#,
            r#"<Parameter name="token" value="t0k3n"/>"#,
            "</Stream></Connect>",
        )
    );
}

#[test]
fn verbs_follow_in_order() {
    let twiml = Twiml::new()
        .say("One moment.")
        .pause(2)
        .play(Play::url("https://example.com/a.mp3").repeat(1))
        .dial(Dial::nouns().timeout(20).or_number(Number::new("+15550100")))
        .reject(RejectReason::Busy)
        .hangup();
    assert_eq!(
        body(&twiml),
        concat!(
            r#"<Say>One moment.</Say><Pause length="2"/>"#,
            r#"<Play loop="1">https://example.com/a.mp3</Play>"#,
            r#"<Dial timeout="20"><Number>+15550100</Number></Dial>"#,
            r#"<Reject reason="busy"/><Hangup/>"#,
        )
    );
}

#[test]
fn an_empty_document_is_still_a_response() {
    let xml = Twiml::new().to_xml();
    assert_eq!(xml, r#"<?xml version="1.0" encoding="UTF-8"?><Response/>"#);
}

#[test]
fn markup_is_escaped_and_forbidden_characters_go() {
    let text = "a<b>&\"c'\u{0}\u{1b}\u{fffe}\u{1f600}\r\n\t";
    let twiml = Twiml::new().say(Say::new(text).voice(text));
    assert_eq!(
        body(&twiml),
        "<Say voice=\"a&lt;b&gt;&amp;&quot;c'\u{1f600}&#13;&#10;&#9;\">\
         a&lt;b&gt;&amp;\"c'\u{1f600}&#13;\n\t</Say>"
    );
}

#[test]
fn an_attribute_set_twice_is_written_once() {
    let twiml = Twiml::new().redirect(Redirect::new("/x").method(Method::Get).method(Method::Post));
    assert_eq!(body(&twiml), r#"<Redirect method="POST">/x</Redirect>"#);
}
