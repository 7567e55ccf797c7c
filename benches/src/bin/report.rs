//! Draws the pictures of `results/`, all but that of a call from the CSVs there, and puts the tables into the READMEs.

use kernel_bench::{
    call, folder,
    tables::{read, tables},
};
use plotters::{
    coord::{
        Shift,
        ranged1d::{Ranged, ValueFormatter},
    },
    prelude::*,
};
use std::{error::Error, fs, path::Path};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Points = Vec<(f64, f64)>;

// Told apart also by those who don't see colours, and in print: blue is dark, orange light.
const OURS: RGBColor = RGBColor(0, 90, 181);
const PEER: RGBColor = RGBColor(230, 120, 20);

/// Two columns of a CSV, as far as the second one is filled in, with the second scaled.
fn points(rows: &[Vec<String>], x: usize, y: usize, x_scale: f64, y_scale: f64) -> Points {
    rows.iter()
        .filter_map(|row| {
            Some((
                row[x].parse::<f64>().ok()? / x_scale,
                row[y].parse::<f64>().ok()? / y_scale,
            ))
        })
        .collect()
}

/// A number for an axis.
fn label(value: &f64) -> String {
    match *value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e3 => format!("{} k", value / 1e3),
        value => format!("{value}"),
    }
}

/// A line for each kernel, and what is written beside them.
struct Chart<'a> {
    title: &'a str,
    x_name: &'a str,
    y_name: &'a str,
    ours: Points,
    our_name: &'a str,
    peer: Points,
    peer_name: &'a str,
    dots: bool,
    legend: SeriesLabelPosition,
}

impl Default for Chart<'_> {
    fn default() -> Self {
        Self {
            title: "",
            x_name: "",
            y_name: "",
            ours: Points::new(),
            our_name: "this kernel",
            peer: Points::new(),
            peer_name: "the peer",
            dots: true,
            legend: SeriesLabelPosition::UpperLeft,
        }
    }
}

fn draw<X, Y>(area: &Area<'_>, x: X, y: Y, what: Chart<'_>) -> Result<()>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(what.title, ("sans-serif", 19))
        .margin(10)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(if what.y_name.is_empty() { 50 } else { 72 })
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_labels(7)
        .y_labels(7)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .x_desc(what.x_name)
        .y_desc(what.y_name)
        .draw()?;
    let lines = [
        (what.our_name, &what.ours, OURS),
        (what.peer_name, &what.peer, PEER),
    ];
    for (name, points, colour) in lines {
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(3),
            ))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
        if what.dots {
            chart.draw_series(
                points
                    .iter()
                    .map(|&point| Circle::new(point, 3, colour.filled())),
            )?;
        }
    }
    chart
        .configure_series_labels()
        .position(what.legend)
        .background_style(WHITE.mix(0.9))
        .label_font(("sans-serif", 15))
        .draw()?;
    Ok(())
}

fn most(points: &[&Points]) -> f64 {
    points
        .iter()
        .flat_map(|points| points.iter())
        .map(|point| point.1)
        .fold(0.0, f64::max)
}

