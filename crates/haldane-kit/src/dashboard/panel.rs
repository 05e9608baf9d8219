//! Panels of a dashboard, and where they stand.

use serde_json::{Number, Value, json};

use crate::decimal::decimal;

/// How many columns a dashboard has.
const COLUMNS: u32 = 24;

/// How a panel shows its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Lines over time.
    Lines,
    /// Lines over time, one on top of the other.
    Stack,
    /// The last number, large.
    Number,
    /// A bar for each series.
    Bars,
    /// Buckets over time.
    Heat,
    /// A row for each series.
    Table,
}

/// A panel.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) shape: Shape,
    /// Grafana's name of the unit.
    pub(super) unit: &'static str,
    /// From where on a number is bad, if it is a matter of numbers.
    pub(super) limit: Option<Limit>,
    /// What is asked, each with the name that its series get.
    pub(super) queries: Vec<(&'static str, String)>,
}

/// From where on a number is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Above so many millionths.
    Above(u64),
    /// Below so many millionths.
    Below(u64),
}

/// Returns the data source that was chosen.
pub(super) fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Returns the panels, from left to right and from top to bottom.
pub(super) fn lay_out(panels: Vec<Panel>) -> Vec<Value> {
    let (mut x, mut y, mut row) = (0, 0, 0);
    let mut placed = Vec::with_capacity(panels.len());
    for (id, panel) in (1_u32..).zip(panels) {
        let (width, height) = panel.shape.size();
        if x + width > COLUMNS {
            (x, y, row) = (0, y + row, 0);
        }
        let at = json!({ "x": x, "y": y, "w": width, "h": height });
        (x, row) = (x + width, row.max(height));
        placed.push(panel.to_value(id, &at));
    }
    placed
}

impl Shape {
    const fn size(self) -> (u32, u32) {
        match self {
            Self::Number => (6, 4),
            Self::Lines | Self::Stack | Self::Bars | Self::Heat | Self::Table => (12, 8),
        }
    }

    const fn plugin(self) -> &'static str {
        match self {
            Self::Lines | Self::Stack => "timeseries",
            Self::Number => "stat",
            Self::Bars => "bargauge",
            Self::Heat => "heatmap",
            Self::Table => "table",
        }
    }

    const fn format(self) -> &'static str {
        match self {
            Self::Heat => "heatmap",
            Self::Table => "table",
            Self::Lines | Self::Stack | Self::Number | Self::Bars => "time_series",
        }
    }

    /// Whether only the newest numbers are asked for.
    const fn is_instant(self) -> bool {
        match self {
            Self::Number | Self::Bars | Self::Table => true,
            Self::Lines | Self::Stack | Self::Heat => false,
        }
    }

    fn options(self) -> Value {
        let last = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self {
            Self::Lines | Self::Stack => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Self::Number => json!({
                "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "reduceOptions": last,
            }),
            Self::Bars => {
                json!({ "displayMode": "gradient", "orientation": "horizontal", "reduceOptions": last })
            }
            Self::Heat => json!({
                "calculate": false, "cellGap": 1, "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64 },
                "yAxis": { "axisPlacement": "left" },
            }),
            Self::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
        }
    }
}

impl Panel {
    fn to_value(&self, id: u32, at: &Value) -> Value {
        let targets = ('A'..='Z')
            .zip(&self.queries)
            .map(|(letter, (legend, expr))| {
                json!({
                    "refId": letter.to_string(),
                    "datasource": data_source(),
                    "editorMode": "code",
                    "expr": expr,
                    "legendFormat": legend,
                    "format": self.shape.format(),
                    "instant": self.shape.is_instant(),
                    "range": !self.shape.is_instant(),
                })
            });
        json!({
            "id": id,
            "title": self.title,
            "type": self.shape.plugin(),
            "gridPos": at,
            "datasource": data_source(),
            "fieldConfig": { "defaults": self.defaults(), "overrides": [] },
            "options": self.shape.options(),
            "targets": targets.collect::<Vec<Value>>(),
        })
    }

    fn defaults(&self) -> Value {
        let step = |color: &str, value: Value| json!({ "color": color, "value": value });
        let steps = match self.limit {
            None => vec![step("green", Value::Null)],
            Some(Limit::Above(limit)) => {
                vec![step("green", Value::Null), step("red", number(limit))]
            }
            Some(Limit::Below(limit)) => {
                vec![step("red", Value::Null), step("green", number(limit))]
            }
        };
        let stacking = match self.shape {
            Shape::Stack => "normal",
            Shape::Lines | Shape::Number | Shape::Bars | Shape::Heat | Shape::Table => "none",
        };
        let custom = match self.shape {
            Shape::Lines | Shape::Stack => json!({
                "drawStyle": "line",
                "lineWidth": 2,
                "fillOpacity": if stacking == "none" { 0 } else { 30 },
                "showPoints": "never",
                "stacking": { "mode": stacking, "group": "A" },
                "thresholdsStyle": { "mode": if self.limit.is_some() { "line" } else { "off" } },
            }),
            Shape::Number | Shape::Bars | Shape::Heat | Shape::Table => json!({}),
        };
        json!({
            "unit": self.unit,
            "thresholds": { "mode": "absolute", "steps": steps },
            "custom": custom,
            "min": if self.limit.is_some() { json!(0) } else { Value::Null },
        })
    }
}

/// Returns millionths as a number.
fn number(millionths: u64) -> Value {
    let number: Result<Number, _> = decimal(millionths, 1_000_000).parse();
    number.map_or(Value::Null, Value::Number)
}
