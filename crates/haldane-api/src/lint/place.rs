//! From the path of a remark to the line and column of the key.

use std::collections::BTreeMap;

use super::{Finding, Remark};
use crate::tree::{Kind, Mark, Node, shorten};

/// For each rollout by its path the paths of its steps as they were written: the plan has more of them than the text.
pub(crate) type StepPlaces = BTreeMap<String, Vec<String>>;

/// Where things stand in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// The whole of it.
    pub root: &'a Node,
    /// The steps of its rollouts.
    pub steps: &'a StepPlaces,
}

impl Places<'_> {
    /// Returns the remark as a finding; what is not in the text has the place of what would hold it.
    pub(super) fn place(&self, remark: Remark) -> Finding {
        let (mark, path) = self.find(&remark.path);
        Finding {
            rule: remark.rule,
            line: mark.line,
            column: mark.column,
            path,
            reason: remark.reason,
            fix: remark.fix,
            edit: None,
        }
    }

    fn find(&self, path: &str) -> (Mark, String) {
        let path = self.written(path).unwrap_or_else(|| path.to_owned());
        (locate(self.root, &path), path)
    }

    /// Returns the path in the text of what is below a step of a plan.
    fn written(&self, path: &str) -> Option<String> {
        let (rollout, rest) = path.split_once(".steps[")?;
        let (index, rest) = rest.split_once(']')?;
        let steps = self.steps.get(rollout);
        let steps = steps.or_else(|| self.steps.get(&format!("{rollout}.preset")))?;
        let written = steps.get(index.parse::<usize>().ok()?)?;
        // The path of a step that is a map ends with what it does: `steps[1].analysis`.
        let does = written.rsplit('.').next().unwrap_or_default();
        let below = rest
            .strip_prefix('.')
            .and_then(|rest| rest.strip_prefix(does));
        Some(format!("{written}{}", below.unwrap_or(rest)))
    }
}

/// Returns the place of the deepest key on the path that the text has.
fn locate(root: &Node, path: &str) -> Mark {
    let (mut here, mut mark) = (root, root.mark);
    for part in path.split('.').flat_map(|part| part.split('[')) {
        let part = part.trim_end_matches(']');
        let next = match &here.kind {
            Kind::Map(entries) => entries
                .iter()
                .find(|entry| shorten(&entry.key) == part)
                .map(|entry| (&entry.value, entry.mark)),
            Kind::List(items) => part
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get(index))
                .map(|item| (item, item.mark)),
            Kind::Null | Kind::Text(_) | Kind::Broken => None,
        };
        let Some(next) = next else {
            break;
        };
        (here, mark) = next;
    }
    mark
}
