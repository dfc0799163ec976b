//! Semantic compression, projected steps, weight pulling.

use super::channels_last;
use ccnf::prelude::*;
use ccnf::tensor::tracked;
use ccnf_plugin_iuf::*;
use ccnf_testkit::Vectors;
use dfdx::prelude::{Rank0, SumTo};

pub(crate) fn check_compression(v: &mut Vectors) {
    let [n, channels, cells] = v.get("in.sc.feature0").shape[..] else { panic!("features") };
    // The released threshold is made for 256 channels, whatever there are.
    let threshold = f64::from(v.get("hp.sc_ratio").scalar()) / 256.0;
    let leaves: Vec<Mat> = (0..3)
        .map(|k| {
            let data = channels_last(&v.get(&format!("in.sc.feature{k}")).data, channels, cells);
            mat(data, n * cells, channels).unwrap()
        })
        .collect();
    for (name, mode) in [("on", CompressionMode::On), ("off", CompressionMode::Off)] {
        let (loss, spectra, mut grads) = gradients(|| {
            let means = leaves.iter().map(|l| group_means(&tracked(l), n)).collect::<Result<Vec<_>>>()?;
            let out = Compression::default().loss(&means, threshold, mode)?;
            Ok::<_, Error>((out.loss, out.spectra))
        })
        .unwrap();
        v.check("out.sc.loss", &[loss]);
        for (k, (leaf, spectrum)) in leaves.iter().zip(&spectra).enumerate() {
            let gradient = channels_last(&grads.of(leaf).unwrap(), cells, channels);
            v.check(&format!("grad.sc_{name}.feature{k}"), &gradient);
            let values: Vec<f32> = spectrum.singular_values.iter().map(|s| *s as f32).collect();
            v.check(&format!("out.sc.singular_values{k}"), &values);
            v.check(&format!("out.sc.n_below{k}"), &[spectrum.below as f32]);
        }
    }
}

pub(crate) fn check_update(v: &mut Vectors) {
    let (rows, d) = (v.get("in.proj.H").data.clone(), v.get("in.proj.H").shape[1]);
    let basis = Basis::new(rows.iter(), d, &ramp(d)).unwrap();
    let values = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<_>>();
    v.check("out.proj.ramp", &values(&ramp(d)));
    v.check("out.proj.singular_values", &values(basis.singular_values()));
    let clip = f64::from(v.get("hp.clip").scalar());
    for (mode, clip) in [("plain", None), ("clipped", Some(clip))] {
        let names = ["weight", "bias", "other"];
        let mut params: Vec<Param> = names
            .iter()
            .map(|name| {
                let t = v.get(&format!("in.proj.{name}"));
                let (r, c) = t.dims2();
                Param::weight(*name, Owner::Shared, t.data.clone(), r, c).unwrap()
            })
            .collect();
        let (_, (), mut grads) = gradients(|| {
            let mut total = ccnf::tensor::constant_scalar(0.0)?;
            for p in &params {
                let g = &v.get(&format!("in.proj.grad_{}", p.name())).data;
                let (r, c) = p.shape();
                total = total + (p.var() * constant(&mat(g.clone(), r, c)?)).sum::<Rank0, _>();
            }
            Ok::<_, Error>((total, ()))
        })
        .unwrap();
        let mut sgd = ConstrainedSgd::new(clip);
        sgd.project(["weight", "bias"], basis.clone());
        let before: Vec<Vec<f32>> = params.iter().map(Param::to_vec).collect();
        let lr = f64::from(v.get("hp.lr").scalar());
        let norm = sgd.step(&mut params.iter_mut().collect::<Vec<_>>(), &mut grads, lr).unwrap();
        v.check("out.proj.clip_norm_before", &[norm as f32]);
        for (p, before) in params.iter().zip(&before) {
            let step: Vec<f32> = p.to_vec().iter().zip(before).map(|(a, b)| a - b).collect();
            v.check(&format!("out.proj.{mode}.step_{}", p.name()), &step);
        }
    }
    let names: Vec<String> =
        v.names().filter_map(|n| n.strip_prefix("out.pull.after.").map(str::to_owned)).collect();
    let share = v.get("hp.pull").scalar();
    for name in names {
        let values = |which: &str| v.get(&format!("in.pull.{which}.{name}")).data.clone();
        let pulled = pull(&values("current"), &values("old"), share);
        v.check(&format!("out.pull.after.{name}"), &pulled);
    }
}
