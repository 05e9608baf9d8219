//! What a container is told to do: settings from its image's tag and, before that, from its environment.
//!
//! `shop:v2_errors-5_latency-20ms` is version `v2`, fails 5 % of its requests and takes 20 ms for each. A variable such as
//! `SIM_ERRORS=5%` says the same and wins over the tag. Only known words count in a tag, because real images have underscores, too;
//! an unknown `SIM_` variable is a mistake.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

/// What the names of the variables begin with.
const PREFIX: &str = "SIM_";

/// The longest duration that can be set: a test that waits for longer has another mistake.
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// All settings; the last four shape the life of the pod and are carried out by KWOK.
const SETTINGS: [&str; 9] = [
    "version", "errors", "latency", "hang", "stop", "start", "crash", "flap", "linger",
];

/// What a container does with its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// What it says its version is.
    pub version: String,
    /// The share of requests that it answers with 500.
    pub errors: Share,
    /// How long it takes for each answer.
    pub latency: Duration,
    /// The share of requests that it never answers.
    pub hang: Share,
    /// What it does when it is told to end.
    pub stop: Stop,
}

/// A share in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

/// What a container does on SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// It takes no new connections and finishes what it has begun.
    #[default]
    Drain,
    /// It drops all connections at once.
    Drop,
    /// It goes on as if nothing had happened until it is killed.
    Serve,
}

/// A setting that can't be what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    setting: String,
    value: String,
    expected: &'static str,
}

impl Behavior {
    /// Returns the behavior of a container with this image and these variables, or all that is wrong with them.
    pub fn try_new(image: &str, env: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let (version, mut settings) = of_image(image);
        let mut problems = Vec::new();
        for (name, value) in env {
            let Some(name) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let setting = name.to_ascii_lowercase();
            if SETTINGS.contains(&setting.as_str()) {
                settings.insert(setting, value.clone());
            } else {
                problems.push(Problem::new(&setting, value, "a known setting"));
            }
        }
        let mut reader = Reader { settings, problems };
        let behavior = Self {
            version: reader.read("version", "a name").unwrap_or(version),
            errors: reader.read("errors", Share::FORM).unwrap_or_default(),
            latency: reader.duration("latency"),
            hang: reader.read("hang", Share::FORM).unwrap_or_default(),
            stop: reader.read("stop", Stop::FORM).unwrap_or_default(),
        };
        for setting in ["start", "flap", "linger"] {
            reader.duration(setting);
        }
        if reader
            .settings
            .get("crash")
            .is_some_and(|value| value != "start")
        {
            reader.duration("crash");
        }
        if reader.problems.is_empty() {
            Ok(behavior)
        } else {
            Err(reader.problems)
        }
    }
}

/// Returns the version and the settings that an image's name carries.
fn of_image(image: &str) -> (String, BTreeMap<String, String>) {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map_or("latest", |(_, tag)| tag);
    let (mut version, mut settings) = (Vec::new(), BTreeMap::new());
    for part in tag.split('_') {
        match part.split_once('-') {
            Some((word, value)) if word != "version" && SETTINGS.contains(&word) => {
                settings.insert(word.to_owned(), value.to_owned());
            }
            _ => version.push(part),
        }
    }
    (version.join("_"), settings)
}

struct Reader {
    settings: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Reader {
    fn read<T: FromStr>(&mut self, setting: &str, expected: &'static str) -> Option<T> {
        let value = self.settings.get(setting)?;
        let read = value.parse().ok();
        if read.is_none() {
            self.problems.push(Problem::new(setting, value, expected));
        }
        read
    }

    fn duration(&mut self, setting: &str) -> Duration {
        let read = self.read::<Length>(setting, Length::FORM);
        read.map_or(Duration::ZERO, |length| length.0)
    }
}

impl Problem {
    fn new(setting: &str, value: &str, expected: &'static str) -> Self {
        Self {
            setting: setting.to_owned(),
            value: value.to_owned(),
            expected,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            value,
            expected,
        } = self;
        write!(f, "{setting} is {value:?}, expected {expected}")
    }
}

impl Share {
    const FORM: &'static str = "a percentage from 0 to 100, such as 5% or 0.1";

    /// Everything.
    const ALL: u32 = 1_000_000;

    /// Whether a request is among the share, by a number that is evenly spread.
    #[must_use]
    pub fn takes(self, chance: u64) -> bool {
        chance % u64::from(Self::ALL) < u64::from(self.0)
    }
}

impl FromStr for Share {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.strip_suffix('%').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || fraction.len() > 4 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        let whole: u32 = whole.parse().map_err(|_| ())?;
        let fraction: u32 = format!("{fraction:0<4}").parse().map_err(|_| ())?;
        let share = whole
            .checked_mul(10_000)
            .and_then(|share| share.checked_add(fraction));
        share
            .filter(|share| *share <= Self::ALL)
            .map(Self)
            .ok_or(())
    }
}

