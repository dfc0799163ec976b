//! Single layers with all gradients.

use super::{released_name, released_rows, rows, third};
use ccnf::prelude::*;
use ccnf::tensor::tracked;
use ccnf_plugin_iuf::{DecoderLayer, EncoderLayer, Noise, Parts};
use ccnf_testkit::Vectors;
use dfdx::prelude::{Rank0, SumTo};
use std::collections::BTreeMap;

/// Gives the tensors of a layer the released values.
fn load(v: &Vectors, part: &mut impl Parts, ours: &str, released: &str) {
    let mut all = vec![];
    part.list_mut(&mut all);
    for p in all {
        let (name, which) = released_name(p.name().strip_prefix(ours).unwrap());
        p.set(third(&v.get(&format!("param.{released}.{name}")).data, which)).unwrap();
    }
}

/// Compares the gradients of a layer's tensors; those of a fused tensor are put together first.
fn check_gradients(v: &mut Vectors, part: &impl Parts, ours: &str, released: &str, grads: &mut Grads) {
    let mut all = vec![];
    part.list(&mut all);
    let mut fused = BTreeMap::<String, Vec<f32>>::new();
    for p in all {
        let (name, _) = released_name(p.name().strip_prefix(ours).unwrap());
        // Query, key and value are listed in this order.
        fused.entry(name).or_default().extend(grads.of(p.value()).unwrap());
    }
    for (name, gradient) in fused {
        v.check(&format!("grad.{released}.{name}"), &gradient);
    }
}

pub(crate) fn check_layers(v: &mut Vectors) {
    let size = |k: &str| v.dims()[k].as_u64().unwrap() as usize;
    let (d, heads, hidden, batch) = (size("d"), size("heads"), size("ff"), size("B"));
    let tokens = v.get("in.layer.src").shape[0];
    let s = Streams::new(1);
    let input = |name: &str| rows(v.get(&format!("in.layer.{name}")));
    let (src, class, position) = (input("src"), input("class_condition"), input("pos_b"));
    let (previous, g) = (input("dec_out"), input("g"));

    let mut encoder = EncoderLayer::new("enc", d, heads, hidden, &s).unwrap();
    load(v, &mut encoder, "enc.", "enc");
    let (_, y, mut grads) = gradients(|| {
        let position = constant(&position);
        let y = encoder.forward(&tracked(&src), &tracked(&class), &position, batch, &mut Noise::none())?.y;
        Ok::<_, Error>(((y.clone() * constant(&g)).sum::<Rank0, _>(), y))
    })
    .unwrap();
    let like = v.get("in.layer.src").clone();
    v.check("out.enc.y", &released_rows(&y.as_vec(), &like));
    v.check("grad.enc.src", &released_rows(&grads.of(&src).unwrap(), &like));
    v.check("grad.enc.class_condition", &released_rows(&grads.of(&class).unwrap(), &like));
    check_gradients(v, &encoder, "enc.", "enc", &mut grads);

    let mut decoder = DecoderLayer::new("dec", tokens, d, heads, hidden, &s).unwrap();
    load(v, &mut decoder, "dec.", "dec");
    let cell: Index = (0..batch * tokens).map(|i| (i % tokens) as u32).collect();
    let (_, y, mut grads) = gradients(|| {
        let position = constant(&position);
        let noise = &mut Noise::none();
        let y = decoder.forward(&tracked(&src), &tracked(&previous), &position, &cell, batch, noise)?.y;
        Ok::<_, Error>(((y.clone() * constant(&g)).sum::<Rank0, _>(), y))
    })
    .unwrap();
    v.check("out.dec.y", &released_rows(&y.as_vec(), &like));
    v.check("grad.dec.memory", &released_rows(&grads.of(&src).unwrap(), &like));
    v.check("grad.dec.prev", &released_rows(&grads.of(&previous).unwrap(), &like));
    check_gradients(v, &decoder, "dec.", "dec", &mut grads);
}
