//! Every expected value of `metrics.safetensors` and `metrics.json`, both made outside this project.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ccnf_metrics::{
    AUPRO_FPR_LIMIT, Connectivity, Metric, PixelMap, PixelStream, RMatrix, auroc, average_precision,
    continual_summary, f1_max,
};
use common::{Outcome, Tensor, Vectors, reference_directory};
use serde_json::Value;

/// Side columns of another library: for information, not to be matched.
fn is_informative(name: &str) -> bool {
    name.starts_with("alt.") && name.contains("anomalib")
}

fn flags(tensor: &Tensor) -> Outcome<Vec<bool>> {
    let flag = |&value: &f32| match value {
        0.0 => Ok(false),
        1.0 => Ok(true),
        other => Err(format!("{other} is not a label").into()),
    };
    tensor.data.iter().map(flag).collect()
}

/// Our values for one expected tensor.
struct Computed {
    shape: Vec<usize>,
    values: Vec<Metric>,
}

impl From<Metric> for Computed {
    fn from(metric: Metric) -> Self {
        Self { shape: vec![1], values: vec![metric] }
    }
}

fn image(vectors: &Vectors, case: &str, quantity: &str) -> Outcome<Computed> {
    let scores = &vectors.tensor(&format!("image.{case}.scores"))?.data;
    let labels = flags(vectors.tensor(&format!("image.{case}.labels"))?)?;
    Ok(match quantity {
        "auroc" => auroc(scores, &labels)?,
        "ap" => average_precision(scores, &labels)?,
        "f1max" => f1_max(scores, &labels)?.f1,
        _ => return Err("unknown quantity".into()),
    }
    .into())
}

fn pixel(vectors: &Vectors, case: &str, quantity: &str) -> Outcome<Computed> {
    let maps = vectors.tensor(&format!("pixel.{case}.maps"))?;
    let masks = flags(vectors.tensor(&format!("pixel.{case}.masks"))?)?;
    let &[_, height, width] = maps.shape.as_slice() else {
        return Err(format!("maps of shape {:?}", maps.shape).into());
    };
    let maps: Vec<PixelMap<'_>> = maps
        .data
        .chunks(height * width)
        .zip(masks.chunks(height * width))
        .map(|(scores, mask)| PixelMap::new(height, width, scores, mask))
        .collect::<Result<_, _>>()?;
    let (quantity, connectivity) = match quantity.strip_suffix("_conn4") {
        Some(quantity) => (quantity, Connectivity::Four),
        None => (quantity, Connectivity::Eight),
    };
    let mut stream = PixelStream::new(connectivity);
    stream.push(&maps)?;
    let set = stream.finish();
    Ok(match quantity {
        "auroc" => set.auroc(),
        "ap" => set.average_precision(),
        "f1max" => set.f1_max().f1,
        "aupro" => set.aupro(AUPRO_FPR_LIMIT)?,
        "n_regions" => Metric::of(set.region_count() as f64),
        _ => match quantity.strip_prefix("aupro_limit_") {
            Some(limit) => set.aupro(limit.parse()?)?,
            None => return Err("unknown quantity".into()),
        },
    }
    .into())
}

fn continual(vectors: &Vectors, case: &str, quantity: &str) -> Outcome<Computed> {
    let r = vectors.tensor(&format!("continual.{case}.R"))?;
    let &[tasks, classes] = r.shape.as_slice() else {
        return Err(format!("R of shape {:?}", r.shape).into());
    };
    let task_of_class = vectors.tensor(&format!("continual.{case}.task_of_class"))?;
    let task_of_class: Vec<usize> = task_of_class.data.iter().map(|&task| task as usize).collect();
    let row = |row: &[f32]| row.iter().map(|&value| Metric::of(f64::from(value))).collect();
    let rows = r.data.chunks(classes).map(row).collect();
    let summary = continual_summary(&RMatrix::from_rows(rows, task_of_class)?);
    Ok(match quantity {
        "S" => return Ok(Computed { shape: vec![tasks], values: summary.per_task }),
        "acc_final" => summary.acc_final,
        "acc_avg" => summary.acc_avg,
        "fm" => summary.fm,
        "fm_base" => summary.fm_base,
        "bwt" => summary.bwt,
        _ => return Err("unknown quantity".into()),
    }
    .into())
}

/// Cases of each section, from the names of the input tensors.
fn cases(vectors: &Vectors) -> BTreeMap<&'static str, BTreeSet<&str>> {
    [("image", ".scores"), ("pixel", ".maps"), ("continual", ".R")]
        .map(|(section, input)| {
            let case = |name| str::strip_suffix(str::strip_prefix(name, section)?.strip_prefix('.')?, input);
            (section, vectors.names().filter_map(case).collect())
        })
        .into()
}

