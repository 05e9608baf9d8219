//! Splits Rust source into code and comments, so that a rule about code isn't fooled by a text that speaks about code.

/// One source file, twice: each character that doesn't belong is a blank, so that lines stay where they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// The code, without comments and without what stands in texts.
    pub code: String,
    /// The comments alone.
    pub comments: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Split {
    /// Splits `text`; what isn't valid Rust gives some split, too.
    pub(super) fn of(text: &str) -> Self {
        let mut split = Self::default();
        let (mut rest, mut last) = (text, ' ');
        while !rest.is_empty() {
            let (kind, length) = token(rest, last);
            let (token, tail) = rest.split_at(length.min(rest.len()));
            split.push(kind, token);
            last = token.chars().next_back().unwrap_or(' ');
            rest = tail;
        }
        split
    }

    fn push(&mut self, kind: Kind, token: &str) {
        for c in token.chars() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            self.code.push(if kind == Kind::Code { c } else { blank });
            self.comments
                .push(if kind == Kind::Comment { c } else { blank });
        }
    }
}

/// Returns the kind and the length in bytes of the next token; code goes by single characters.
fn token(rest: &str, last: char) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(rest));
    }
    if rest.starts_with('"') {
        return (Kind::Literal, quoted(rest, '"'));
    }
    if let Some(length) = raw_string(rest, last).or_else(|| character(rest)) {
        return (Kind::Literal, length);
    }
    (Kind::Code, rest.chars().next().map_or(1, char::len_utf8))
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        let length = if tail.starts_with("/*") {
            depth = depth.saturating_add(1);
            2
        } else if tail.starts_with("*/") {
            depth = depth.saturating_sub(1);
            2
        } else {
            tail.chars().next().map_or(1, char::len_utf8)
        };
        at += length;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of a text in `quote`s, up to the first one that isn't escaped.
fn quoted(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + c.len_utf8();
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    rest.len()
}

/// The length of `r"…"`, `r#"…"#` and so on; an `r` that ends a name begins none.
fn raw_string(rest: &str, last: char) -> Option<usize> {
    if last.is_alphanumeric() && !matches!(last, 'b' | 'c') {
        return None;
    }
    let tail = rest.strip_prefix('r')?;
    let body = tail.trim_start_matches('#');
    let hashes = "#".repeat(tail.len() - body.len());
    let body = body.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + length)
}

/// The length of `'x'` or `'\n'`; a lifetime is code.
fn character(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix('\'')?;
    let first = tail.chars().next()?;
    if first == '\\' {
        return Some(quoted(rest, '\''));
    }
    let after = tail.get(first.len_utf8()..)?;
    after.starts_with('\'').then_some(first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str, comments: &str) {
        let split = Split::of(text);
        assert_eq!(
            split.code.split_whitespace().collect::<Vec<_>>().join(" "),
            code,
            "{text}"
        );
        assert_eq!(split.comments.trim(), comments, "{text}");
        assert_eq!(split.code.lines().count(), text.lines().count(), "{text}");
    }

    #[test]
    fn texts_and_comments_are_no_code() {
        check("a(); // b()\nc();", "a(); c();", "// b()");
        check("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */");
        check(r#"a("b // \" c") d"#, "a( ) d", "");
        check(r##"a(r#"b " // c"#) d"##, "a( ) d", "");
        check("a(b\"c\", br\"d\\\") e", "a(b , b ) e", "");
        check("\"a\n// b\nc\" d", "d", "");
    }

    #[test]
    fn a_quote_is_a_character_or_a_lifetime() {
        check(r#"a('"') b"#, "a( ) b", "");
        check(r"a('\'') b", "a( ) b", "");
        check(
            "fn a<'b>(c: &'b str) {} // 'd'",
            "fn a<'b>(c: &'b str) {}",
            "// 'd'",
        );
        check("a('ü') b", "a( ) b", "");
    }

    #[test]
    fn a_name_that_ends_with_r_begins_no_text() {
        check("for r in other {} r#type", "for r in other {} r#type", "");
    }

    #[test]
    fn what_never_ends_ends_with_the_file() {
        for text in ["\"a", "/* a", "r#\"a", "'\\", "'", "r#", "/*/"] {
            Split::of(text);
        }
    }
}
