//! The results: a table for people, JSON for programs.

use std::fmt::{self, Display, Formatter};

use serde_json::{Value, json};

use crate::statistics::{median, pairwise_ratios, quantile};

/// What a figure should reach.
#[derive(Clone, Copy)]
pub enum Goal {
    /// The ratio of the medians, at least.
    RatioAtLeast(f64),
    /// The ratio of the medians, at most.
    RatioAtMost(f64),
    /// The median itself, at most, in this unit.
    FigureAtMost(f64, &'static str),
    /// Every single figure is 0.
    AlwaysZero,
}

/// One comparison, or one figure alone.
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The unit of all its figures.
    pub unit: &'static str,
    /// socklab's figures, one per run.
    pub figures: Vec<f64>,
    /// The name and the figures of what it is held against.
    pub reference: Option<(&'static str, Vec<f64>)>,
    /// Judged only where there is something to judge it by.
    pub goal: Option<Goal>,
}

/// Several programs side by side.
pub struct Table {
    /// What it is about.
    pub title: String,
    /// The programs.
    pub columns: Vec<&'static str>,
    /// What was measured of them.
    pub lines: Vec<Line>,
}

/// One figure of each program.
pub struct Line {
    /// What was measured.
    pub what: String,
    /// The unit of all its figures.
    pub unit: &'static str,
    /// One series for each column; `None` where a program cannot do this.
    pub cells: Vec<Option<Vec<f64>>>,
}

/// All of one run.
#[derive(Default)]
pub struct Report {
    /// How and on what it was measured, and what was left out.
    pub notes: Vec<String>,
    /// The results.
    pub rows: Vec<Row>,
    /// The results that have more than two columns.
    pub tables: Vec<Table>,
    /// What could not be run, and why.
    pub not_run: Vec<String>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.reference.as_ref().map(|(_, figures)| median(&self.figures) / median(figures))
    }

    fn ratios_of_pairs(&self) -> Option<Vec<f64>> {
        self.reference.as_ref().map(|(_, figures)| pairwise_ratios(&self.figures, figures))
    }

    /// Whether the goal is met; `None` without a goal, or without the reference that it speaks of.
    pub fn is_met(&self) -> Option<bool> {
        match self.goal? {
            Goal::RatioAtLeast(limit) => Some(self.ratio()? >= limit),
            Goal::RatioAtMost(limit) => Some(self.ratio()? <= limit),
            Goal::FigureAtMost(limit, _) => Some(median(&self.figures) <= limit),
            Goal::AlwaysZero => Some(self.figures.iter().all(|figure| *figure == 0.0)),
        }
    }

    fn cells(&self) -> [String; 8] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let reference = self.reference.as_ref();
        let pairs = self.ratios_of_pairs();
        [
            self.what.clone(),
            figure(median(&self.figures), self.unit),
            or_dash(reference.map(|(name, _)| (*name).into())),
            or_dash(reference.map(|(_, figures)| figure(median(figures), self.unit))),
            or_dash(self.ratio().map(|ratio| format!("{ratio:.3}"))),
            or_dash(pairs.map(|pairs| {
                let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(&pairs, share));
                format!("{middle:.3} ({low:.3} to {high:.3})")
            })),
            or_dash(self.goal.map(|goal| goal.to_string())),
            or_dash(self.is_met().map(|met| if met { "yes" } else { "no" }.into())),
        ]
    }

    fn to_json(&self) -> Value {
        let series = |figures: &[f64]| json!({ "median": median(figures), "figures": figures });
        json!({
            "what": self.what,
            "unit": self.unit,
            "socklab": series(&self.figures),
            "against": self.reference.as_ref().map(|(name, figures)| json!({ "name": name, "result": series(figures) })),
            "ratio_of_medians": self.ratio(),
            "median_of_pair_ratios": self.ratios_of_pairs().map(|pairs| median(&pairs)),
            "goal": self.goal.map(|goal| goal.to_string()),
            "met": self.is_met(),
        })
    }
}

