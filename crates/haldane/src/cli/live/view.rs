//! From a model to a picture.
//!
//! A page is built as lines of spans for the room there is, most important first; what does not fit is left out at the end, never
//! in the middle. The last line is the footer.

use haldane_api::http::{RolloutView, ServiceView, StepState, StepView, VersionView};
use ratatui::{
    Frame,
    layout::{Alignment, Rect},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::{Model, Overlay, Page, verb};
use crate::cli::{
    bands, comparison,
    figure::{Figure, Status},
    get::{step_sign, step_text},
    paint::{self, Tone},
    snapshot::as_of,
    words::{NOTHING, bps_or_nothing, clean, cut, span, time_of_day, wrap, zone_name},
};

/// From this height on, steps are a list instead of a line, and each guard is shown.
const TALL: u16 = 34;

/// Columns of the figures: label, then value and word for each version.
const LABEL: usize = 14;
const VALUE: usize = 12;
const WORD: usize = 10;

const HELP: [&str; 9] = [
    "p       promote: end the current wait and go on",
    "space   pause, or resume when paused",
    "a       abort: all traffic back to stable, now",
    "enter   show the selected service",
    "esc     back to all services",
    "up/down select a service",
    "q, ^C   quit; rollouts go on without this view",
    "",
    "p, space and a ask before they do anything.",
];

/// Draws the model.
pub(crate) fn view(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    let draft = Draft {
        model,
        width: usize::from(area.width),
    };
    let room = usize::from(area.height.saturating_sub(1));
    let mut lines = vec![draft.title()];
    match (&model.page, model.shown()) {
        (Page::All(index), _) => draft.all(*index, &mut lines),
        (Page::One { .. }, Some(service)) => draft.one(service, area.height >= TALL, &mut lines),
        (Page::One { service, .. }, None) => {
            lines.push(Line::raw(format!("waiting for news of {service} …")))
        }
    }
    lines.extend(
        model
            .extra
            .iter()
            .map(|line| Line::raw(cut(&clean(line), draft.width))),
    );
    lines.truncate(room);
    frame.render_widget(Paragraph::new(lines), area);
    let footer = Rect {
        y: area.y.saturating_add(area.height.saturating_sub(1)),
        height: area.height.min(1),
        ..area
    };
    frame.render_widget(Paragraph::new(draft.footer()), footer);
    match &model.overlay {
        Overlay::Help => draft.help(frame),
        Overlay::None | Overlay::Question(_) => {}
    }
}

/// A model, and the room for it.
struct Draft<'a> {
    model: &'a Model,
    width: usize,
}

