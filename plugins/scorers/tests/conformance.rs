//! Scores and routes against the conformance vectors.

use ccnf::core::{Config, build};
use ccnf::prelude::*;
use ccnf_plugin_scorers::{choose_temperature, entropy};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::env;
use std::error::Error as StdError;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

type Outcome<T = ()> = std::result::Result<T, Box<dyn StdError>>;

/// `CCNF_REFERENCE`, else `$CCNF_SHARED/reference`, else `shared/reference` beside the workspace. Relative paths start at
/// the workspace root, whatever directory the test runs in. `None` where there is none, which is an error if `CI=true`.
fn vectors(file: &str) -> Outcome<Option<PathBuf>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = match (env::var_os("CCNF_REFERENCE"), env::var_os("CCNF_SHARED")) {
        (Some(reference), _) => workspace.join(reference),
        (None, Some(shared)) => workspace.join(shared).join("reference"),
        (None, None) => workspace.join("../shared/reference"),
    };
    let path = folder.join(file);
    if path.is_file() {
        return Ok(Some(path));
    }
    let message = format!("no conformance vectors at {} (set CCNF_REFERENCE)", path.display());
    if env::var("CI").is_ok_and(|v| v == "true") {
        return Err(message.into());
    }
    writeln!(io::stderr(), "SKIPPED: {message}")?;
    Ok(None)
}

struct Vectors {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    tolerances: Value,
}

impl Vectors {
    fn read(path: &Path) -> Outcome<Self> {
        let bytes = std::fs::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let metadata = header.metadata().clone().ok_or("no metadata")?;
        let tolerances = serde_json::from_str(metadata.get("tolerances").ok_or("no tolerances")?)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes)?.tensors() {
            let (words, _) = view.data().as_chunks::<4>();
            tensors.insert(
                name,
                (view.shape().to_vec(), words.iter().map(|w| f32::from_le_bytes(*w)).collect()),
            );
        }
        Ok(Vectors { tensors, tolerances })
    }

    fn get(&self, name: &str) -> Outcome<(&[usize], &[f32])> {
        let (shape, data) = self.tensors.get(name).ok_or_else(|| format!("no tensor {name}"))?;
        Ok((shape, data))
    }

    /// Log-likelihoods of a level as `[class][token]`.
    fn by_class(&self, level: usize) -> Outcome<Vec<Vec<f32>>> {
        let (shape, data) = self.get(&format!("out.level{level}.logp"))?;
        Ok((0..shape[1]).map(|c| data.iter().skip(c).step_by(shape[1]).copied().collect()).collect())
    }

    fn levels(&self) -> usize {
        (0..).take_while(|l| self.tensors.contains_key(&format!("out.level{l}.logp"))).count()
    }

    fn check(&self, name: &str, actual: &[f64]) -> Outcome {
        let (_, expected) = self.get(name)?;
        assert_eq!(actual.len(), expected.len(), "{name}: length");
        let bound =
            |key: &str| self.tolerances[name][key].as_f64().ok_or_else(|| format!("{name}: no {key}"));
        let (atol, rtol) = (bound("atol")?, bound("rtol")?);
        for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
            let b = f64::from(*b);
            let close = if b.is_nan() { a.is_nan() } else { (a - b).abs() <= atol + rtol * b.abs() };
            assert!(close, "{name}[{i}]: {a} instead of {b}, allowed {atol} + {rtol} |b|");
        }
        Ok(())
    }
}

