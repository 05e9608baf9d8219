//! One question to one metric system, with its credentials, within limits of time, size and repetition.
//!
//! **Invariant:** no secret is in an error or a log: what a metric system repeats of one is blotted out.

mod command;
mod turns;

use std::{
    collections::BTreeMap,
    env,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use haldane_core::plan::metric::{Given, Kind, Metric, Provider, Source};
use haldane_source::{
    Answer, Auth, Error, Header, Query, Reading, Request, Retry, Secret, Window,
    answer::BODY_BYTES_MAX,
    provider::{
        cloudwatch, datadog, dynatrace, external, google, graphite, influxdb, keptn, newrelic,
        prometheus, signalfx, skywalking, splunk, wavefront, web,
    },
    query::PAGES_MAX,
};
use haldane_supervisor::job::Jobs;
use jiff::Timestamp;
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, timeout_at},
};

use self::turns::Turns;
use super::question::window;
use crate::wire::web::{
    Web, WebError,
    tls::{Identity, Tls, Webs},
};

/// The largest file with a secret: certificates with their keys are smaller.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Asks metric systems; clones share their clients.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    webs: Webs,
    jobs: Jobs,
    /// Where commands are run.
    dir: Option<PathBuf>,
    /// Whose secrets may be used, and whether commands may be run.
    trust: Trust,
    turns: Turns,
    timeout: Duration,
}

/// Whom the declarations of metrics come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trust {
    /// Whoever runs the daemon.
    Operator,
    /// Somebody who may name only the secrets in this directory, and no commands.
    User(PathBuf),
}

/// A metric system, and how it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addressee<'a> {
    /// The system.
    pub(crate) source: &'a Source,
    /// What is asked for.
    pub(crate) kind: Kind,
    /// The time between two questions.
    pub(crate) interval: Duration,
}

/// The time that is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Where it begins.
    pub(crate) from: Timestamp,
    /// Where it ends.
    pub(crate) to: Timestamp,
    /// What a Prometheus is asked for: what there is at the end, or at each step.
    pub(crate) form: prometheus::Form,
}

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// A secret is not where it should be.
    #[error("{what} can't be read: {why}")]
    Secret {
        /// The place that the file names.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A command did not do what it should.
    #[error("{0}")]
    Command(String),
    /// The metric system can't be reached.
    #[error("{0}")]
    Web(#[from] WebError),
    /// It said something else than an answer.
    #[error("{0}")]
    Source(#[from] Error),
}

impl AskError {
    /// Returns whether asking again can help.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Source(error) => error.retry(),
            Self::Web(error) if error.is_passing() => Retry::Now,
            Self::Web(_) | Self::Secret { .. } | Self::Command(_) => Retry::Never,
        }
    }
}

impl Asker {
    /// Returns what asks questions that may take so long, and whose commands are these jobs.
    pub(crate) fn new(timeout: Duration, jobs: Jobs) -> Self {
        Self {
            webs: Webs::new(timeout),
            jobs,
            dir: None,
            trust: Trust::Operator,
            turns: Turns::default(),
            timeout,
        }
    }

    /// Returns the same for somebody who may name the secrets in a directory, and none else, and no commands.
    pub(crate) fn for_user(&self, secrets: PathBuf) -> Self {
        Self {
            trust: Trust::User(secrets),
            ..self.clone()
        }
    }

    /// Returns the same with a directory where commands are run.
    pub(crate) fn in_dir(&self, dir: Option<PathBuf>) -> Self {
        Self {
            dir,
            ..self.clone()
        }
    }

    /// Asks, and returns all of the answer.
    ///
    /// # Errors
    /// See [`AskError`].
    pub(crate) async fn ask(
        &self,
        metric: &Metric,
        text: &str,
        now: Timestamp,
    ) -> Result<Reading, AskError> {
        let span = Span {
            from: now - window(metric),
            to: now,
            form: prometheus::Form::Instant,
        };
        self.ask_over(metric, text, span).await
    }

    /// Asks about a time, and returns all of the answer.
    ///
    /// # Errors
    /// See [`AskError`].
    pub(crate) async fn ask_over(
        &self,
        metric: &Metric,
        text: &str,
        span: Span,
    ) -> Result<Reading, AskError> {
        self.ask_source(metric.into(), text, span).await
    }

    /// Asks a metric system about a time, and returns all of the answer.
    ///
    /// # Errors
    /// See [`AskError`].
    pub(crate) async fn ask_source(
        &self,
        of: Addressee<'_>,
        text: &str,
        span: Span,
    ) -> Result<Reading, AskError> {
        let deadline = Instant::now() + self.timeout;
        let asking = async {
            let _turn = self.turns.take(&of.source.address).await;
            self.ask_all(of, text, span).await
        };
        timeout_at(deadline, asking)
            .await
            .unwrap_or(Err(AskError::Web(WebError::Slow(self.timeout))))
    }

