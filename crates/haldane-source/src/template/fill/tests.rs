//! Filling: whatever a name contains, the query around it stays the same.

use proptest::prelude::*;

use super::*;

fn fill_one(text: &str, value: &str) -> Result<String> {
    fill(
        text,
        Language::PromQl,
        &[("x".to_owned(), value.to_owned())].into(),
    )
}

/// A piece of PromQL as its lexer sees it.
#[derive(Debug, PartialEq)]
enum Token {
    Code(String),
    Text(String),
}

/// Reads PromQL: code and the values of its texts; escapes as Go reads them (`strutil.Unquote`).
fn lex(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut code = String::new();
    let mut chars = query.chars();
    while let Some(c) = chars.next() {
        if !matches!(c, '"' | '\'' | '`') {
            assert_ne!(c, '#', "no comment in these queries");
            code.push(c);
            continue;
        }
        tokens.push(Token::Code(std::mem::take(&mut code)));
        let mut text = String::new();
        loop {
            let d = chars.next().expect("a text that ends");
            if d == c {
                break;
            }
            if d != '\\' || c == '`' {
                assert!(c == '`' || d != '\n', "no line break in a quoted text");
                text.push(d);
                continue;
            }
            let digits = |chars: &mut std::str::Chars<'_>, count: usize| {
                let digits: String = chars.take(count).collect();
                char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap()
            };
            text.push(match chars.next().expect("an escape") {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '\\' => '\\',
                'u' => digits(&mut chars, 4),
                'x' => digits(&mut chars, 2),
                quote if quote == c => quote,
                other => panic!("{other:?} can't be escaped in {c}…{c}"),
            });
        }
        tokens.push(Token::Text(text));
    }
    tokens.push(Token::Code(code));
    tokens
}

/// Reads a regular expression that must be literal, and returns what it matches.
fn literal(regex: &str) -> String {
    let mut text = String::new();
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next().expect("something after a backslash");
                // RE2 takes a backslash before punctuation only.
                assert!(escaped.is_ascii_punctuation(), "\\{escaped}");
                text.push(escaped);
            }
            c if ".+*?()|[]{}^$".contains(c) => panic!("{c} has a meaning in {regex}"),
            c => text.push(c),
        }
    }
    text
}

fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\"",
        "'",
        "`",
        "\\",
        "\\\\",
        "\n",
        "\r",
        "\0",
        "\u{1b}",
        "{",
        "}",
        "{{",
        "}}",
        "{{x}}",
        "[",
        "]",
        "(",
        ")",
        "|",
        ".*",
        "+",
        "?",
        "^",
        "$",
        "-",
        ",",
        "=",
        "=~",
        "!~",
        "#",
        " or ",
        "\"} or vector(1) #",
        "ä",
        "日本",
        "a",
        "B7",
        "_",
        "/",
        "%",
        "\u{2028}",
    ]);
    prop::collection::vec(pieces, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_name_leaves_its_text(value in hostile()) {
        prop_assume!(value.len() <= VALUE_BYTES_MAX);
        for quote in ['"', '\''] {
            let q = quote;
            let query = format!("sum(a{{b={q}x-{{{{x}}}}{q},c=~{q}{{{{x}}}}.*{q},d!~{q}{{{{ x }}}}{q}}}) > 1");
            let filled = fill_one(&query, &value).unwrap();
            let tokens = lex(&filled);
            let codes: Vec<_> = tokens.iter().filter_map(|token| match token {
                Token::Code(code) => Some(code.as_str()),
                Token::Text(_) => None,
            }).collect();
            prop_assert_eq!(codes, ["sum(a{b=", ",c=~", ",d!~", "}) > 1"]);
            let texts: Vec<_> = tokens.iter().filter_map(|token| match token {
                Token::Text(text) => Some(text.as_str()),
                Token::Code(_) => None,
            }).collect();
            prop_assert_eq!(texts[0], format!("x-{value}"));
            prop_assert_eq!(literal(texts[1].strip_suffix(".*").unwrap()), value.as_str());
            prop_assert_eq!(literal(texts[2]), value.as_str());
        }
    }

    #[test]
    fn no_name_leaves_a_raw_text(value in hostile()) {
        prop_assume!(value.len() <= VALUE_BYTES_MAX);
        let filled = fill_one("a{b=`{{x}}`,c=~`{{x}}`}", &value);
        match filled {
            Ok(filled) => {
                let expected = [
                    Token::Code("a{b=".to_owned()),
                    Token::Text(value.clone()),
                    Token::Code(",c=~".to_owned()),
                    Token::Text(escape_regex(&value)),
                    Token::Code("}".to_owned()),
                ];
                prop_assert_eq!(lex(&filled), expected);
                prop_assert_eq!(literal(&escape_regex(&value)), value);
            }
            Err(_) => prop_assert!(value.contains('`')),
        }
    }

    #[test]
    fn outside_of_texts_only_words_are_taken(value in hostile()) {
        let is_word = value.chars().all(|c| c.is_ascii_alphanumeric() || "_.:".contains(c));
        prop_assert_eq!(fill_one("sum(a) by ({{x}})", &value).is_ok(), is_word);
        let other = fill("avg:a{b:{{x}}}", Language::Other, &[("x".to_owned(), value.clone())].into());
        if let Ok(query) = other {
            let is_harmless = |c: char| c.is_ascii_alphanumeric() || "_.:-{}".contains(c);
            prop_assert!(query.chars().all(is_harmless), "{}", query);
        }
    }
}

#[test]
fn the_place_decides() {
    let check = |text: &str, value: &str, expected: &str| {
        assert_eq!(fill_one(text, value).unwrap(), expected);
    };
    check("x[{{x}}]", "1m30s", "x[1m30s]");
    check("x{a=\"{{x}}\"}", "a.b", "x{a=\"a.b\"}");
    check("x{a=~\"{{x}}\"}", "a.b", "x{a=~\"a\\\\.b\"}");
    check("x{a =~ \"{{x}}\"}", "a.b", "x{a =~ \"a\\\\.b\"}");
    check("x{a=~`{{x}}`}", "a.b", "x{a=~`a\\.b`}");
    // A quote that is escaped does not end a text, and one after it does.
    check(
        "x{a=\"\\\"=~\",b=\"{{x}}\"}",
        "a.b",
        "x{a=\"\\\"=~\",b=\"a.b\"}",
    );
    check("x # it's\n[{{x}}]", "5m", "x # it's\n[5m]");
    // A value is not a template.
    check("x{a=\"{{x}}\"}", "{{x}}", "x{a=\"{{x}}\"}");
}

#[test]
fn what_can_not_be_filled_in_is_refused() {
    for (text, value) in [
        ("x{a=\"{{y}}\"}", "v"),
        ("x{a=\"{{x}}\"}", ""),
        ("x{a=\"{{x\"}", "v"),
        ("x # {{x}}", "v"),
        ("x[{{x}}]", "5m] or vector(1) #"),
        ("x[{{x}}]", "-5m"),
        ("x{a=\"{{x}}\"}", &"a".repeat(VALUE_BYTES_MAX + 1)),
    ] {
        assert!(fill_one(text, value).is_err(), "{text} {value}");
    }
}
