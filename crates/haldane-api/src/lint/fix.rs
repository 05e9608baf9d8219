//! Mending a text where that is plain and safe: nothing that works already is changed, and comments stay.

use super::Finding;

/// One change of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters; that behind the last one is the line's end.
    pub column: usize,
    /// How many characters are taken out there.
    pub remove: usize,
    /// What is put in their place.
    pub insert: String,
}

/// Returns the text with the edits of the findings.
#[must_use]
pub fn fixed(text: &str, findings: &[Finding]) -> String {
    let mut edits: Vec<&Edit> = findings
        .iter()
        .filter_map(|one| one.edit.as_ref())
        .collect();
    // From the end, so that what is still to come keeps its place.
    edits.sort_by_key(|edit| (edit.line, edit.column));
    edits.dedup();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for edit in edits.into_iter().rev() {
        if let Some(line) = lines.get_mut(edit.line.saturating_sub(1)) {
            *line = edited(line, edit);
        }
    }
    lines.concat()
}

/// Returns an edit as it is done to the text; `None` where it does not fit: a new line belongs behind the end of one.
pub(super) fn settled(text: &str, edit: Edit) -> Option<Edit> {
    if !edit.insert.starts_with('\n') {
        return Some(edit);
    }
    let line = text.lines().nth(edit.line.saturating_sub(1))?;
    let rest: String = line.chars().skip(edit.column.saturating_sub(1)).collect();
    let is_end =
        rest.trim().is_empty() || rest.starts_with(' ') && rest.trim_start().starts_with('#');
    is_end.then(|| Edit {
        column: line.chars().count().saturating_add(1),
        ..edit
    })
}

fn edited(line: &str, edit: &Edit) -> String {
    let body = line.trim_end_matches(['\n', '\r']);
    let ending = line.get(body.len()..).unwrap_or_default();
    let before = edit.column.saturating_sub(1);
    let head = body.chars().take(before);
    let tail = body.chars().skip(before.saturating_add(edit.remove));
    let middle = edit.insert.chars();
    let mut line: String = head.chain(middle).chain(tail).collect();
    line.push_str(ending);
    line
}
