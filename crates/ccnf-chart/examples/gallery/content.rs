//! The content of the gallery page. All numbers are made up by formulas; none is a result.

use ccnf_chart::{
    Axis, Cell, Chart, ColorScale, Column, Figure, Gallery, HeatCell, HeatMap, Image, IntervalChart,
    IntervalRow, LineChart, Page, Point, ScatterChart, Series, Table, Text,
};

const CLASSES: [&str; 15] = [
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
];
const MODELS: [&str; 6] = ["joint", "patch-memory", "fine-tune", "replay", "ewc", "hgad-film"];
const NASTY: &str = "<b>bold?</b> & \"quotes\" | pipes $x_1$ \\ 日本語 ✂️ \u{202e}rtl\u{202c} \
    a-label-that-does-not-stop-and-has-no-space-anywhere-in-it-at-all";

/// A number in 0..1 that looks random and is the same everywhere.
fn noise(i: usize) -> f64 {
    let mut x = (i as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// About normal, from twelve of [`noise`].
fn bell(i: usize) -> f64 {
    (0..12).map(|k| noise(12 * i + k)).sum::<f64>() - 6.0
}

fn quality(model: usize) -> f64 {
    0.97 - 0.035 * model as f64
}

/// A table with intervals, links, emphasis, quantities and undefined cells.
pub(crate) fn leader_board() -> Table {
    let columns = [
        Column::text("Model"),
        Column::number("Image AUROC")
            .help("Area under the ROC curve over images, mean of the classes after the last task."),
        Column::number("Pixel AUPRO")
            .help("Per-region overlap, integrated up to a false-positive rate of 0.3."),
        Column::number("Forgetting")
            .help("Mean drop of a class from its best to its last value; negative is a gain."),
        Column::number("Memory"),
        Column::number("Time per image"),
    ];
    let mut table = Table::new("Leader board of six made-up models", columns);
    for (i, model) in MODELS.iter().enumerate() {
        let q = quality(i);
        table.push([
            Cell::text(*model).link(format!("#{model}")),
            if i == 0 {
                Cell::number(q, 3).plus_minus(0.004).best()
            } else {
                Cell::number(q, 3).plus_minus(0.004 * i as f64)
            },
            match i {
                3 => Cell::undefined("no masks in this run"),
                _ => Cell::number(q - 0.05, 3).interval(q - 0.07, q - 0.02),
            },
            if i == 1 { Cell::number(-0.004, 3).best() } else { Cell::number(0.03 * i as f64, 3) },
            Cell::shown((1 << (20 + i)) as f64, format!("{} MiB", 1 << i)),
            if i == 5 {
                Cell::number(f64::NAN, 1)
            } else {
                Cell::shown(0.002 * (1 << i) as f64, format!("{} ms", 2 << i))
            },
        ]);
    }
    table
}

fn accuracy() -> LineChart {
    let y = Axis::new("Image AUROC, mean of the classes seen").limits(0.0, 1.0);
    let mut chart = LineChart::new("Accuracy over tasks", Axis::categories("After task", CLASSES), y);
    for (k, model) in MODELS.iter().enumerate() {
        let points = (0..15).map(|t| {
            let v = quality(k) - 0.012 * k as f64 * t as f64 / 2.0 + 0.006 * bell(100 * k + t);
            if k == 3 && t == 6 {
                Point::new(6.0, None)
            } else {
                Point::new(t as f64, v).interval(v - 0.015, v + 0.012)
            }
        });
        chart = chart.series(Series::new(*model, points));
    }
    chart
}

fn training() -> LineChart {
    let y = Axis::new("Negative log-likelihood").unit("bits per dimension");
    let curve = |k: usize| {
        (0..4000).map(move |i| {
            Point::new(
                i as f64,
                (i < 3100 || k > 0).then(|| {
                    1.2 + 2.0 * (-(i as f64) / (300.0 * (k + 1) as f64)).exp() + 0.05 * bell(i + 9000 * k)
                }),
            )
        })
    };
    LineChart::new("Training curves", Axis::new("Step"), y)
        .series(Series::new("bottle", curve(0)))
        .series(Series::new("cable", curve(1)))
}

fn log_log() -> LineChart {
    let line = |k: f64| {
        (0..20).map(move |i| Point::new(10f64.powf(i as f64 / 4.0), 1e-4 * 10f64.powf(k * i as f64 / 4.0)))
    };
    let (x, y) = (Axis::new("Stored tokens").log(), Axis::new("Time").unit("s").log());
    LineChart::new("Both axes logarithmic", x, y)
        .series(Series::new("linear", line(1.0)))
        .series(Series::new("quadratic", line(2.0)))
        .series(Series::new(
            "with a zero, which has no logarithm",
            [Point::new(0.0, 1.0), Point::new(100.0, 0.0), Point::new(1000.0, 3.0)],
        ))
}

fn forest() -> IntervalChart {
    let axis = Axis::new("Difference of image AUROC to joint");
    let mut chart =
        IntervalChart::new("Differences with 95 % intervals", axis).reference(0.0, "no difference").digits(3);
    for (i, model) in MODELS.iter().enumerate().skip(1) {
        let d = -0.02 * i as f64 + 0.03;
        let points = (0..3).map(|s| d + 0.01 * bell(7 * i + s));
        chart = chart.row(IntervalRow::new(*model, d).interval(d - 0.02, d + 0.02).points(points).style(i));
    }
    chart
        .row(IntervalRow::undefined("one seed only", "an interval needs two seeds"))
        .row(IntervalRow::new(NASTY, -0.05).interval(-0.06, f64::NAN))
}

fn r_matrix(model: usize) -> HeatMap {
    let mut map = HeatMap::new(format!("R-matrix of {}", MODELS[model]), "Image AUROC", &CLASSES[..8])
        .axes("After task ↓", "Evaluated on")
        .scale(ColorScale::Sequential { low: Some(0.5), high: Some(1.0) })
        .digits(2);
    for (t, class) in CLASSES.iter().enumerate().take(8) {
        let cells = (0..8).map(|c| match c <= t {
            true => HeatCell::from(
                (quality(model) - 0.01 * (model * (t - c)) as f64 + 0.01 * bell(64 * model + 8 * t + c))
                    .min(1.0),
            ),
            false => HeatCell::Undefined("not learnt yet".into()),
        });
        map = map.row(*class, cells);
    }
    map
}

fn drift() -> HeatMap {
    let mut map =
        HeatMap::new("Drift of the score thresholds", "Change", CLASSES.map(|c| format!("{c} (long name)")))
            .axes("Layer", "Class")
            .scale(ColorScale::Diverging { center: 0.0, reach: None });
    for layer in 0..6 {
        map = map.row(format!("block {layer}"), (0..15).map(|c| 0.3 * bell(layer * 15 + c)));
    }
    map
}

fn large_map() -> HeatMap {
    let mut map = HeatMap::new("Forty columns", "Routing share", (0..40).map(|c| format!("class {c}")))
        .axes("True class", "Routed to");
    for i in 0..40 {
        map = map.row(
            format!("class {i}"),
            (0..40).map(|j| if i == j { 0.6 + 0.4 * noise(i) } else { 0.2 * noise(40 * i + j) }),
        );
    }
    map
}

fn cost() -> ScatterChart {
    let (x, y) = (Axis::new("Training time").unit("s").log(), Axis::new("Image AUROC").limits(0.0, 1.0));
    let points =
        |from: usize, to: usize| {
            (from..to).map(|i| {
                let q = quality(i % 6) - 0.02 * noise(i);
                Point::new(10f64.powf(1.0 + 3.0 * noise(i + 50)), q)
                    .interval(q - 0.012, q + 0.01)
                    .label(format!("{} {}", MODELS[i % 6], i / 6 + 1))
            })
        };
    ScatterChart::new("Quality against cost", x, y)
        .group(Series::new("with replay", points(0, 8)))
        .group(Series::new("without replay", points(8, 18)))
}

fn embedding() -> ScatterChart {
    let axis = |n| Axis::new(format!("t-SNE {n}")).without_ticks();
    (0..9).fold(ScatterChart::new("t-SNE of 720 features", axis(1), axis(2)), |chart, g| {
        let (cx, cy) = (25.0 * (g % 3) as f64, 25.0 * (g / 3) as f64);
        chart.group(Series::new(
            CLASSES[g],
            (0..80).map(|i| Point::new(cx + 5.0 * bell(200 * g + i), cy + 5.0 * bell(200 * g + i + 90))),
        ))
    })
}

fn crowded() -> ScatterChart {
    let points = (0..30).map(|i| {
        Point::new(1.0 + 0.02 * noise(i), 0.9 + 0.001 * noise(i + 40))
            .label(format!("almost the same place {i}"))
    });
    ScatterChart::new("Thirty labels in one place", Axis::new("x"), Axis::new("y"))
        .group(Series::new("", points.chain([Point::new(3.0, 0.93).label(NASTY)])))
}

fn wide_table() -> Table {
    let mut table = Table::new("Forty columns and long names", [Column::text("Row")]);
    table.columns.extend((1..40).map(|c| Column::number(format!("class {c}"))));
    for i in 0..12 {
        let mut row = vec![Cell::text(if i == 5 { NASTY.to_string() } else { format!("run {i}") })];
        row.extend((1..40).map(|c| {
            if (i * c) % 17 == 5 {
                Cell::undefined("the run stopped early")
            } else {
                Cell::number(noise(40 * i + c), 3)
            }
        }));
        table.push(row);
    }
    table
}

fn nasty_table() -> Table {
    let columns = [Column::text("Text"), Column::number("Mixed").help(NASTY), Column::text("")];
    let mut table = Table::new(format!("Nasty: {NASTY}"), columns);
    table.push([
        Cell::text(NASTY).link("javascript:alert(1)"),
        Cell::number(f64::INFINITY, 3),
        Cell::text("item 10"),
    ]);
    table.push([Cell::text("").best(), Cell::number(1e300, 3), Cell::text("item 9")]);
    table.push([Cell::text("short row")]);
    table.push([Cell::text("item 2"), Cell::number(-1e-9, 3), Cell::text("Item 1")]);
    table.push([Cell::text("a"), Cell::text("a text among numbers"), Cell::text("é")]);
    table.push([Cell::text("B"), Cell::number(-0.25, 2), Cell::undefined(NASTY)]);
    table
}

/// A picture of a gradient with a spot, and its mask or its map.
fn picture(kind: usize, seed: usize) -> Image {
    let side = 96;
    let (cx, cy) = (20.0 + 56.0 * noise(seed), 20.0 + 56.0 * noise(seed + 1));
    let pixels = image::RgbImage::from_fn(side, side, |x, y| {
        let d = ((f64::from(x) - cx).powi(2) + (f64::from(y) - cy).powi(2)).sqrt();
        let base = 120 + x as u8 / 2 + (40.0 * noise((y * side + x) as usize)) as u8;
        match kind {
            0 if d < 9.0 => image::Rgb([70, 40, 30]),
            0 => image::Rgb([base, base, base.saturating_sub(20)]),
            1 => image::Rgb([if d < 9.0 { 255 } else { 0 }; 3]),
            _ => {
                let h = (255.0 * (-d * d / 260.0).exp()) as u8;
                image::Rgb([h, h / 3, 255 - h])
            }
        }
    });
    let mut bytes = std::io::Cursor::new(vec![]);
    let format = if kind == 0 { image::ImageFormat::Jpeg } else { image::ImageFormat::Png };
    pixels.write_to(&mut bytes, format).expect("an image in memory can be encoded");
    let what = ["Surface with a dark spot", "Mask of the spot", "Anomaly map, highest at the spot"][kind];
    let image = Image::new(bytes.get_ref(), format!("{what}, sample {seed}")).expect("it was just encoded");
    image.caption(format!("{}, sample {seed}", ["input", "mask", "map"][kind]))
}

/// A page with a little of everything, for the test of the browser test.
pub(crate) fn small_page() -> Page {
    let mut page = Page::new("A small page");
    let s = page.section("Results");
    s.table(leader_board()).figure(Figure::new(&forest())).figure(Figure::new(&accuracy()));
    page.section("Images").gallery(Gallery::new("", (0..3).map(|k| picture(k, 0))));
    page
}

type Charts = Vec<(&'static str, Box<dyn Chart>)>;

/// The page, and its charts by name.
pub(crate) fn page() -> (Page, Charts) {
    let mut page = Page::new("Gallery of ccnf-chart");
    page.lead("Every kind of chart and table, with ordinary and with nasty input. All numbers are made up by formulas.");
    page.lead(
        Text::from("See ")
            .link("the nasty part", "#nasty-input")
            .then(" for what the page survives; made by `cargo run --example gallery`."),
    );

    let s = page.section("Leader board");
    s.paragraph(
        "The models are sorted by a click on a column's head. A dash is a value that does not \
         exist; its reason is in the tooltip and below the table.",
    );
    s.notice("Two things are missing here on purpose: the masks of `replay` and the time of `hgad-film`.");
    s.table(leader_board());
    s.figure(Figure::new(&forest()).caption("Rings are single seeds; the dashed line is no difference."));

    let s = page.section("Over tasks");
    s.figure(
        Figure::new(&accuracy())
            .caption("Bands are 95 % intervals. The gap of `replay` is a task that did not finish."),
    );
    let sub = s.section("R-matrices");
    sub.paragraph("Rows are the tasks in the order of training, columns the classes evaluated after each.");
    sub.figures((0..4).map(|m| Figure::new(&r_matrix(m)).without_data()));
    let sub = s.section("Routing and drift");
    sub.figure(Figure::new(&drift()).caption("Orange is up, blue is down."));
    sub.figure(Figure::new(&large_map()).caption("Too many cells for values."));

    let s = page.section("Cost");
    s.figure(Figure::new(&cost()).caption("Up and to the left is better."));
    s.figures([
        Figure::new(&training())
            .caption("Four thousand steps, condensed to what a screen can show; one curve ends early."),
        Figure::new(&log_log()).caption("What a logarithmic axis cannot show is said below."),
    ]);
    s.figure(Figure::new(&embedding()).caption("Groups differ by marker as well as by colour."));

    let s = page.section("Images");
    let triples = (0..2).flat_map(|i| (0..3).map(move |k| picture(k, i)));
    s.gallery(Gallery::new("Input, mask and map; a click or the Enter key enlarges.", triples).columns(3));
    s.gallery(Gallery::new("As many as fit.", (2..12).map(|i| picture(2, i))));

    let s = page.section("Words");
    s.list(["one", "two with `code`", "three"]);
    s.facts([
        ("Seeds", "0, 1, 2"),
        ("Data", "made up"),
        (
            "A rather long name of a fact",
            "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ),
    ]);
    s.code(
        "A config",
        "[model]\nname = \"patch-memory\"\n# a comment that is so long that the block has to scroll \
         sideways instead of widening the page on a phone or a narrow window\n",
    );
    let d = s.details("A folded part with a table");
    d.paragraph("Unfolded on paper.");
    let mut small = Table::new("Small", [Column::text("Name"), Column::number("Value")]);
    small.push([Cell::text("b"), Cell::number(2.0, 1)]).push([Cell::text("a"), Cell::number(10.0, 1)]);
    d.table(small);

    let nan: Series = Series::over_index("broken", [f64::NAN, f64::INFINITY]);
    let plain = || (Axis::new("x"), Axis::new("y"));
    let (x, y) = plain();
    let nothing = LineChart::new("Nothing defined", x, y).series(nan);
    let (x, y) = plain();
    let one = LineChart::new("One point", x, y).series(Series::over_index("alone", [0.25]));
    let x = Axis::categories("Task", (0..300).map(|i| format!("task {i}")));
    let many = LineChart::new("Three hundred categories", x, Axis::new(NASTY).unit(NASTY))
        .series(Series::over_index(NASTY, (0..300).map(|i| 1e9 * bell(i)).collect::<Vec<_>>()))
        .series(Series::over_index(
            "alternating gaps",
            (0..300).map(|i| (i % 2 == 0).then_some(4e9)).collect::<Vec<_>>(),
        ));
    let x = Axis::categories(NASTY, [NASTY, "b", ""]);
    let long = (0..18).fold(LineChart::new(NASTY, x, Axis::new("y")), |c, k| {
        c.series(Series::over_index(format!("series number {k}"), [k as f64, 2.0, k as f64 / 2.0]))
    });
    let labels = HeatMap::new("Long labels", NASTY, [NASTY, "b", "c"])
        .axes(NASTY, NASTY)
        .row(NASTY, [1e300, -1e300, 0.0])
        .row("short", [1.0]);
    let single = HeatMap::new("One cell", "v", ["a"]).row("r", [0.5]);
    let none =
        HeatMap::new("No cell", "v", ["a"]).row("r", [HeatCell::Undefined("no masks in the data".into())]);
    let empty = IntervalChart::new("No row", Axis::new("x"));

    let s = page.section("Nasty input");
    s.table(nasty_table());
    s.table(wide_table());
    s.table(Table::new("Without rows", [Column::text("a"), Column::number("b")]));
    s.figures([
        Figure::new(&nothing),
        Figure::new(&one),
        Figure::new(&none),
        Figure::new(&empty),
        Figure::new(&single),
    ]);
    s.figure(Figure::new(&many))
        .figure(Figure::new(&long))
        .figure(Figure::new(&labels))
        .figure(Figure::new(&crowded()));
    s.gallery(Gallery::new("No images", []));
    page.section(NASTY).paragraph(NASTY);

    page.provenance([
        ("ccnf-chart", env!("CARGO_PKG_VERSION")),
        ("Source", "`examples/gallery.rs`"),
        ("Data", "made up by formulas"),
    ]);

    let charts: Charts = vec![
        ("accuracy", Box::new(accuracy())),
        ("training", Box::new(training())),
        ("log-log", Box::new(log_log())),
        ("forest", Box::new(forest())),
        ("r-matrix", Box::new(r_matrix(2))),
        ("drift", Box::new(drift())),
        ("forty-columns", Box::new(large_map())),
        ("cost", Box::new(cost())),
        ("t-sne", Box::new(embedding())),
        ("crowded", Box::new(crowded())),
        ("long-names", Box::new(long)),
        ("no-data", Box::new(nothing)),
    ];
    (page, charts)
}