    async fn ask_all(
        &self,
        of: Addressee<'_>,
        text: &str,
        span: Span,
    ) -> Result<Reading, AskError> {
        let source = of.source;
        let headers = self.trust.secrets(&source.headers).await?;
        let mut auth = self.trust.secrets(&source.auth).await?;
        let web = self.webs.of(tls(&mut auth));
        let query = query(of, &headers, text, span.form)?;
        // Signed requests are of today, whatever they ask about.
        let auth = query.auth(&in_their_words(source.provider, auth), Timestamp::now())?;
        let window = Window::try_new(span.from, span.to, of.interval)?;
        let redact = |error: Error| {
            let values = headers.values().cloned().map(Auth::Key);
            values.fold(auth.redact(error), |error, value| value.redact(error))
        };
        let request = query.request(&window, &auth).map_err(redact)?;
        let mut reading = read_page(&web, &query, &window, &request, redact).await?;
        for _ in 1..PAGES_MAX {
            let Some(page) = reading.next.clone() else {
                break;
            };
            let request = query.next_request(&window, &auth, &page).map_err(redact)?;
            let next = read_page(&web, &query, &window, &request, redact).await?;
            reading.append(next)?;
        }
        Ok(reading.whole().map_err(redact)?)
    }
}

async fn read_page(
    web: &Web,
    query: &Query,
    window: &Window,
    request: &Request,
    redact: impl Fn(Error) -> Error,
) -> Result<Reading, AskError> {
    let fetched = web.fetch(request, BODY_BYTES_MAX).await?;
    let answer = Answer {
        status: fetched.status.as_u16(),
        headers: &fetched.headers,
        body: &fetched.body,
    };
    Ok(query.parse(window, &answer).map_err(redact)?)
}

/// Takes what TLS needs from the credentials.
fn tls(auth: &mut BTreeMap<String, Secret>) -> Tls {
    let ca = auth.remove("ca");
    let certificate = auth.remove("clientCertificate");
    let identity = certificate.zip(auth.remove("clientKey"));
    let identity = identity.map(|(certificate, key)| Identity { certificate, key });
    Tls { ca, identity }
}

/// Returns the question in the form of the provider.
fn query(
    of: Addressee<'_>,
    headers: &BTreeMap<String, Secret>,
    text: &str,
    form: prometheus::Form,
) -> Result<Query, AskError> {
    let source = of.source;
    let (address, text) = (source.address.clone(), text.to_owned());
    let option = |name: &str| source.options.get(name).cloned();
    let needed = |name: &str| option(name).unwrap_or_default();
    let headers = sent(headers);
    Ok(match source.provider {
        Provider::Prometheus => Query::Prometheus(prometheus::Query {
            address,
            expression: text,
            form,
            headers,
            region: option("region"),
        }),
        Provider::CloudWatch => Query::CloudWatch(cloudwatch::Query {
            region: needed("region"),
            address: Some(address),
            queries: text,
        }),
        Provider::Datadog => {
            let form = datadog::Form::V1(text);
            Query::Datadog(datadog::Query { address, form })
        }
        Provider::Dynatrace => Query::Dynatrace(dynatrace::Query {
            address,
            selector: text,
            form: dynatrace_form(of.kind),
        }),
        Provider::Google => Query::Google(google::Query {
            address,
            project: needed("project"),
            mql: text,
        }),
        Provider::Graphite => Query::Graphite(graphite::Query {
            address,
            form: graphite::Form::Targets(vec![text]),
        }),
        Provider::InfluxDb => Query::InfluxDb(influxdb::Query {
            address,
            text,
            language: influxdb_language(option("database"), needed("org")),
        }),
        Provider::NewRelic => Query::NewRelic(newrelic::Query {
            address,
            api: newrelic::Api::NerdGraph,
            account: account(&needed("account"))?,
            nrql: text,
        }),
        Provider::SignalFx => Query::SignalFx(signalfx::Query {
            address,
            program: text,
        }),
        Provider::Splunk => Query::Splunk(splunk::Query {
            address,
            search: text,
        }),
        Provider::Wavefront => Query::Wavefront(wavefront::Query {
            address,
            query: text,
        }),
        Provider::ExternalMetrics => Query::External(external::Query::parse(&address, &text)?),
        Provider::Keptn => {
            let subject = keptn_metric(&text)?;
            Query::Keptn(keptn::Query { address, subject })
        }
        Provider::SkyWalking => Query::SkyWalking(skywalking::Query::parse(&address, &text)?),
        Provider::Web => Query::Web(web::Query::parse(&address, &text, headers)?),
        Provider::Command | Provider::Proxy => return Err(unasked().into()),
    })
}

/// Returns headers as they are sent.
fn sent(headers: &BTreeMap<String, Secret>) -> Vec<Header> {
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| Header::new(name, value.expose()));
    headers.collect()
}

/// Says that a source is no server: the proxy counts by itself, and commands are run.
fn unasked() -> Error {
    Error::Invalid {
        what: "the source",
        why: "expected one that is asked over HTTP".to_owned(),
    }
}

