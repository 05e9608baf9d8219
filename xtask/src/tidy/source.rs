//! Rules about single source files: size, names, attributes, leftovers, and paths that belong to other crates.

use crate::tidy::{Architecture, Problem, lexer::Split};

/// More than this does not fit one head; tests don't count.
const LINES_MAX: usize = 600;

/// Names that say nothing about the domain.
const NAMELESS: [&str; 7] = [
    "utils", "util", "common", "helpers", "helper", "misc", "manager",
];

/// Directories of files that hold tests alone.
const TEST_DIRECTORIES: [&str; 2] = ["tests", "benches"];

/// One source file of the crate `owner`.
#[derive(Debug)]
pub(super) struct Source<'a> {
    owner: &'a str,
    path: &'a str,
    text: &'a str,
    split: Split,
    production: String,
}

/// What one branch of a `use` brings in: the name in this file, and the whole path.
#[derive(Debug)]
struct Import {
    name: String,
    path: String,
}

impl<'a> Source<'a> {
    /// Reads `text` as the file `path`.
    pub(super) fn new(owner: &'a str, path: &'a str, text: &'a str) -> Self {
        let split = Split::of(text);
        let production = production(&split.code);
        Self {
            owner,
            path,
            text,
            split,
            production,
        }
    }

    /// Returns what is wrong with it.
    pub(super) fn problems(&self, architecture: &Architecture) -> Vec<Problem> {
        let mut problems = self.whole_file();
        problems.extend(self.names());
        problems.extend(self.attributes());
        problems.extend(self.leftovers());
        if !self.is_test() {
            problems.extend(self.foreign_paths(architecture));
        }
        problems
    }

    fn whole_file(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.text.starts_with("//!") {
            problems.push(Problem::new(
                self.path,
                "expected the file to begin with its `//!` doc",
            ));
        }
        let lines = self.production.lines().count();
        if !self.is_test() && lines > LINES_MAX {
            let what = format!("{lines} lines without tests; at most {LINES_MAX}");
            problems.push(Problem::new(self.path, what));
        }
        problems
    }

    fn names(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for name in self.path.trim_end_matches(".rs").split('/') {
            if NAMELESS.contains(&name) {
                problems.push(Problem::new(
                    self.path,
                    format!("`{name}` names nothing of the domain"),
                ));
            }
        }
        if self.path.ends_with("/mod.rs") {
            problems.push(Problem::new(
                self.path,
                "expected `name.rs` beside `name/`, not `mod.rs`",
            ));
        }
        for (index, line) in self.split.code.lines().enumerate() {
            let mut words = line.split(|c: char| !is_name(c));
            let module = words.find(|word| *word == "mod").and_then(|_| words.next());
            if let Some(name) = module.filter(|name| NAMELESS.contains(name)) {
                let what = format!("`{name}` names nothing of the domain");
                problems.push(Problem::at(self.path, index + 1, what));
            }
        }
        problems
    }

    fn attributes(&self) -> Vec<Problem> {
        let code = &self.split.code;
        let mut problems = Vec::new();
        for (start, _) in code.match_indices('#') {
            let Some(attribute) = code.get(start..).and_then(attribute) else {
                continue;
            };
            let words: Vec<&str> = attribute.split(|c: char| !is_name(c)).collect();
            let line = line_of(code, start);
            if words.contains(&"allow") {
                let what = "expected `#[expect(…, reason = \"…\")]` instead of `allow`";
                problems.push(Problem::at(self.path, line, what));
            }
            if words.contains(&"ignore") {
                let what = "an ignored test can't fail: run it or remove it";
                problems.push(Problem::at(self.path, line, what));
            }
        }
        problems
    }

    fn leftovers(&self) -> Vec<Problem> {
        let lines = self.split.comments.lines().enumerate();
        let is_left = |line: &str| {
            line.split(|c: char| !is_name(c))
                .any(|word| matches!(word, "TODO" | "FIXME" | "XXX"))
        };
        let left = lines.filter(|(_, line)| is_left(line));
        let what = "unfinished work belongs into an issue, not into a comment";
        left.map(|(index, _)| Problem::at(self.path, index + 1, what))
            .collect()
    }

