//! The host of the tests: a ConfigMap with the annotation `copy` gets a copy (`break` breaks its turns, `restless` ends none), and what its annotation `widget` names is told its value.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use haldane_controller::turn::{Event, Host, Key, Seen, Sight, Then, Turn, Urgency, What, Write};
use haldane_router::{Kind, ObjectRef};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) static MAP: Kind = Kind {
    group: "",
    kind: "ConfigMap",
    plural: "configmaps",
    versions: &["v1"],
};

pub(crate) static WIDGET: Kind = Kind {
    group: "test.haldane.dev",
    kind: "Widget",
    plural: "widgets",
    versions: &["v2", "v1"],
};

#[derive(Default)]
pub(crate) struct Copies {
    pub turns: AtomicUsize,
    pub forgotten: AtomicUsize,
    /// Takes part in the next turn: it says that it has begun, and waits for word to go on.
    pub stop: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
    /// What the last turn saw of the widget.
    pub widget: Mutex<Option<Seen>>,
}

impl Host for Copies {
    fn kind(&self) -> &'static Kind {
        &MAP
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        Vec::new()
    }

    fn turn(&self, key: &Key, sight: &dyn Sight, _now: Timestamp) -> Turn {
        self.turns.fetch_add(1, Ordering::SeqCst);
        let target = MAP.named(&key.namespace, &key.name);
        let Seen::Found(source) = sight.get(&target) else {
            panic!("{key} has a turn and is not there");
        };
        assert_ne!(annotation(&source, "copy"), Some("break"), "as was wanted");
        let turn = if annotation(&source, "copy").is_some() {
            self.copy(key, &source, sight)
        } else {
            Turn::default()
        };
        let stop = self.stop.lock().unwrap().take();
        if let (Some((begun, go_on)), false) = (stop, turn.writes.is_empty()) {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        turn
    }

    fn forget(&self, _key: &Key) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

impl Copies {
    fn copy(&self, key: &Key, source: &Value, sight: &dyn Sight) -> Turn {
        let uid = source["metadata"]["uid"].as_str().unwrap();
        let target = MAP.named(&key.namespace, &format!("{}-copy", key.name));
        let owned = sight.owned(&MAP, &key.namespace, uid);
        let mut turn = Turn {
            writes: copy(&target, source, owned.first()).into_iter().collect(),
            then: if annotation(source, "copy") == Some("restless") {
                Then::Again
            } else {
                Then::OnChange
            },
            events: vec![Event {
                is_warning: false,
                reason: "Copied",
                message: format!("{} is a copy", target.name),
            }],
            reads: BTreeSet::from([target]),
        };
        if let Some(name) = annotation(source, "widget") {
            let widget = WIDGET.named(&key.namespace, name);
            let seen = sight.get(&widget);
            turn.writes.extend(tell(&widget, source, &seen));
            *self.widget.lock().unwrap() = Some(seen);
            turn.reads.insert(widget);
        }
        turn
    }
}

fn copy(target: &ObjectRef, source: &Value, found: Option<&Value>) -> Option<Write> {
    let what = match found {
        None => What::Create(json!({
            "metadata": {"ownerReferences": [{
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": source["metadata"]["name"],
                "uid": source["metadata"]["uid"],
                "controller": true,
            }]},
            "data": source["data"],
        })),
        Some(found) if found["data"] != source["data"] => What::Merge {
            patch: json!({"data": source["data"]}),
            resource_version: found["metadata"]["resourceVersion"]
                .as_str()
                .map(str::to_owned),
        },
        Some(_) => return None,
    };
    Some(Write {
        target: target.clone(),
        what,
        urgency: Urgency::Traffic,
    })
}

/// Tells a widget the value of its source.
fn tell(target: &ObjectRef, source: &Value, seen: &Seen) -> Option<Write> {
    let Seen::Found(widget) = seen else {
        return None;
    };
    let wanted = &source["data"]["key"];
    (widget["status"]["told"] != *wanted).then(|| Write {
        target: target.clone(),
        what: What::MergeStatus {
            patch: json!({"status": {"told": wanted}}),
            resource_version: None,
        },
        urgency: Urgency::Status,
    })
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}
