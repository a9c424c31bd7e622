//! Bad samples, each of which tidy must name, and good ones that it must pass.

use super::*;

const HEADER: &str = "//! Does one thing.\n";

/// What tidy says of a project that has only these files.
fn findings(files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    check(&Tree::new(files.collect())).iter().map(Finding::to_string).collect()
}

/// What tidy says of one Rust file below a good header.
fn findings_in(path: &str, code: &str) -> Vec<String> {
    findings(&[(path, &format!("{HEADER}{code}"))])
}

#[track_caller]
fn assert_found(found: &[String], place: &str, part: &str) {
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(place) && found[0].contains(part), "{found:#?}");
}

#[test]
fn a_good_file_passes() {
    let code = "use crate::audio::Frame;\nuse super::x;\nfn f() -> &'static str { \"todo!\" }\n";
    assert_eq!(findings_in("crates/core/src/leg.rs", code), [""; 0]);
}

#[test]
fn call_must_not_import_wire() {
    let found = findings(&[
        ("crates/core/src/call/mod.rs", "//! A.\nuse crate::leg::X;\nuse crate::{wire::twilio};\n"),
        ("crates/core/src/wire/mod.rs", "//! B.\n"),
    ]);
    assert_found(&found, "crates/core/src/call/mod.rs:3:", "`call` must not import `wire`");
}

#[test]
fn climbing_by_super_does_not_hide_an_import() {
    let found = findings(&[
        ("crates/core/src/wire/twilio.rs", "//! A.\nfn f() -> super::super::call::X {}\n"),
        ("crates/core/src/call.rs", "//! B.\n"),
    ]);
    assert_found(&found, "crates/core/src/wire/twilio.rs:2:", "`wire` must not import `call`");
}

#[test]
fn the_crates_face_does_not_hide_an_import() {
    let found = findings_in("crates/core/src/wire/twilio.rs", "use crate::Call;\n");
    assert_found(&found, "crates/core/src/wire/twilio.rs:2:", "through the crate's face");
}

#[test]
fn what_the_shells_face_gives_out_counts_as_its_module() {
    let code = "use voice_bot::Server;\nuse voice_bot::core::call::Call;\n";
    assert_eq!(findings_in("src/cli/serve.rs", code), [""; 0]);
    let found = findings(&[
        ("src/engine/x.rs", "//! A.\nuse crate::Server;\n"),
        ("src/serve.rs", "//! B.\n"),
    ]);
    assert_found(&found, "src/engine/x.rs:2:", "`engine` must not import `serve`");
}

#[test]
fn the_shells_engine_must_not_import_telephony() {
    let found = findings(&[
        ("src/engine/demo.rs", "//! A.\nuse crate::{\n    port::Port,\n    telephony::X,\n};\n"),
        ("src/telephony/mod.rs", "//! B.\n"),
        ("src/port.rs", "//! C.\n"),
    ]);
    assert_found(&found, "src/engine/demo.rs:2:", "`engine` must not import `telephony`");
}

#[test]
fn a_binary_imports_its_library_by_the_same_table() {
    let found = findings(&[
        ("src/cli/run.rs", "//! A.\nuse voice_bot::driver::Driver;\nuse voice_bot_core::call;\n"),
        ("src/driver.rs", "//! B.\n"),
    ]);
    assert_found(&found, "src/cli/run.rs:2:", "`cli` must not import `driver`");
}

#[test]
fn tests_may_import_what_they_like() {
    let code = "#[cfg(test)]\nmod tests {\n    use crate::call::X;\n    fn f() { a.unwrap() }\n}\n";
    assert_eq!(findings_in("crates/core/src/wire/twilio.rs", code), [""; 0]);
}

#[test]
fn a_module_that_the_table_does_not_know_is_named() {
    assert_found(&findings_in("src/manager.rs", ""), "src/manager.rs:1:", "`manager` is not in");
}

#[test]
fn the_core_must_not_wait_read_clocks_or_hash() {
    for code in ["async fn f() {}", "use tokio::x;", "let t = Instant::now();", "HashMap::new()"] {
        assert_found(
            &findings_in("crates/core/src/id.rs", code),
            "crates/core/src/id.rs:2:",
            "ban",
        );
        assert_eq!(findings_in("src/port.rs", code), [""; 0]);
    }
}

#[test]
fn a_long_function_is_named_and_one_of_the_limit_is_not() {
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    x();\n".repeat(lines - 2));
    assert_eq!(findings_in("src/port.rs", &function(70)), [""; 0]);
    let found = findings_in("src/port.rs", &function(71));
    assert_found(&found, "src/port.rs:2:", "function `f` has 71 lines");
}

#[test]
fn a_long_file_is_named_without_counting_its_tests() {
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(300));
    let code = |lines: usize| format!("{}{tests}", "static A: u8 = 0;\n".repeat(lines));
    assert_eq!(findings_in("src/port.rs", &code(399)), [""; 0]);
    assert_found(&findings_in("src/port.rs", &code(400)), "src/port.rs:1:", "401 lines");
}

#[test]
fn a_test_module_in_its_own_file_has_no_limit() {
    let long = format!("{HEADER}{}", "x.unwrap();\n".repeat(500));
    let parent = "//! A.\n#[cfg(test)]\nmod property;\n";
    let found = findings(&[("src/port.rs", parent), ("src/port/property.rs", &long)]);
    assert_eq!(found, [""; 0]);
    assert_eq!(findings(&[("src/port/tests.rs", &long)]), [""; 0]);
}

#[test]
fn a_wide_line_is_named_in_tests_too() {
    let wide = format!("#[cfg(test)]\nmod t {{\n// {}\n}}\n", "é".repeat(98));
    assert_found(&findings_in("src/port.rs", &wide), "src/port.rs:4:", "100 columns");
    let link = format!("// https://example.com/{}\n", "a".repeat(98));
    assert_eq!(findings_in("src/port.rs", &link), [""; 0]);
}

#[test]
fn a_missing_or_long_header_is_named() {
    assert_found(&findings(&[("src/port.rs", "fn f() {}\n")]), "src/port.rs:1:", "must open with");
    let long = HEADER.repeat(4);
    assert_found(&findings(&[("src/port.rs", &long)]), "src/port.rs:1:", "has 4 lines");
    assert_eq!(findings(&[("src/lib.rs", &long)]), [""; 0]);
}

#[test]
fn unfinished_code_and_bare_unwraps_are_named() {
    for code in ["todo!()", "unimplemented!()", "x.unwrap();", "#[allow(dead_code)]"] {
        assert_found(&findings_in("src/port.rs", code), "src/port.rs:2:", "must not stand here");
    }
    assert_eq!(findings_in("src/port.rs", "x.unwrap_or(1);\n// todo! and .unwrap()\n"), [""; 0]);
}

#[test]
fn paths_and_hosts_of_one_machine_are_named_in_every_file() {
    for word in [concat!("/roo", "t/x"), concat!("/wor", "k/x"), concat!("pypi.", "org/simple")] {
        assert_found(&findings(&[("README.md", word)]), "README.md:1:", "must not stand here");
        let code = format!("// {word}\n");
        assert_found(&findings_in("src/port.rs", &code), "src/port.rs:2:", "must not stand here");
    }
}
