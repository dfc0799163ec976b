//! `ccnf data synth`, `ccnf data inspect` and `ccnf data validation`.

use super::compose;
use crate::args::{ConfigArgs, DataCommand, SynthArgs, ValidationArgs};
use crate::exit::print;
use crate::progress::Bars;
use ccnf_core::{Error, ErrorKind, MaskSource, Result};
use ccnf_data::synthetic::{SyntheticSpec, all_classes, write_mvtec};
use ccnf_engine::{Assembly, Observer, ValidationSplit, write_validation};
use std::path::Path;

pub(crate) fn data(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::Synth(a) => synth(a),
        DataCommand::Inspect(a) => inspect(a),
        DataCommand::Validation(a) => validation(a),
    }
}

fn synth(a: &SynthArgs) -> Result<()> {
    let classes: Vec<String> = if a.classes.is_empty() {
        all_classes().iter().map(|c| (*c).to_string()).collect()
    } else {
        a.classes.clone()
    };
    let spec = SyntheticSpec {
        seed: a.seed,
        size: a.size,
        classes,
        train_per_class: a.train,
        test_good_per_class: a.test_good,
        test_per_defect: a.test_per_defect,
    };
    let mut bar = Writing::new();
    write_mvtec(&spec, &a.out, |done, total| bar.at(done, total, ""))?;
    let all = a.classes.is_empty();
    let tasks = a.classes.iter().map(|c| format!("[\"{c}\"]")).collect::<Vec<_>>().join(", ");
    bar.end(&a.out, &if all { vec![] } else { vec!["--set".into(), format!("protocol.tasks=[{tasks}]")] })
}

fn validation(a: &ValidationArgs) -> Result<()> {
    let assembly = Assembly::new(&compose(&a.config)?)?;
    let split = ValidationSplit { parts: a.parts, part: a.part, painted: a.painted };
    let mut bar = Writing::new();
    write_validation(&assembly, &split, &a.out, |done, total, class| bar.at(done, total, class))?;
    // The same configuration on the new images.
    let mut same: Vec<String> = a.config.config.iter().map(|f| f.display().to_string()).collect();
    for set in a.config.set.iter().filter(|s| !s.starts_with("dataset")) {
        same.extend(["--set".into(), set.clone()]);
    }
    bar.end(&a.out, &same)
}

/// The bar of a dataset that is written; it starts with the first image.
struct Writing {
    bars: Bars,
    started: bool,
}

impl Writing {
    fn new() -> Self {
        Writing { bars: Bars::new(), started: false }
    }

    fn at(&mut self, done: usize, total: usize, class: &str) {
        if !self.started {
            self.bars.start("writing images", total as u64);
            self.started = true;
        }
        self.bars.advance(done as u64, class);
    }

    /// Says how to train on what was written to `out`, with further arguments.
    fn end(self, out: &Path, arguments: &[String]) -> Result<()> {
        self.bars.finish();
        let out = out.display().to_string();
        let dataset = ["--set", "dataset.kind=mvtec", "--set"].map(String::from);
        let all = arguments.iter().cloned().chain(dataset).chain([format!("dataset.path={out}")]);
        let all = all.map(|a| quoted(&a)).collect::<Vec<_>>().join(" ");
        print(&format!("wrote {out}\ntrain on it: ccnf run {all}\n"))
    }
}

/// An argument as a shell reads it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

fn inspect(args: &ConfigArgs) -> Result<()> {
    let a = Assembly::new(&compose(args)?)?;
    let mut text = String::from(
        "| class | train | test good | test defective | with mask | sizes |\n|---|---|---|---|---|---|\n",
    );
    let mut broken = Vec::new();
    let bars = Bars::new();
    let classes = a.classes();
    bars.start("opening images", classes.len() as u64);
    for (n, (class, _)) in classes.iter().enumerate() {
        let train = a.train_index.images(class);
        let test = a.test_index.score_class(class, |i| Ok(vec![(); i.len()]))?;
        let mut sizes = std::collections::BTreeSet::new();
        for source in train.iter().map(|i| &i.source).chain(test.iter().map(|s| &s.image.source)) {
            match a.dataset.open(source) {
                Ok(o) => {
                    sizes.insert((o.image.width, o.image.height));
                }
                Err(e) => broken.push(e),
            }
        }
        for s in &test {
            if let MaskSource::At(m) = &s.label.mask {
                let check = a.dataset.open_mask(m).and_then(|mask| {
                    let image = a.dataset.open(&s.image.source)?.image;
                    ccnf_data::check_mask_size(
                        &mask,
                        &m.label(),
                        (&s.image.source.label(), image.width, image.height),
                    )
                });
                broken.extend(check.err());
            }
        }
        let defective = test.iter().filter(|s| s.label.anomalous).count();
        let masks = test.iter().filter(|s| matches!(s.label.mask, MaskSource::At(_))).count();
        let size = match (sizes.first(), sizes.last(), sizes.len()) {
            (Some((w, h)), _, 1) => format!("{w} x {h}"),
            (Some(a), Some(b), n) => format!("{n} sizes, {} x {} to {} x {}", a.0, a.1, b.0, b.1),
            _ => "-".into(),
        };
        text += &format!(
            "| {class} | {} | {} | {defective} | {masks} | {size} |\n",
            train.len(),
            test.len() - defective
        );
        bars.advance(n as u64 + 1, class);
    }
    bars.finish();
    print(&text)?;
    match broken.len() {
        0 => Ok(()),
        n => {
            for e in &broken {
                eprintln!("{e}");
            }
            Err(Error::new(ErrorKind::Image, format!("{n} files cannot be used"))
                .help("they are listed above; mend or remove them"))
        }
    }
}