const fn dynatrace_form(kind: Kind) -> dynatrace::Form {
    match kind {
        Kind::Gauge => dynatrace::Form::One,
        Kind::Ratio | Kind::Counter | Kind::Latency | Kind::Conversion => dynatrace::Form::Steps,
    }
}

fn influxdb_language(database: Option<String>, org: String) -> influxdb::Language {
    match database {
        Some(database) => influxdb::Language::Sql { database },
        None => influxdb::Language::Flux { org },
    }
}

fn account(text: &str) -> Result<u32, Error> {
    let account = text.parse();
    account.map_err(|_| invalid("the account", "expected a number"))
}

/// Reads the name of a metric; an analysis is an object that must be created, which only Keptn's own gates do.
fn keptn_metric(text: &str) -> Result<keptn::Subject, Error> {
    match keptn::Subject::parse(text, "")? {
        subject @ keptn::Subject::Metric { .. } => Ok(subject),
        keptn::Subject::Analysis { .. } => Err(invalid(
            "the Keptn query",
            "expected `keptnmetric/NAMESPACE/NAME`",
        )),
    }
}

fn invalid(what: &'static str, why: &str) -> Error {
    let why = why.to_owned();
    Error::Invalid { what, why }
}

/// Returns the credentials under the names that the provider's secrets have elsewhere.
fn in_their_words(provider: Provider, auth: BTreeMap<String, Secret>) -> BTreeMap<String, Secret> {
    let rename = |name: String| match (provider, name.as_str()) {
        (Provider::Datadog, "apiKey") => "api-key".to_owned(),
        (Provider::Datadog, "appKey") => "app-key".to_owned(),
        (Provider::NewRelic, "token") => "personal-api-key".to_owned(),
        (Provider::Dynatrace, "token") => "dynatrace_token".to_owned(),
        (Provider::SignalFx, "token") => "sf_token_key".to_owned(),
        (Provider::CloudWatch | Provider::Prometheus, "accessKeyId") => {
            "AWS_ACCESS_KEY_ID".to_owned()
        }
        (Provider::CloudWatch | Provider::Prometheus, "secretAccessKey") => {
            "AWS_SECRET_ACCESS_KEY".to_owned()
        }
        (Provider::CloudWatch | Provider::Prometheus, "sessionToken") => {
            "AWS_SESSION_TOKEN".to_owned()
        }
        (_, _) => name,
    };
    let auth = auth.into_iter();
    auth.map(|(name, secret)| (rename(name), secret)).collect()
}

impl<'a> From<&'a Metric> for Addressee<'a> {
    fn from(metric: &'a Metric) -> Self {
        Self {
            source: &metric.source,
            kind: metric.kind,
            interval: metric.interval,
        }
    }
}

impl Trust {
    /// Reads what is given by reference, each time anew: secrets change while a daemon runs.
    async fn secrets(
        &self,
        given: &BTreeMap<String, Given>,
    ) -> Result<BTreeMap<String, Secret>, AskError> {
        let mut secrets = BTreeMap::new();
        for (name, given) in given {
            self.check(given)?;
            secrets.insert(name.clone(), secret(given).await?);
        }
        Ok(secrets)
    }

    /// Checks that a secret may be used.
    fn check(&self, given: &Given) -> Result<(), AskError> {
        let Self::User(dir) = self else {
            return Ok(());
        };
        let refused = |what: String| AskError::Secret {
            what,
            why: format!(
                "whoever declares it may name files in {} only",
                dir.display()
            ),
        };
        match given {
            Given::Text(_) => Ok(()),
            Given::Env(name) => Err(refused(format!("the environment variable {name}"))),
            Given::File(path) => {
                let inside = Path::new(path).strip_prefix(dir);
                let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
                let is_inside = inside.is_ok_and(|path| path.components().all(is_plain));
                if is_inside {
                    Ok(())
                } else {
                    Err(refused(format!("the file {path}")))
                }
            }
        }
    }
}

async fn secret(given: &Given) -> Result<Secret, AskError> {
    match given {
        Given::Text(text) => Ok(Secret::new(text)),
        Given::Env(name) => env::var(name).map(Secret::new).map_err(|error| {
            let why = match error {
                env::VarError::NotPresent => "it is not set",
                env::VarError::NotUnicode(_) => "it is no text",
            };
            AskError::Secret {
                what: format!("the environment variable {name}"),
                why: why.to_owned(),
            }
        }),
        Given::File(path) => {
            let failed = |why: String| AskError::Secret {
                what: format!("the file {path}"),
                why,
            };
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(|error| failed(error.to_string()))?;
            let mut text = String::new();
            // One byte more than allowed shows that there is more.
            let mut limited = file.take(SECRET_BYTES_MAX.saturating_add(1));
            let read = limited.read_to_string(&mut text).await;
            let read = read.map_err(|error| failed(error.to_string()))?;
            if u64::try_from(read).unwrap_or(u64::MAX) > SECRET_BYTES_MAX {
                return Err(failed("it is larger than 64 KiB".to_owned()));
            }
            Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
        }
    }
}

#[cfg(test)]
mod tests;