fn blocks(results: &Path) -> Result<()> {
    let path = results.join("growth-blocks.svg");
    let area = SVGBackend::new(&path, (1080, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let rows = read(results, "growth-blocks");
    let panels = area.split_evenly((1, 3));
    let titles = ["length", "free", "alloc, fresh space used up"];
    for (i, (panel, title)) in panels.iter().zip(titles).enumerate() {
        let [ours, peer] = [1, 2].map(|column| points(&rows, 0, 2 * i + column, 1.0, 1.0));
        let (x, y) = ((1.0..1e6).log_scale(), (10.0..2e6).log_scale());
        let y_name = if i == 0 {
            "Wasmtime fuel (instructions) a call"
        } else {
            ""
        };
        let chart = Chart {
            title,
            x_name: "live blocks",
            y_name,
            ours,
            peer,
            ..Chart::default()
        };
        draw(panel, x, y, chart)?;
    }
    Ok(area.present()?)
}

fn reset(results: &Path) -> Result<()> {
    let path = results.join("growth-reset.svg");
    let area = SVGBackend::new(&path, (720, 380)).into_drawing_area();
    area.fill(&WHITE)?;
    let rows = read(results, "growth-reset");
    let mib = f64::from(1 << 20);
    let [ours, peer] = [1, 2].map(|column| points(&rows, 0, column, mib, 1e3));
    let top = most(&[&ours, &peer]) * 1.05;
    let x = 0.0..ours.last().ok_or("no rows")?.0;
    let chart = Chart {
        title: "reset",
        x_name: "MiB used since the last reset",
        y_name: "milliseconds",
        ours,
        peer,
        ..Chart::default()
    };
    draw(&area, x, 0.0..top, chart)?;
    Ok(area.present()?)
}

fn session(results: &Path) -> Result<()> {
    let path = results.join("growth-session.svg");
    let area = SVGBackend::new(&path, (720, 380)).into_drawing_area();
    area.fill(&WHITE)?;
    let rows = read(results, "growth-session");
    let mib = f64::from(1 << 20);
    let [ours, peer] = [1, 2].map(|column| points(&rows, 0, column, 1.0, mib));
    let top = most(&[&ours, &peer]) * 1.15;
    let chart = Chart {
        title: "memory of a session without reset",
        x_name: "blocks freed and allocated, 20 live ones of 1 B to 64 KiB",
        y_name: "MiB held",
        peer_name: &format!(
            "the peer, up to {:.0} steps",
            peer.last().ok_or("no rows")?.0
        ),
        ours,
        our_name: "this kernel",
        peer,
        dots: false,
        legend: SeriesLabelPosition::UpperRight,
    };
    draw(&area, 0.0..1e6, 0.0..top, chart)?;
    Ok(area.present()?)
}

/// What a call of the runtime takes; 0 bytes have no place on such an axis.
fn runtime(results: &Path) -> Result<()> {
    let path = results.join("growth.svg");
    let area = SVGBackend::new(&path, (1080, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let rows = read(results, "growth");
    let panels = area.split_evenly((1, 2));
    let titles = [
        ("empty", "bytes in"),
        ("echo", "bytes in and out, copied by u64"),
    ];
    for (panel, (function, title)) in panels.iter().zip(titles) {
        let is_drawn = |row: &&Vec<String>| row[0] == function && row[1] != "0";
        let rows: Vec<_> = rows.iter().filter(is_drawn).cloned().collect();
        let [ours, peer] = [2, 3].map(|column| points(&rows, 1, column, 1.0, 1e3));
        let (x, y) = ((8.0..2e7).log_scale(), (0.1..1e5).log_scale());
        let chart = Chart {
            title,
            x_name: "bytes",
            y_name: "microseconds a call",
            ours,
            our_name: "this library",
            peer,
            peer_name: "the released one",
            ..Chart::default()
        };
        draw(panel, x, y, chart)?;
    }
    Ok(area.present()?)
}

/// Replaces what is between each `<!-- NAME -->` and the next empty line.
fn write_readmes(results: &Path) -> Result<()> {
    for (file, name, table) in tables(results) {
        let path = folder().join("..").join(file);
        let mut readme = fs::read_to_string(&path)?;
        let marker = format!("<!-- {name} -->\n");
        let start = readme
            .find(&marker)
            .ok_or_else(|| format!("{file} has no {marker}"))?
            + marker.len();
        let length = readme[start..]
            .find("\n\n")
            .ok_or("no empty line below the table")?
            + 1;
        readme.replace_range(start..start + length, &table);
        fs::write(path, readme)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let results = folder().join("results");
    blocks(&results)?;
    reset(&results)?;
    session(&results)?;
    runtime(&folder().join("../runtime/benches/results"))?;
    fs::write(results.join("call.svg"), call::picture())?;
    write_readmes(&results)
}