impl Stop {
    const FORM: &'static str = "drain, drop or serve";
}

impl FromStr for Stop {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "drain" => Ok(Self::Drain),
            "drop" => Ok(Self::Drop),
            "serve" => Ok(Self::Serve),
            _ => Err(()),
        }
    }
}

/// A duration as KWOK reads it, too.
struct Length(Duration);

impl Length {
    const FORM: &'static str = "whole seconds or milliseconds up to an hour, such as 5s or 250ms";
}

impl FromStr for Length {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let read = |digits: &str| digits.parse::<u64>().map_err(|_| ());
        let length = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(digits), _) => Duration::from_millis(read(digits)?),
            (None, Some(digits)) => Duration::from_secs(read(digits)?),
            (None, None) => return Err(()),
        };
        (length <= DURATION_MAX).then_some(Self(length)).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(image: &str, env: &[(&str, &str)]) -> Result<Behavior, Vec<Problem>> {
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Behavior::try_new(image, &env.collect::<Vec<_>>())
    }

    fn plain(version: &str) -> Behavior {
        Behavior {
            version: version.to_owned(),
            errors: Share(0),
            latency: Duration::ZERO,
            hang: Share(0),
            stop: Stop::Drain,
        }
    }

    #[test]
    fn the_tag_is_the_version() {
        for (image, version) in [
            ("shop:v2", "v2"),
            ("shop", "latest"),
            ("registry:5000/team/shop", "latest"),
            ("registry:5000/team/shop:1.4.2@sha256:00", "1.4.2"),
            ("shop:2024-11_beta-3", "2024-11_beta-3"),
        ] {
            assert_eq!(read(image, &[]), Ok(plain(version)), "{image}");
        }
    }

    #[test]
    fn the_tag_carries_settings() {
        let expected = Behavior {
            errors: Share(50_000),
            latency: Duration::from_millis(20),
            stop: Stop::Drop,
            ..plain("v2")
        };
        assert_eq!(
            read("shop:v2_errors-5_latency-20ms_stop-drop_start-3s", &[]),
            Ok(expected)
        );
    }

    #[test]
    fn the_environment_wins_over_the_tag() {
        let env = [
            ("SIM_VERSION", "blue"),
            ("SIM_ERRORS", "0.1%"),
            ("SIM_HANG", "100"),
            ("PATH", "/"),
        ];
        let expected = Behavior {
            errors: Share(1_000),
            hang: Share(1_000_000),
            ..plain("blue")
        };
        assert_eq!(read("shop:v2_errors-5", &env), Ok(expected));
    }

    #[test]
    fn all_mistakes_are_told() {
        let env = [
            ("SIM_ERORS", "5%"),
            ("SIM_ERRORS", "101%"),
            ("SIM_LATENCY", "20"),
            ("SIM_STOP", "soon"),
            ("SIM_CRASH", "now"),
            ("SIM_FLAP", "1.5s"),
        ];
        let problems = read("shop:v2", &env).unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let duration = "expected whole seconds or milliseconds up to an hour, such as 5s or 250ms";
        assert_eq!(
            text,
            [
                "erors is \"5%\", expected a known setting".to_owned(),
                "errors is \"101%\", expected a percentage from 0 to 100, such as 5% or 0.1"
                    .to_owned(),
                format!("latency is \"20\", {duration}"),
                "stop is \"soon\", expected drain, drop or serve".to_owned(),
                format!("flap is \"1.5s\", {duration}"),
                format!("crash is \"now\", {duration}"),
            ]
        );
    }

    #[test]
    fn shares_are_exact() {
        for (text, share) in [
            ("0", 0),
            ("0.0001%", 1),
            ("5%", 50_000),
            ("99.5", 995_000),
            ("100%", 1_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Share(share)), "{text}");
        }
        for text in [
            "", "%", "-1", "100.0001", "1e2", "0.00001", "5 %", ".5", "NaN",
        ] {
            assert_eq!(text.parse::<Share>(), Err(()), "{text}");
        }
        let taken = |share: Share| (0..1_000_000).filter(|n| share.takes(*n)).count();
        assert_eq!(taken(Share(50_000)), 50_000);
        assert_eq!(taken(Share(0)), 0);
        assert_eq!(taken(Share(1_000_000)), 1_000_000);
    }
}
