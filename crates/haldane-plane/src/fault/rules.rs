//! The rules that stand, and which of them a request meets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::fault::{ApiRequest, Fault, Rule, RuleId, RuleReport};

/// A test that makes more rules than this has lost count.
const RULES_MAX: usize = 256;

/// The rules that stand, shared by all connections of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    rules: BTreeMap<RuleId, Standing>,
    next: u64,
}

#[derive(Debug)]
struct Standing {
    rule: Rule,
    seen: u64,
    hits: u64,
}

/// A fault that happens to a request, and the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub id: RuleId,
    pub fault: Fault,
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Adds a rule behind all others, unless there are too many.
    pub(crate) fn add(&self, rule: Rule) -> Option<RuleId> {
        let mut state = self.state();
        if state.rules.len() >= RULES_MAX {
            return None;
        }
        state.next = state.next.saturating_add(1);
        let id = RuleId(state.next);
        let standing = Standing {
            rule,
            seen: 0,
            hits: 0,
        };
        state.rules.insert(id, standing);
        drop(state);
        self.changed.send_replace(());
        Some(id)
    }

    /// Takes a rule away and returns what became of it, if it stood.
    pub(crate) fn remove(&self, id: RuleId) -> Option<RuleReport> {
        let standing = self.state().rules.remove(&id)?;
        self.changed.send_replace(());
        Some(standing.report(id))
    }

    pub(crate) fn reports(&self) -> Vec<RuleReport> {
        let state = self.state();
        state
            .rules
            .iter()
            .map(|(id, standing)| standing.report(*id))
            .collect()
    }

    /// Returns what happens to this request: what the first rule says that it meets and that still has to happen.
    pub(crate) fn meet(&self, req: &ApiRequest) -> Option<Hit> {
        let mut state = self.state();
        let rules = state.rules.iter_mut();
        let mut met =
            rules.filter(|(_, it)| !it.rule.fault.is_of_open_watch() && it.rule.matches(req));
        met.find_map(|(id, standing)| standing.happens().then(|| standing.hit(*id)))
    }

    /// Returns what happens to this watch while it is open. A rule counts it once: those in `met` have done so.
    pub(crate) fn meet_open(&self, req: &ApiRequest, met: &mut BTreeSet<RuleId>) -> Option<Hit> {
        let mut state = self.state();
        let rules = state.rules.iter_mut();
        let mut new =
            rules.filter(|(_, it)| it.rule.fault.is_of_open_watch() && it.rule.matches(req));
        new.find_map(|(id, standing)| {
            (met.insert(*id) && standing.happens()).then(|| standing.hit(*id))
        })
    }

    /// Whether a rule still stands.
    pub(crate) fn stands(&self, id: RuleId) -> bool {
        self.state().rules.contains_key(&id)
    }

    /// Returns a receiver that learns of each change of the rules.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until a rule is taken away.
    pub(crate) async fn gone(&self, id: RuleId) {
        let mut changed = self.subscribe();
        // The sender lives in `self`.
        while self.stands(id) && changed.changed().await.is_ok() {}
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn happens(&mut self) -> bool {
        self.seen = self.seen.saturating_add(1);
        let is_due = self.seen > self.rule.skip;
        let is_left = self.rule.times.is_none_or(|times| self.hits < times);
        if is_due && is_left {
            self.hits = self.hits.saturating_add(1);
        }
        is_due && is_left
    }

    fn hit(&self, id: RuleId) -> Hit {
        Hit {
            id,
            fault: self.rule.fault,
        }
    }

    fn report(&self, id: RuleId) -> RuleReport {
        RuleReport {
            id,
            rule: self.rule.clone(),
            hits: self.hits,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::fault::{Matcher, Refusal, Verb};

    const CONFLICT: Fault = Fault::Refuse(Refusal::Conflict);

    fn request(method: &Method, uri: &str) -> ApiRequest {
        ApiRequest::new(method, &uri.parse().unwrap(), "haldane/0.1.0")
    }

    fn patch() -> ApiRequest {
        request(
            &Method::PATCH,
            "/apis/apps/v1/namespaces/shop/deployments/web",
        )
    }

    fn faults(rules: &Rules, req: &ApiRequest, count: usize) -> Vec<Option<Fault>> {
        (0..count)
            .map(|_| rules.meet(req).map(|hit| hit.fault))
            .collect()
    }

    #[test]
    fn a_rule_happens_as_often_as_it_says() {
        let rules = Rules::new();
        let rule = Rule {
            skip: 1,
            times: Some(2),
            ..Rule::always(CONFLICT, Matcher::default())
        };
        let id = rules.add(rule).unwrap();
        let expected = [None, Some(CONFLICT), Some(CONFLICT), None];
        assert_eq!(faults(&rules, &patch(), 4), expected);
        assert_eq!(rules.remove(id).unwrap().hits, 2);
        assert!(rules.remove(id).is_none());
    }

    #[test]
    fn the_first_rule_that_still_has_to_happen_wins() {
        let rules = Rules::new();
        rules.add(Rule::once(Fault::Lost, Matcher::default()));
        rules.add(Rule::always(CONFLICT, Matcher::default()));
        let expected = [Some(Fault::Lost), Some(CONFLICT), Some(CONFLICT)];
        assert_eq!(faults(&rules, &patch(), 3), expected);
    }

    #[test]
    fn every_member_of_a_matcher_has_to_hold() {
        let check = |on: Matcher, is_met: bool| {
            let rules = Rules::new();
            rules.add(Rule::always(CONFLICT, on.clone()));
            assert_eq!(rules.meet(&patch()).is_some(), is_met, "{on:?}");
        };
        let with = |change: fn(&mut Matcher)| {
            let mut on = Matcher::new(&[Verb::Patch, Verb::Update], "deployments");
            change(&mut on);
            on
        };
        check(with(|_| ()), true);
        check(with(|on| on.name = Some("web".to_owned())), true);
        check(with(|on| on.agent = Some("haldane".to_owned())), true);
        check(with(|on| on.verbs = vec![Verb::Get]), false);
        check(
            with(|on| on.resource = Some("deployments/status".to_owned())),
            false,
        );
        check(with(|on| on.group = Some(String::new())), false);
        check(with(|on| on.namespace = Some("other".to_owned())), false);
        check(with(|on| on.name = Some("api".to_owned())), false);
        check(with(|on| on.agent = Some("kubectl".to_owned())), false);
    }

    #[test]
    fn a_fault_happens_only_where_it_can() {
        let watch = request(&Method::GET, "/api/v1/pods?watch=true");
        let list = request(&Method::GET, "/api/v1/pods");
        for (fault, on_watch, on_list, on_patch) in [
            (CONFLICT, true, true, true),
            (Fault::Lost, false, true, true),
            (Fault::Stale, false, true, false),
            (Fault::CutWatch, true, false, false),
            (Fault::HoldWatch, true, false, false),
        ] {
            let rules = Rules::new();
            rules.add(Rule::always(fault, Matcher::default()));
            let met = [&watch, &list, &patch()].map(|req| {
                let opened = rules.meet(req).is_some();
                opened || rules.meet_open(req, &mut BTreeSet::new()).is_some()
            });
            assert_eq!(met, [on_watch, on_list, on_patch], "{fault:?}");
        }
    }

    #[test]
    fn an_open_watch_is_counted_once() {
        let rules = Rules::new();
        let watch = request(&Method::GET, "/api/v1/pods?watch=true");
        let cut = Rule {
            skip: 1,
            ..Rule::always(Fault::CutWatch, Matcher::default())
        };
        rules.add(cut);
        let (mut first, mut second) = (BTreeSet::new(), BTreeSet::new());
        assert_eq!(rules.meet(&watch), None);
        assert_eq!(rules.meet_open(&watch, &mut first), None);
        assert_eq!(rules.meet_open(&watch, &mut first), None);
        assert!(rules.meet_open(&watch, &mut second).is_some());
    }

    #[test]
    fn rules_have_a_maximum() {
        let rules = Rules::new();
        let rule = Rule::once(Fault::Lost, Matcher::default());
        let added = (0..300).filter_map(|_| rules.add(rule.clone())).count();
        assert_eq!(added, RULES_MAX);
    }

    #[test]
    fn a_rule_is_written_as_json() {
        let text = r#"{"fault": {"refuse": "conflict"}, "on": {"verbs": ["patch"], "resource": "pods"}, "times": 1}"#;
        let expected = Rule::once(CONFLICT, Matcher::new(&[Verb::Patch], "pods"));
        assert_eq!(serde_json::from_str::<Rule>(text).unwrap(), expected);
        let slow: Rule = serde_json::from_str(r#"{"fault": {"slow": {"delayMs": 50}}}"#).unwrap();
        assert_eq!(slow.fault, Fault::Slow { delay_ms: 50 });
        let error = serde_json::from_str::<Rule>(r#"{"fault": "lost", "onn": {}}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `onn`"), "{error}");
    }
}
