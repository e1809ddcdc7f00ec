//! The screen of `apctl watch`: headline, findings, both nodes, the lease, and the last transitions.

use super::status::{headline_of, rows};
use super::{clean, wrapped};
use crate::decision::why::Severity;
use crate::wire::control::{History, HistoryEntry, Status};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Table, Wrap};

/// What is drawn.
#[derive(Debug, Default)]
pub struct Scene {
    status: Option<Status>,
    history: Vec<HistoryEntry>,
    /// The daemon does not answer; why.
    lost: Option<String>,
    /// Transitions above the newest that are shown first.
    above: usize,
    /// The longest lease that was seen: the whole length of the bar.
    lease_max: u64,
}

impl Scene {
    /// A newer state.
    pub fn show(&mut self, status: Status, history: History) {
        self.lease_max = self.lease_max.max(status.node.lease_remaining_ms.unwrap_or(0));
        self.status = Some(status);
        self.history = history.entries;
        self.lost = None;
    }

    /// No newer state; the last one stays on the screen and is said to be old.
    pub fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Towards older transitions, or back.
    pub fn scroll(&mut self, lines: isize) {
        let last = self.history.len().saturating_sub(1);
        self.above = self.above.saturating_add_signed(lines).min(last);
    }
}

/// Columns for the names of the rows.
const NAMES: u16 = 14;
/// Lines of findings; what is less bad than those is in `apctl status`.
const FINDINGS_MAX: u16 = 12;
const KEYS: &str = " q quit   arrows scroll the transitions ";

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, scene: &mut Scene) {
    let area = frame.area();
    let Some(status) = &scene.status else {
        let text = scene.lost.as_deref().unwrap_or("asking the daemon ...");
        frame.render_widget(Paragraph::new(clean(text)), area);
        return;
    };
    let findings: Vec<Line<'_>> =
        status.warnings.iter().flat_map(|why| finding(why, area.width.into())).collect();
    let table = nodes(status, area.width);
    let [head, warnings, both, lease, transitions, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lines(findings.len()).min(FINDINGS_MAX)),
        Constraint::Length(table.height),
        Constraint::Length(1),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(area);
    head_line(frame, head, scene, status);
    frame.render_widget(Paragraph::new(findings), warnings);
    frame.render_widget(table.widget, both);
    lease_bar(frame, lease, status, scene.lease_max);
    last(frame, transitions, scene);
    frame.render_widget(Paragraph::new(KEYS).style(Style::new().add_modifier(Modifier::REVERSED)), keys);
}

fn colour(severity: Severity) -> Style {
    match severity {
        Severity::Info => Style::new().fg(Color::Green),
        Severity::Warning => Style::new().fg(Color::Yellow),
        Severity::Error => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

fn head_line(frame: &mut Frame<'_>, area: Rect, scene: &Scene, status: &Status) {
    let (text, style) = match &scene.lost {
        Some(why) => {
            (format!("the daemon does not answer; all below is old: {why}"), colour(Severity::Error))
        }
        None => {
            let worst = status.warnings.first().map_or(Severity::Info, |why| why.severity);
            (headline_of(status), colour(worst))
        }
    };
    frame.render_widget(Paragraph::new(clean(&text)).style(style), area);
}

/// What is wrong, and what resolves it.
fn finding(why: &crate::decision::why::Why, width: usize) -> Vec<Line<'static>> {
    let text = wrapped(&clean(&format!("{} [{}]", why.text, why.code)), "", width);
    let mut shown: Vec<Line<'_>> =
        text.lines().map(|line| Line::styled(line.to_owned(), colour(why.severity))).collect();
    if !why.remedy.is_empty() {
        let remedy = wrapped(&clean(&format!("-> {}", why.remedy)), "   ", width);
        shown.extend(remedy.lines().map(|line| Line::raw(line.to_owned())));
    }
    shown
}

/// The table of both nodes, and the lines that it takes.
struct Nodes {
    widget: Table<'static>,
    height: u16,
}

/// What is too long for its column goes on in the next line.
fn nodes(status: &Status, width: u16) -> Nodes {
    let [border, gaps] = [2, 2];
    let each = width.saturating_sub(border + NAMES + gaps) / 2;
    let mut height = border;
    let shown: Vec<Row<'_>> = rows(status)
        .into_iter()
        .map(|cells| {
            let cells = cells.map(|cell| wrapped(&clean(&cell), "", each.into()));
            let most = lines(cells.iter().map(|cell| cell.lines().count()).max().unwrap_or(0)).max(1);
            height += most;
            Row::new(cells).height(most)
        })
        .collect();
    let widths = [NAMES, each, each].map(Constraint::Length);
    Nodes { widget: Table::new(shown, widths).block(Block::bordered().title(" nodes ")), height }
}

fn lines(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn lease_bar(frame: &mut Frame<'_>, area: Rect, status: &Status, most: u64) {
    let left = status.node.lease_remaining_ms.unwrap_or(0);
    let share = if most == 0 { 0.0 } else { (left as f64 / most as f64).clamp(0.0, 1.0) };
    let label = match status.node.lease_remaining_ms {
        Some(left) => format!("lease {left} ms"),
        None => "no lease here".to_owned(),
    };
    let style = Style::new().fg(if share > 0.3 { Color::Green } else { Color::Red });
    frame.render_widget(Gauge::default().ratio(share).label(label).gauge_style(style), area);
}

/// The newest transition first.
fn last(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let lines: Vec<Line<'_>> = scene
        .history
        .iter()
        .rev()
        .skip(scene.above)
        .map(|entry| {
            let time = super::history::time(entry);
            Line::from(vec![
                Span::raw(format!("{time}  ")),
                Span::styled(clean(&entry.code), colour(entry.severity)),
                Span::raw(clean(&format!(": {}", entry.text))),
            ])
        })
        .collect();
    let block = Block::bordered().title(" last transitions ");
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }).block(block), area);
}
