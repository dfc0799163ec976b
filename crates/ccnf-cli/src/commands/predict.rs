//! `ccnf predict`.

use crate::args::PredictArgs;
use crate::exit::print;
use crate::progress::Bars;
use ccnf_core::{Error, ErrorKind, Result, write_atomic};
use ccnf_engine::{Observer, Prediction, Predictor, expand_inputs};
use npyz::WriterBuilder;
use std::collections::BTreeSet;
use std::path::Path;

/// A stage counted from 1 on the command line.
pub(crate) fn stage_index(stage: Option<usize>) -> Result<Option<usize>> {
    match stage {
        Some(0) => Err(Error::new(ErrorKind::Usage, "--stage is counted from 1")),
        s => Ok(s.map(|s| s - 1)),
    }
}

pub(crate) fn predict(args: &PredictArgs) -> Result<()> {
    let predictor = Predictor::open(&args.run, stage_index(args.stage)?, &args.set)?;
    let mut images = Vec::new();
    for i in &args.images {
        images.extend(expand_inputs(i)?);
    }
    let bars = Bars::new();
    bars.start("predict", images.len() as u64);
    let (mut failed, mut names) = (Vec::new(), BTreeSet::new());
    for (n, path) in images.iter().enumerate() {
        match predictor.predict(path, args.class.as_deref()) {
            Ok(p) => {
                if let Some(out) = &args.out {
                    write_pictures(&predictor, &p, path, out, args.npy, &mut names)?;
                }
                print(&(serde_json::to_string(&p).unwrap_or_default() + "\n"))?;
            }
            // A broken image does not stop the others; the exit code tells.
            Err(e) if e.kind() == ErrorKind::Image => {
                tracing::error!("{e}");
                let line = serde_json::json!({"image": path.display().to_string(), "error": e.to_string()});
                print(&format!("{line}\n"))?;
                failed.push(e);
            }
            Err(e) => return Err(e),
        }
        bars.advance(n as u64 + 1, "");
    }
    bars.finish();
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.remove(0)),
        n => Err(Error::new(ErrorKind::Image, format!("{n} of {} images could not be scored", images.len()))
            .help("their lines on standard output have an `error`")),
    }
}

fn write_pictures(
    predictor: &Predictor,
    p: &Prediction,
    path: &Path,
    out: &Path,
    npy: bool,
    names: &mut BTreeSet<String>,
) -> Result<()> {
    // Folder and name, so that `good/000.png` and `crack/000.png` do not meet.
    let tail: Vec<String> = path.iter().rev().take(2).map(|s| s.to_string_lossy().into_owned()).collect();
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut name = match tail.get(1).filter(|t| *t != "/" && *t != ".") {
        Some(folder) => format!("{folder}-{stem}"),
        None => stem,
    };
    let base = name.clone();
    let mut n = 1;
    while !names.insert(name.clone()) {
        n += 1;
        name = format!("{base}-{n}");
    }
    let picture = ccnf_data::overlay(&p.pixels, &p.map, predictor.heat_range(p), None)?;
    write_atomic(&out.join(format!("{name}.png")), &ccnf_data::encode_png(&picture)?)?;
    if npy {
        let mut bytes = Vec::new();
        let write = || -> std::io::Result<()> {
            let shape = [p.map.height as u64, p.map.width as u64];
            let mut w =
                npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
            w.extend(p.map.data.iter().copied())?;
            w.finish()
        };
        let mut write = write;
        write().map_err(|e| Error::io("encode", Path::new(&name), e))?;
        write_atomic(&out.join(format!("{name}.npy")), &bytes)?;
    }
    Ok(())
}