fn part<K: ccnf::core::ComponentKind + ?Sized>(config: Value, spec: &K::Spec) -> Result<Box<K>> {
    let root = Config::from_json("test", &json!({ "part": config }))?.root()?;
    build::<K>(&root.child("part"), spec)
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Scores of all tokens under every class, `[class][token]`.
fn scores(config: Value, by_class: &[Vec<f32>], dim: usize, peers: &[usize]) -> Outcome<Vec<Vec<f32>>> {
    let mut scorer = part::<dyn Scorer>(config, &ScorerSpec { levels: 1 })?;
    scorer.calibrate(&[(dim, by_class.to_vec())])?;
    let under = |class| scorer.score(&TokenLikelihoods { level: 0, by_class, dim, class, peers });
    Ok((0..by_class.len()).map(under).collect::<Result<_>>()?)
}

#[test]
fn scores_equal_the_reference() -> Outcome {
    let Some(path) = vectors("ccnf_flow.safetensors")? else { return Ok(()) };
    let v = Vectors::read(&path)?;
    let by_class = v.by_class(0)?;
    let (classes, tokens) = (by_class.len(), by_class[0].len());
    let dim = v.get("in.level0.x")?.0[1];
    let (_, image_class) = v.get("in.image_class")?;
    let per_image = tokens / image_class.len();
    let given = |s: &[Vec<f32>]| -> Vec<f64> {
        (0..tokens).map(|t| f64::from(s[image_class[t / per_image] as usize][t])).collect()
    };
    let min = |s: &[Vec<f32>]| -> Vec<f64> {
        (0..tokens).map(|t| s.iter().map(|c| f64::from(c[t])).fold(f64::INFINITY, f64::min)).collect()
    };
    let all: Vec<usize> = (0..classes).collect();
    let lambda = v.get("hp.lambda_H")?.1[0];

    let plain = scores(json!({ "kind": "likelihood" }), &by_class, dim, &[])?;
    v.check("out.score.given_lambda0", &given(&plain))?;
    v.check("out.score.min_lambda0", &min(&plain))?;
    let zero = scores(json!({ "kind": "likelihood-entropy", "lambda": 0.0 }), &by_class, dim, &[])?;
    assert_eq!(zero, plain);
    let with = json!({ "kind": "likelihood-entropy", "lambda": lambda, "tau": "dim" });
    let with = scores(with, &by_class, dim, &all)?;
    v.check("out.score.given_lambda1_tauD", &given(&with))?;
    v.check("out.score.min_lambda1_tauD", &min(&with))?;

    let tau = choose_temperature(&[&by_class]).ok_or("no temperature")?;
    v.check("out.score.tau_auto", &[tau])?;
    for (name, set, config, tau) in [
        ("tau1", classes, json!(1), 1.0),
        ("tauD", classes, json!("dim"), dim as f64),
        ("fixedset_tauD", classes - 1, json!("dim"), dim as f64),
        ("tau_auto", classes, json!("auto"), tau),
    ] {
        let name = format!("out.score.entropy_{name}");
        let h = |t: usize| entropy(by_class[..set].iter().map(|c| f64::from(c[t])), tau);
        v.check(&name, &(0..tokens).map(h).collect::<Vec<_>>())?;
        // The scorer adds just this entropy: S(lambda = 1) - S(lambda = 0).
        let s = json!({ "kind": "likelihood-entropy", "lambda": 1.0, "tau": config });
        let s = scores(s, &by_class, dim, &all[..set])?;
        let difference: Vec<f64> = wide(&s[0]).iter().zip(wide(&plain[0])).map(|(a, b)| a - b).collect();
        v.check(&name, &difference)?;
    }
    Ok(())
}

#[test]
fn routes_equal_the_reference() -> Outcome {
    let Some(path) = vectors("ccnf_flow.safetensors")? else { return Ok(()) };
    let v = Vectors::read(&path)?;
    let images = v.get("in.image_class")?.1.len();
    let levels: Vec<Vec<Vec<f32>>> = (0..v.levels()).map(|l| v.by_class(l)).collect::<Outcome<_>>()?;
    let classes = levels[0].len();
    let names: Vec<String> = (0..classes).map(|c| c.to_string()).collect();
    let router = part::<dyn Router>(json!({ "kind": "likelihood" }), &RouterSpec::default())?;
    let features: Vec<Vec<f32>> = vec![];
    let (mut means, mut routes) = (vec![], vec![]);
    for i in 0..images {
        let mean = |c: usize| {
            let of = |l: &Vec<Vec<f32>>| {
                let per = l[c].len() / images;
                wide(&l[c][i * per..(i + 1) * per]).iter().sum::<f64>() / per as f64
            };
            levels.iter().map(of).sum::<f64>() / levels.len() as f64
        };
        let row: Vec<f64> = (0..classes).map(mean).collect();
        let log_likelihood: Vec<Option<f32>> = row.iter().map(|m| Some(*m as f32)).collect();
        let input =
            RouteInput { classes: &names, log_likelihood: &log_likelihood, given: None, features: &features };
        routes.push(router.route(&input)? as f64);
        means.extend(row);
    }
    v.check("out.routed.mean_logp", &means)?;
    v.check("out.routed.class", &routes)
}