    fn foreign_paths(&self, architecture: &Architecture) -> Vec<Problem> {
        let code = &self.production;
        let imports = imports(code);
        let forbidden: Vec<&str> = architecture.forbidden_paths(self.owner).collect();
        let mut problems = Vec::new();
        let imported = imports.iter().map(|import| import.path.clone());
        let named = imported.chain(paths(code).map(|path| resolve(path, &imports)));
        for path in named {
            if let Some(wanted) = forbidden.iter().find(|wanted| is_below(&path, wanted)) {
                let what = format!(
                    "ARCHITECTURE.md does not let `{}` use `{wanted}`",
                    self.owner
                );
                problems.push(Problem::new(self.path, what));
            }
        }
        problems.dedup();
        problems
    }

    fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        self.path.ends_with("/tests.rs") || parts.any(|part| TEST_DIRECTORIES.contains(&part))
    }
}

/// Returns the code without its modules of tests.
fn production(code: &str) -> String {
    let mut pieces = code.split("\n#[cfg(test)]");
    let mut production = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        let is_tests = piece.trim_start().starts_with("mod tests");
        production.push_str(if is_tests { after_item(piece) } else { piece });
    }
    production
}

/// Returns what follows the item at the beginning of `code`, which ends with a semicolon or its closing brace.
fn after_item(code: &str) -> &str {
    let mut depth = 0_u32;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth = depth.saturating_add(1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(c, '}' | ';') {
            return code.get(at + 1..).unwrap_or("");
        }
    }
    ""
}

/// Returns the attribute at the beginning of `code`, from `#` to its closing bracket.
fn attribute(code: &str) -> Option<&str> {
    let tail = code.strip_prefix('#')?;
    tail.strip_prefix('!').unwrap_or(tail).strip_prefix('[')?;
    let mut depth = 0_u32;
    for (at, c) in code.char_indices() {
        match c {
            '[' => depth = depth.saturating_add(1),
            ']' if depth == 1 => return code.get(..at),
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count() + 1
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns what the file's `use` lines bring in.
fn imports(code: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    for (start, _) in code.match_indices("use ") {
        let before = code
            .get(..start)
            .and_then(|before| before.lines().next_back())
            .unwrap_or("");
        let is_statement = before.trim().is_empty() || before.trim_start().starts_with("pub");
        let tree = code
            .get(start + "use ".len()..)
            .and_then(|rest| rest.split(';').next());
        if let Some(tree) = tree.filter(|_| is_statement) {
            flatten("", tree, &mut imports);
        }
    }
    imports
}

/// Adds each path of a `use` tree such as `std::{fmt, process::Command as C}`.
fn flatten(prefix: &str, tree: &str, imports: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some((head, body)) = tree.split_once('{') {
        let prefix = format!("{prefix}{}", head.trim());
        let body = body.trim_end().strip_suffix('}').unwrap_or(body);
        branches(body)
            .into_iter()
            .for_each(|branch| flatten(&prefix, branch, imports));
        return;
    }
    let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    let path = format!("{prefix}{}", path.trim());
    let path = path.strip_suffix("::self").unwrap_or(&path).to_owned();
    let own = path.rsplit("::").next().unwrap_or("");
    let name = if alias.is_empty() { own } else { alias.trim() };
    if !name.is_empty() {
        imports.push(Import {
            name: name.to_owned(),
            path,
        });
    }
}

/// Splits at the commas that stand in no inner braces.
fn branches(body: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    body.split(|c: char| {
        match c {
            '{' => depth = depth.saturating_add(1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

/// Returns each path of two or more names in the code.
fn paths(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split(|c: char| !is_name(c) && c != ':');
    words
        .map(|word| word.trim_matches(':'))
        .filter(|word| word.contains("::"))
}

/// Returns the whole path, where its first name was brought in by a `use`.
fn resolve(path: &str, imports: &[Import]) -> String {
    let (first, rest) = path.split_once("::").unwrap_or((path, ""));
    let import = imports.iter().find(|import| import.name == first);
    import.map_or_else(
        || path.to_owned(),
        |import| format!("{}::{rest}", import.path),
    )
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests;
