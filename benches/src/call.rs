//! The picture of a plugin's call: who calls whom, in which order. Used by `report`, which draws it, and by `tests/figures.rs`;
//! so it uses nothing but the standard library.

use std::fmt::Write;

/// Who takes part: name, and what that is.
const LANES: [(&str, &str); 4] = [
    ("host", "your program"),
    ("runtime", "libextism, or a host of your own"),
    ("kernel", "extism-runtime.wasm"),
    ("plugin", "any WebAssembly"),
];

/// Each step: from which lane, to which, and what.
const STEPS: [(usize, usize, &str); 11] = [
    (0, 1, "call(function, input)"),
    (1, 2, "error_set(0), reset()"),
    (1, 2, "alloc(length), input copied, input_set"),
    (1, 3, "the function"),
    (3, 2, "input_load_u64, …"),
    (3, 2, "alloc, store_u64, …"),
    (3, 0, "a host function: handles in, a handle out"),
    (3, 2, "output_set, or error_set"),
    (3, 1, "0, or another number, or a trap"),
    (1, 2, "error_get, output_offset, output_length"),
    (1, 0, "the output, copied, or the error's text"),
];

const WIDTH: usize = 940;
const TOP: usize = 78;
const STEP: usize = 31;

fn x(lane: usize) -> usize {
    110 + lane * 240
}

/// The picture as SVG.
pub fn picture() -> String {
    let height = TOP + STEP * STEPS.len() + 14;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" text-anchor=\"middle\">\n\
         <title>A plugin's call: from host by runtime and kernel to plugin, and back</title>\n\
         <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" fill=\"#005ab5\"/></marker></defs>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let mut add = |text: std::fmt::Arguments<'_>| {
        writeln!(svg, "{text}").expect("writing to a string succeeds");
    };
    for (lane, (name, what)) in LANES.iter().enumerate() {
        let (x, left, bottom) = (x(lane), x(lane) - 105, height - 8);
        add(format_args!(
            "<line x1=\"{x}\" y1=\"54\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#999\" stroke-dasharray=\"3 4\"/>"
        ));
        add(format_args!(
            "<rect x=\"{left}\" y=\"8\" width=\"210\" height=\"46\" rx=\"6\" fill=\"#eef4fb\" stroke=\"#005ab5\"/>"
        ));
        add(format_args!(
            "<text x=\"{x}\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{name}</text>"
        ));
        add(format_args!(
            "<text x=\"{x}\" y=\"46\" font-size=\"12\">{what}</text>"
        ));
    }
    for (number, (from, to, what)) in STEPS.iter().enumerate() {
        let (from, to, y) = (x(*from), x(*to), TOP + STEP * number + 12);
        let (middle, above) = ((from + to) / 2, y - 7);
        let width = what.chars().count() * 7 + 8;
        let left = middle - width / 2;
        let (box_y, tip) = (y - 19, if to > from { to - 1 } else { to + 1 });
        // Behind the text, or lanes that the arrow crosses would run through it.
        add(format_args!(
            "<rect x=\"{left}\" y=\"{box_y}\" width=\"{width}\" height=\"15\" fill=\"white\"/>"
        ));
        add(format_args!(
            "<text x=\"{middle}\" y=\"{above}\" font-size=\"12\">{what}</text>"
        ));
        add(format_args!(
            "<line x1=\"{from}\" y1=\"{y}\" x2=\"{tip}\" y2=\"{y}\" stroke=\"#005ab5\" stroke-width=\"1.5\" marker-end=\"url(#head)\"/>"
        ));
    }
    svg + "</svg>\n"
}
