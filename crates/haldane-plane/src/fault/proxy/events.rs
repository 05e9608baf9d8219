//! The body of a watch, event by event, so that a rule can cut it, end it or hold it back between two of them.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::watch;
use tracing::info;

use crate::fault::{
    ApiRequest, Fault, RuleId, Rules,
    proxy::{Body, ProxyError},
};

/// What the server writes before it closes a watch whose version is too old.
const EXPIRED: &str = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version, by a fault of the test plane","reason":"Expired","code":410}}
"#;

/// Returns `body` under the rules for this watch.
pub(super) fn body(body: Incoming, rules: Rules, req: ApiRequest) -> Body {
    let events = Events {
        changed: rules.subscribe(),
        body,
        rules,
        req,
        met: BTreeSet::new(),
        is_between: true,
        is_over: false,
    };
    StreamBody::new(stream::unfold(events, Events::next)).boxed_unsync()
}

struct Events {
    body: Incoming,
    rules: Rules,
    req: ApiRequest,
    changed: watch::Receiver<()>,
    /// The rules that this watch was counted for.
    met: BTreeSet<RuleId>,
    /// Whether the last event is complete.
    is_between: bool,
    is_over: bool,
}

type Item = Result<Frame<Bytes>, ProxyError>;

impl Events {
    async fn next(mut self) -> Option<(Item, Self)> {
        while !self.is_over {
            self.changed.mark_unchanged();
            let hit = if self.is_between {
                self.rules.meet_open(&self.req, &mut self.met)
            } else {
                None
            };
            if let Some(hit) = hit {
                info!(rule = hit.id.0, fault = ?hit.fault, request = %self.req, "Fault injected");
                match hit.fault {
                    Fault::ExpireWatch => {
                        self.is_over = true;
                        return Some((
                            Ok(Frame::data(Bytes::from_static(EXPIRED.as_bytes()))),
                            self,
                        ));
                    }
                    Fault::HoldWatch => {
                        self.rules.gone(hit.id).await;
                        continue;
                    }
                    // The others happen to the request, before the first event.
                    Fault::CutWatch
                    | Fault::Refuse(_)
                    | Fault::DoneBut(_)
                    | Fault::Lost
                    | Fault::Silence
                    | Fault::Slow { .. }
                    | Fault::Stale => {
                        self.is_over = true;
                        return Some((Err(ProxyError::Cut), self));
                    }
                }
            }
            tokio::select! {
                biased;
                _ = self.changed.changed() => {}
                frame = self.body.frame() => {
                    let frame = frame?;
                    if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                        self.is_between = data.ends_with(b"\n");
                    }
                    return Some((frame.map_err(ProxyError::Server), self));
                }
            }
        }
        None
    }
}
