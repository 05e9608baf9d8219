//! Where the alerts go: a configuration of Alertmanager, as small as it can be, to be used as it is or merged into an own one.
//!
//! **Invariant:** no secret is in it. Keys and addresses of webhooks are read from files, as Alertmanager can.

use serde_json::{Value, json};

use crate::{alerts::ROLLBACK_TRIGGERS, watched::Names};

/// Where the files with secrets lie: where the operator mounts a Secret that its `Alertmanager` names.
const SECRETS: &str = "/etc/alertmanager/secrets/canary";

/// The name of the receiver that drops what is not about canaries.
const NOBODY: &str = "nobody";

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A channel of Slack.
    Slack {
        /// The channel: `#deployments`.
        channel: String,
    },
    /// PagerDuty, for what is critical.
    PagerDuty,
    /// A mailbox.
    Email {
        /// To whom.
        to: String,
        /// From whom.
        from: String,
        /// The server: `smtp.example.com:587`.
        smarthost: String,
    },
}

/// Returns a configuration that tells the receiver of alerts about the canary of a service.
#[must_use]
pub fn config(names: &Names, receiver: &Receiver) -> Value {
    let mut matchers = vec![
        r#"alertname=~"Canary.+""#.to_owned(),
        format!(r#"namespace="{}""#, names.namespace),
        format!(r#"service="{}""#, names.service),
    ];
    if receiver == &Receiver::PagerDuty {
        // Nobody is woken by what can wait.
        matchers.push(r#"severity="critical""#.to_owned());
    }
    json!({
        "route": {
            "receiver": NOBODY,
            "group_by": ["namespace", "service"],
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "4h",
            "routes": [{ "receiver": receiver.name(), "matchers": matchers, "continue": true }],
        },
        // The recommendation says it all; its causes are in its page.
        "inhibit_rules": [{
            "source_matchers": [r#"alertname="CanaryAutomatedRollbackRecommended""#],
            "target_matchers": [format!("alertname=~\"{}\"", ROLLBACK_TRIGGERS.join("|"))],
            "equal": ["namespace", "service"],
        }],
        "receivers": [{ "name": NOBODY }, receiver.to_value()],
    })
}

impl Receiver {
    const fn name(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "canary-slack",
            Self::PagerDuty => "canary-pagerduty",
            Self::Email { .. } => "canary-email",
        }
    }

    fn to_value(&self) -> Value {
        let title =
            r#"{{ .Status | toUpper }}: {{ .CommonLabels.namespace }}/{{ .CommonLabels.service }}"#;
        let text = "{{ range .Alerts }}{{ .Labels.alertname }} ({{ .Labels.severity }}): {{ .Annotations.summary }}. \
            {{ .Annotations.description }} {{ .Annotations.runbook_url }}\n{{ end }}";
        match self {
            Self::Slack { channel } => json!({
                "name": self.name(),
                "slack_configs": [{
                    "api_url_file": format!("{SECRETS}/slack-url"),
                    "channel": channel,
                    "send_resolved": true,
                    "title": title,
                    "text": text,
                }],
            }),
            Self::PagerDuty => json!({
                "name": self.name(),
                "pagerduty_configs": [{
                    "routing_key_file": format!("{SECRETS}/pagerduty-key"),
                    "send_resolved": true,
                    "severity": "{{ .CommonLabels.severity }}",
                    "description": title,
                    "details": { "alerts": text },
                }],
            }),
            Self::Email {
                to,
                from,
                smarthost,
            } => json!({
                "name": self.name(),
                "email_configs": [{
                    "to": to,
                    "from": from,
                    "smarthost": smarthost,
                    "auth_username": from,
                    "auth_password_file": format!("{SECRETS}/smtp-password"),
                    "require_tls": true,
                    "send_resolved": true,
                    "headers": { "Subject": title },
                    "html": "",
                    "text": text,
                }],
            }),
        }
    }
}