impl Draft<'_> {
    fn span(&self, tone: Tone, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.model.paint.style(tone))
    }

    fn strong(&self, text: impl Into<String>) -> Span<'static> {
        self.span(Tone::Strong, text)
    }

    fn title(&self) -> Line<'static> {
        let Model {
            now, zone, title, ..
        } = self.model;
        let clock = format!("{} {}", time_of_day(*now, zone), zone_name(*now, zone));
        let room = self
            .width
            .saturating_sub(clock.chars().count().saturating_add(1));
        let title = cut(title, room);
        let gap = " ".repeat(
            self.width
                .saturating_sub(title.chars().count())
                .saturating_sub(clock.chars().count()),
        );
        Line::from(vec![
            self.strong(title),
            Span::raw(gap),
            self.span(Tone::Dim, clock),
        ])
    }

    fn footer(&self) -> Line<'static> {
        let model = self.model;
        if let Overlay::Question(request) = &model.overlay {
            let step = request
                .step
                .map(|step| format!(" at step {step}"))
                .unwrap_or_default();
            return Line::from(self.strong(format!(
                "{} {}{step}? y/n",
                verb(request.command),
                request.service
            )));
        }
        if let Some(lost) = &model.lost {
            return Line::from(self.span(
                Tone::Bad,
                cut(&format!("LOST: {}", clean(lost)), self.width),
            ));
        }
        if let Some(told) = &model.told {
            return Line::from(self.strong(cut(&clean(told), self.width)));
        }
        let more = match model.page {
            Page::All(_) => "  enter show",
            Page::One { back: Some(_), .. } => "  esc back",
            Page::One { back: None, .. } => "",
        };
        let keys = if model.can_steer {
            "q quit  p promote  space pause/resume  a abort  ? help"
        } else {
            "q quit"
        };
        Line::from(self.span(Tone::Dim, format!("{keys}{more}")))
    }

    fn help(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let (width, height) = (54.min(area.width), 11.min(area.height));
        let middle = Rect {
            x: area.x.saturating_add(area.width.saturating_sub(width) / 2),
            y: area
                .y
                .saturating_add(area.height.saturating_sub(height) / 2),
            width,
            height,
        };
        let block = Block::bordered()
            .title(" keys ")
            .title_alignment(Alignment::Center);
        frame.render_widget(Clear, middle);
        frame.render_widget(
            Paragraph::new(HELP.map(Line::raw).to_vec()).block(block),
            middle,
        );
    }

    fn all(&self, selected: usize, lines: &mut Vec<Line<'static>>) {
        let columns = |cells: [&str; 6]| {
            let [name, phase, step, weight, versions, message] = cells;
            format!(
                "{:<14} {:<13} {step:>5} {weight:>7}  {:<14} {message}",
                cut(name, 14),
                cut(phase, 13),
                cut(versions, 14)
            )
        };
        let header = columns(["NAME", "PHASE", "STEP", "WEIGHT", "VERSIONS", "MESSAGE"]);
        lines.push(Line::from(self.strong(format!("  {header}"))));
        if self.model.services.is_empty() {
            lines.push(Line::raw("  no services yet"));
        }
        let mut namespaces = self.model.services.keys().map(|subject| &subject.namespace);
        let first = namespaces.next();
        let is_spread = namespaces.any(|namespace| Some(namespace) != first);
        for (index, (subject, service)) in self.model.services.iter().enumerate() {
            let name = if is_spread {
                subject.to_string()
            } else {
                subject.name.to_string()
            };
            let mark = if index == selected { "> " } else { "  " };
            let (text, tone) = match &service.rollout {
                None => {
                    let stable = service.stable.version.as_str();
                    (
                        columns([
                            name.as_str(),
                            NOTHING,
                            NOTHING,
                            NOTHING,
                            stable,
                            "no rollout so far",
                        ]),
                        Tone::Plain,
                    )
                }
                Some(rollout) => {
                    let (sign, tone) = paint::phase(&rollout.phase);
                    let phase = format!("{sign} {}", rollout.phase);
                    let versions = format!("{} → {}", rollout.stable, rollout.canary);
                    let (step, weight) = (step_text(rollout), rollout.weight_bps.to_string());
                    let message = clean(&rollout.message);
                    (
                        columns([name.as_str(), &phase, &step, &weight, &versions, &message]),
                        tone,
                    )
                }
            };
            lines.push(Line::from(
                self.span(tone, cut(&format!("{mark}{text}"), self.width)),
            ));
        }
    }

    fn one(&self, service: &ServiceView, is_tall: bool, lines: &mut Vec<Line<'static>>) {
        match &service.rollout {
            Some(rollout) => {
                lines.push(self.phase(service, rollout));
                lines.push(Line::raw(cut(&clean(&rollout.message), self.width)));
                if !is_tall {
                    lines.push(self.ladder(&rollout.steps));
                }
                lines.push(self.weight(rollout));
            }
            None => lines.push(Line::raw(format!(
                "{}: {} serves; no rollout so far",
                service.name, service.stable.version
            ))),
        }
        lines.push(Line::raw(""));
        self.figures(service, lines);
        lines.push(Line::raw(""));
        if let Some(rollout) = &service.rollout {
            self.decision(service, rollout, lines);
            if is_tall {
                self.details(rollout, lines);
            }
        }
        for notice in &service.notices {
            self.labeled("notice", &[self.span(Tone::Warn, "")], notice, lines);
        }
    }

    fn phase(&self, service: &ServiceView, rollout: &RolloutView) -> Line<'static> {
        let (sign, tone) = paint::phase(&rollout.phase);
        let versions = format!("  {} → {}", rollout.stable, rollout.canary);
        let end = rollout.ended_at.unwrap_or(self.model.now);
        let age = format!(
            "  step {}  {}",
            step_text(rollout),
            span(rollout.started_at, end)
        );
        Line::from(vec![
            self.strong(format!("{}  ", service.name)),
            self.span(tone, format!("{sign} {}", rollout.phase)),
            Span::raw(versions),
            self.span(Tone::Dim, age),
        ])
    }

    /// The shares on one line, around the current one: steps with the same weight are one rung.
    fn ladder(&self, steps: &[StepView]) -> Line<'static> {
        const TITLE: &str = "steps   ";
        const LEFT_OUT: &str = "… ";
        let rungs: Vec<(Tone, String)> = steps
            .chunk_by(|one, next| one.weight_bps == next.weight_bps)
            .map(|rung| {
                let (sign, _, tone) = step_sign(rung_state(rung));
                let weight = rung.first().map(|step| step.weight_bps).unwrap_or_default();
                (tone, format!("{sign} {weight}  "))
            })
            .collect();
        let taken = TITLE.len().saturating_add(LEFT_OUT.chars().count());
        let room = self.width.saturating_sub(taken);
        let length = |rungs: &[(Tone, String)]| -> usize {
            rungs.iter().map(|(_, text)| text.chars().count()).sum()
        };
        // What is over gives way to what is to come.
        let mut shown = rungs.as_slice();
        let is_over = |tone: Tone| tone == step_sign(StepState::Done).2;
        while length(shown) > room && shown.first().is_some_and(|(tone, _)| is_over(*tone)) {
            shown = shown.get(1..).unwrap_or_default();
        }
        let mut spans = vec![Span::raw(TITLE)];
        if shown.len() < rungs.len() {
            spans.push(self.span(Tone::Dim, LEFT_OUT));
        }
        spans.extend(
            shown
                .iter()
                .map(|(tone, text)| self.span(*tone, text.clone())),
        );
        Line::from(spans)
    }

    fn weight(&self, rollout: &RolloutView) -> Line<'static> {
        /// The bar's length; a cell is a twentieth of the traffic.
        const CELLS: usize = 20;
        let filled = usize::from(rollout.weight_bps.as_bps()).saturating_mul(CELLS) / 10_000;
        let bar = format!(
            "{}{}",
            "█".repeat(filled),
            "░".repeat(CELLS.saturating_sub(filled))
        );
        let applied = if rollout.is_applied {
            ""
        } else {
            " (not applied yet)"
        };
        Line::from(vec![
            Span::raw("canary  "),
            self.span(Tone::Busy, bar),
            Span::raw(format!(
                "  decided {}{applied}, observed {}",
                rollout.weight_bps,
                bps_or_nothing(rollout.observed_bps)
            )),
        ])
    }

    fn figures(&self, service: &ServiceView, lines: &mut Vec<Line<'static>>) {
        let rollout = service.rollout.as_ref();
        let side = VALUE.saturating_add(WORD);
        let name = |role: &str, version: &VersionView| {
            cut(
                &format!("{role} {}", version.version),
                side.saturating_sub(1),
            )
        };
        let canary = service.canary.as_ref();
        let canary_name = canary
            .map(|canary| name("canary", canary))
            .unwrap_or_default();
        let stable_name = name("stable", &service.stable);
        let header = format!(
            "{:LABEL$}{stable_name:side$}{canary_name:side$}{}",
            "",
            if canary.is_some() { "limit" } else { "" }
        );
        lines.push(Line::from(self.strong(header.trim_end().to_owned())));
        for figure in Figure::ALL {
            let mut spans = vec![Span::raw(format!("{:LABEL$}", figure.label()))];
            spans.extend(self.figure(
                figure,
                &service.stable,
                figure.stable_status(&service.stable),
            ));
            if let Some(canary) = canary {
                spans.extend(self.figure(figure, canary, figure.canary_status(canary, rollout)));
                let room = self
                    .width
                    .saturating_sub(LABEL)
                    .saturating_sub(side.saturating_mul(2));
                spans.push(self.span(Tone::Dim, cut(&clean(&figure.limit(rollout)), room)));
            }
            lines.push(Line::from(spans));
        }
    }

    fn figure(&self, figure: Figure, version: &VersionView, status: Status) -> [Span<'static>; 2] {
        let value = cut(&figure.show(version), VALUE.saturating_sub(1));
        [
            Span::raw(format!("{value:VALUE$}")),
            self.span(status.tone(), format!("{:WORD$}", status.word())),
        ]
    }

    fn decision(
        &self,
        service: &ServiceView,
        rollout: &RolloutView,
        lines: &mut Vec<Line<'static>>,
    ) {
        match &rollout.judgement {
            Some(judgement) => {
                let word = judgement.verdict.to_string().to_uppercase();
                let word = self.span(paint::verdict(judgement.verdict), format!("{word}: "));
                let as_of = as_of(service, judgement, &self.model.zone);
                let reason = format!("{}{as_of}", judgement.reason);
                self.labeled("verdict", &[word], &reason, lines);
            }
            None => self.labeled("verdict", &[], "nothing judged yet", lines),
        }
        // One line: the question tells all of it where a person is asked.
        for (tone, text) in rollout.judgement.iter().flat_map(bands::unusual).take(1) {
            let text = cut(&text, self.width.saturating_sub(9));
            lines.push(Line::from(vec![
                self.strong("unusual  ".to_owned()),
                self.span(tone, text),
            ]));
        }
        self.labeled("do", &[], &rollout.recommendation, lines);
        if rollout.is_over {
            return;
        }
        let countdown = rollout.next_at.filter(|at| *at > self.model.now);
        let countdown =
            countdown.map(|at| self.strong(format!("in {}: ", span(self.model.now, at))));
        self.labeled(
            "next",
            &countdown.into_iter().collect::<Vec<_>>(),
            &rollout.next,
            lines,
        );
    }

    /// A label, some words in their tones, and a text over at most two lines.
    fn labeled(
        &self,
        label: &str,
        words: &[Span<'static>],
        text: &str,
        lines: &mut Vec<Line<'static>>,
    ) {
        const LINES_MAX: usize = 2;
        const INDENT: usize = 9;
        let used: usize = words.iter().map(Span::width).sum();
        // The words take their room on the first line, so the text is wrapped with a stand-in for them.
        let stand_in = format!("{}{}", "\u{1}".repeat(used), clean(text));
        let mut wrapped = wrap(&stand_in, self.width.saturating_sub(INDENT));
        if wrapped.len() > LINES_MAX {
            let rest = wrapped.split_off(LINES_MAX.saturating_sub(1)).join(" ");
            wrapped.push(cut(&rest, self.width.saturating_sub(INDENT)));
        }
        for (index, line) in wrapped.into_iter().enumerate() {
            let mut spans = Vec::new();
            if index == 0 {
                spans.push(self.strong(format!("{label:<INDENT$}")));
                spans.extend(words.iter().cloned());
                spans.push(Span::raw(line.chars().skip(used).collect::<String>()));
            } else {
                spans.push(Span::raw(format!("{:INDENT$}{line}", "")));
            }
            lines.push(Line::from(spans));
        }
    }

    /// What there is room for on a tall screen: each guard's reason, and the steps as a list.
    fn details(&self, rollout: &RolloutView, lines: &mut Vec<Line<'static>>) {
        if let Some(judgement) = &rollout.judgement {
            if let Some(comparison) = &judgement.comparison {
                lines.push(Line::raw(""));
                lines.push(Line::from(self.strong("compared with stable")));
                for metric in &comparison.metrics {
                    let verdict = self.span(
                        paint::verdict(metric.verdict),
                        format!("{:<13}", metric.verdict.to_string()),
                    );
                    let text = cut(&comparison::short(metric), self.width.saturating_sub(15));
                    lines.push(Line::from(vec![Span::raw("  "), verdict, Span::raw(text)]));
                    let why = cut(&clean(&metric.reason), self.width.saturating_sub(15));
                    lines.push(Line::raw(format!("{:15}{why}", "")));
                }
            }
            lines.push(Line::raw(""));
            lines.push(Line::from(self.strong("guards")));
            for guard in &judgement.guards {
                let verdict = self.span(
                    paint::verdict(guard.verdict),
                    format!("{:<13}", guard.verdict.to_string()),
                );
                let text = format!("{:<12} {}", guard.metric, clean(&guard.reason));
                let text = cut(&text, self.width.saturating_sub(15));
                lines.push(Line::from(vec![Span::raw("  "), verdict, Span::raw(text)]));
            }
        }
        lines.push(Line::raw(""));
        lines.push(Line::from(self.strong("steps")));
        for step in &rollout.steps {
            let (sign, word, tone) = step_sign(step.state);
            lines.push(Line::from(self.span(
                tone,
                cut(
                    &format!("  {sign} {word}  {}", clean(&step.text)),
                    self.width,
                ),
            )));
        }
    }
}

/// Returns where a rollout stands with steps that belong together.
fn rung_state(rung: &[StepView]) -> StepState {
    let is = |state: StepState| move |step: &StepView| step.state == state;
    if rung.iter().all(is(StepState::Done)) {
        StepState::Done
    } else if rung.iter().all(is(StepState::Next)) {
        StepState::Next
    } else {
        StepState::Current
    }
}