impl Table {
    fn cells(&self) -> Vec<Vec<String>> {
        let head = std::iter::once(self.title.clone()).chain(self.columns.iter().map(|&column| column.into()));
        let lines = self.lines.iter().map(|line| {
            let cells = line.cells.iter().map(|cell| match cell {
                Some(figures) => figure(median(figures), line.unit),
                None => "-".into(),
            });
            std::iter::once(line.what.clone()).chain(cells).collect()
        });
        std::iter::once(head.collect()).chain(lines).collect()
    }

    fn to_json(&self) -> Value {
        let line = |line: &Line| {
            let series = |figures: &Vec<f64>| json!({ "median": median(figures), "figures": figures });
            let cells: Vec<_> = line.cells.iter().map(|cell| cell.as_ref().map(series)).collect();
            json!({ "what": line.what, "unit": line.unit, "results": cells })
        };
        json!({ "title": self.title, "columns": self.columns, "lines": self.lines.iter().map(line).collect::<Vec<_>>() })
    }
}

impl Report {
    /// Everything, each single figure included.
    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        let tables: Vec<Value> = self.tables.iter().map(Table::to_json).collect();
        json!({ "notes": self.notes, "rows": rows, "tables": tables, "not_run": self.not_run })
    }
}

impl Display for Goal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Goal::RatioAtLeast(limit) => write!(f, "ratio >= {limit}"),
            Goal::RatioAtMost(limit) => write!(f, "ratio <= {limit}"),
            Goal::FigureAtMost(limit, unit) => write!(f, "<= {limit} {unit}"),
            Goal::AlwaysZero => f.write_str("0 in each run"),
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.rows.is_empty() {
            let head = ["", "socklab", "against", "", "ratio", "ratio of pairs", "goal", "met"].map(String::from);
            let rows = std::iter::once(head).chain(self.rows.iter().map(Row::cells));
            write_aligned(f, &rows.map(Vec::from).collect::<Vec<_>>())?;
        }
        for (index, table) in self.tables.iter().enumerate() {
            if index > 0 || !self.rows.is_empty() {
                writeln!(f)?;
            }
            write_aligned(f, &table.cells())?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        for what in &self.not_run {
            writeln!(f, "\nnot run: {what}")?;
        }
        Ok(())
    }
}

/// Each column as wide as its widest cell.
fn write_aligned(f: &mut Formatter<'_>, table: &[Vec<String>]) -> fmt::Result {
    let width =
        |column: usize| table.iter().map(|cells: &Vec<String>| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.first().map_or(0, Vec::len)).map(width).collect();
    for cells in table {
        let line: Vec<String> = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        writeln!(f, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

/// A figure for people: four digits or so, and its unit.
pub fn figure(value: f64, unit: &str) -> String {
    let decimals = if value >= 1000.0 { 0 } else { 2 };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Goal) -> Row {
        let reference = Some(("C", vec![4.0, 4.0, 5.0]));
        Row { what: "a test".into(), unit: "ms", figures: vec![3.0, 2.0, 1.0], reference, goal: Some(goal) }
    }

    #[test]
    fn a_goal_is_judged_by_the_ratio_of_the_medians() {
        assert_eq!(row(Goal::RatioAtMost(0.5)).is_met(), Some(true));
        assert_eq!(row(Goal::RatioAtLeast(0.51)).is_met(), Some(false));
    }

    #[test]
    fn what_must_be_zero_must_be_so_in_each_run() {
        let lost = |figures| Row { figures, reference: None, ..row(Goal::AlwaysZero) };
        assert_eq!(lost(vec![0.0, 0.0, 0.0]).is_met(), Some(true));
        assert_eq!(lost(vec![0.0, 1.0, 0.0]).is_met(), Some(false));
    }

    #[test]
    fn without_a_reference_a_ratio_is_not_judged() {
        let alone = Row { reference: None, ..row(Goal::RatioAtMost(0.5)) };
        assert_eq!(alone.is_met(), None);
    }
}
