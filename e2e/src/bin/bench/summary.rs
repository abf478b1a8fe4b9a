//! The list of figures.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::settings;

/// One measured figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// What was measured, with its size.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What the other side reached in the same run.
    pub(crate) against: Option<f64>,
    /// `value` divided by `against`.
    pub(crate) ratio: Option<f64>,
    /// The upper limit that was aimed at: of `ratio` when there is one, else of `value`.
    pub(crate) goal: Option<f64>,
    pub(crate) met: Option<bool>,
    /// The command that repeats it.
    pub(crate) how: String,
}

impl Figure {
    /// A figure without a goal.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str, how: &str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            against: None,
            ratio: None,
            goal: None,
            met: None,
            how: how.into(),
        }
    }

    /// The same with an upper limit.
    pub(crate) fn at_most(self, goal: f64) -> Self {
        Self {
            met: Some(self.value <= goal),
            goal: Some(goal),
            ..self
        }
    }

    /// The same with the other side's value.
    pub(crate) fn against(self, against: f64) -> Self {
        Self {
            ratio: Some(self.value / against),
            against: Some(against),
            ..self
        }
    }

    /// The same with an upper limit of the ratio, to be called after [`Figure::against`].
    pub(crate) fn ratio_at_most(self, goal: f64) -> Self {
        Self {
            met: self.ratio.map(|ratio| ratio <= goal),
            goal: Some(goal),
            ..self
        }
    }
}

/// All figures of one run.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Summary(Vec<Figure>);

impl Summary {
    pub(crate) fn add(&mut self, figure: Figure) {
        let against = figure
            .against
            .map_or_else(String::new, |against| format!(" against {against:.3}"));
        eprintln!("{}: {:.3} {}{against}", figure.name, figure.value, figure.unit);
        self.0.push(figure);
    }

    /// Writes `summary.json`.
    pub(crate) fn write(&self) -> Result<()> {
        let path = settings::output()?.join("summary.json");
        std::fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| format!("write {}", path.display()))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| figure | value | unit | against | ratio | goal | met | repeat with |"
        )?;
        writeln!(f, "|---|---:|---|---:|---:|---:|---|---|")?;
        let number = |value: Option<f64>| value.map_or_else(String::new, digits);
        for figure in &self.0 {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | `{}` |",
                figure.name,
                digits(figure.value),
                figure.unit,
                number(figure.against),
                number(figure.ratio),
                figure
                    .goal
                    .map_or_else(String::new, |goal| format!("≤ {}", digits(goal))),
                figure.met.map_or("", |met| if met { "yes" } else { "no" }),
                figure.how,
            )?;
        }
        Ok(())
    }
}

/// The time in ms below which `part` percent of these are.
pub(crate) fn percentile(mut times: Vec<Duration>, part: usize) -> Result<f64> {
    times.sort_unstable();
    let time = times.get(times.len() * part / 100).context("nothing was measured")?;
    Ok(time.as_secs_f64() * 1e3)
}

/// Three digits that count, and no more zeros than are needed.
fn digits(value: f64) -> String {
    let text = match value.abs() {
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        _ => format!("{value:.1}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