/// Computes the tensor `out.{section}.{case}.{quantity}` or `alt.…`.
fn compute(vectors: &Vectors, name: &str) -> Outcome<Computed> {
    let path = name.strip_prefix("out.").or_else(|| name.strip_prefix("alt.")).ok_or("no known prefix")?;
    for (section, cases) in cases(vectors) {
        // the longest case first, in case one name continues another
        for case in cases.iter().rev() {
            let Some(quantity) = path.strip_prefix(&format!("{section}.{case}.")) else { continue };
            return match section {
                "image" => image(vectors, case, quantity),
                "pixel" => pixel(vectors, case, quantity),
                _ => continual(vectors, case, quantity),
            };
        }
    }
    Err("no inputs of that case".into())
}

fn load() -> Outcome<Option<(Vectors, Value)>> {
    let Some(directory) = reference_directory("metrics")? else { return Ok(None) };
    let vectors = Vectors::read(&directory.join("metrics.safetensors"))?;
    let json = serde_json::from_str(&fs::read_to_string(directory.join("metrics.json"))?)?;
    Ok(Some((vectors, json)))
}

#[test]
fn every_expected_tensor_is_matched() -> Outcome {
    let Some((vectors, _)) = load()? else { return Ok(()) };
    let (mut checked, mut failures) = (BTreeMap::<&str, usize>::new(), Vec::new());
    for (name, tolerance) in vectors.expected().filter(|(name, _)| !is_informative(name)) {
        let expected = vectors.tensor(name)?;
        match compute(&vectors, name) {
            Err(error) => failures.push(format!("{name}: {error}")),
            Ok(computed) if computed.shape != expected.shape => {
                failures.push(format!("{name}: shape {:?}, expected {:?}", computed.shape, expected.shape));
            }
            Ok(computed) => {
                for (index, (metric, &expected)) in computed.values.iter().zip(&expected.data).enumerate() {
                    if !tolerance.accepts(metric.value().unwrap_or(f64::NAN), f64::from(expected)) {
                        failures.push(format!("{name}[{index}]: {metric}, expected {expected}"));
                    }
                }
            }
        }
        *checked.entry(name.split('.').nth(1).unwrap_or(name)).or_default() += 1;
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    for (section, cases) in cases(&vectors) {
        assert!(!cases.is_empty(), "no case of section {section}");
        let count = checked.get(section).copied().unwrap_or(0);
        assert!(count >= cases.len(), "{section}: {count} tensors for {} cases", cases.len());
    }
    Ok(())
}

#[test]
fn null_in_the_json_is_undefined_with_a_reason_and_nothing_else_is() -> Outcome {
    let Some((vectors, json)) = load()? else { return Ok(()) };
    let tolerances: BTreeMap<_, _> = vectors.expected().collect();
    let mut nulls = 0;
    for (section, cases) in cases(&vectors) {
        let entries = json[section].as_object().ok_or_else(|| format!("no object {section}"))?;
        assert_eq!(entries.keys().map(String::as_str).collect::<BTreeSet<_>>(), cases, "cases of {section}");
        for (case, quantities) in entries {
            let quantities =
                quantities.as_object().ok_or_else(|| format!("{section}.{case} is no object"))?;
            for (key, value) in quantities {
                let name = match key.strip_prefix("alt_") {
                    Some(quantity) => format!("alt.{section}.{case}.{quantity}"),
                    None => format!("out.{section}.{case}.{key}"),
                };
                let is_input = vectors.tensor(&format!("{section}.{case}.{key}")).is_ok();
                if is_input || is_informative(&name) {
                    continue;
                }
                let tolerance = tolerances.get(name.as_str()).ok_or_else(|| format!("no tensor {name}"))?;
                let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                let computed = compute(&vectors, &name)?.values;
                assert_eq!(computed.len(), values.len(), "{name}");
                for (metric, value) in computed.iter().zip(&values) {
                    if value.is_null() {
                        nulls += 1;
                        assert!(metric.reason().is_some_and(|reason| !reason.is_empty()), "{name}: {metric}");
                        assert_eq!(serde_json::to_string(metric)?, "null", "{name}");
                    } else {
                        let expected = value.as_f64().ok_or_else(|| format!("{name} is no number"))?;
                        let actual = metric.value().unwrap_or(f64::NAN);
                        assert!(tolerance.accepts(actual, expected), "{name}: {metric}, expected {expected}");
                    }
                }
            }
        }
    }
    assert!(nulls > 0, "the vectors hold no undefined value");
    Ok(())
}
