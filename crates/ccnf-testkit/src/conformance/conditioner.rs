//! Conditioners:
//!
//! * the condition has one entry per attached block, class rows of `input_width` columns and two FiLM values per hidden unit;
//! * growing by a class leaves every older tensor and the tables of the older classes bit for bit; all that is new belongs to
//!   the new class;
//! * a class that is known, a row of the wrong length and an unknown class are refused;
//! * `set_row` changes that class's tensors alone, and `row` reads it back; a random row depends on the class's name alone;
//! * gradients of the tables are exact and reach every trainable tensor;
//! * `free` leaves every other tensor and the class's condition as they are;
//! * where it can: mixed rows are what they say, and a class that is forgotten leaves no trace;
//! * a snapshot loaded into a fresh conditioner gives the same tables bit for bit.

use super::common::{Must, close, dot, listed, perturb, refused, same_bits, unchanged};
use super::entry::Case;
use crate::finite_difference_error;
use ccnf::core::hashes;
use ccnf::dfdx::prelude::{HasShape, Rank0, SumTo};
use ccnf::prelude::{
    BlockCondition, Conditioner, ConditionerSpec, Error, ErrorKind, Index, Mat, Owner, Result, RowInit,
    RowMix, Scalar, Snapshot, Streams, Var, constant, gradients, mat,
};

/// Hidden widths of the blocks.
const BLOCKS: [&[usize]; 3] = [&[6, 6], &[5], &[]];
const GRADIENT_TOLERANCE: f64 = 1e-4;

pub(super) fn spec() -> ConditionerSpec {
    ConditionerSpec { scope: "level0".into(), dim: 7, streams: Streams::new(1) }
}

pub(super) fn check(case: &Case<dyn Conditioner>) {
    shapes(case);
    growth(case);
    refusals(case);
    rows(case);
    exact_gradients(case, false);
    exact_gradients(case, true);
    frees(case);
    mixes(case);
    forgets(case);
    loads(case);
}

/// With all blocks attached and the classes `classes`.
fn made(case: &Case<dyn Conditioner>, seed: u64, classes: &[&str]) -> Box<dyn Conditioner> {
    let at = case.at("set up");
    let mut c = case.build(&ConditionerSpec { streams: Streams::new(seed), ..spec() });
    BLOCKS.iter().enumerate().for_each(|(b, hidden)| c.attach(b, hidden).must(&at));
    classes.iter().for_each(|class| c.grow(class, &RowInit::Random).must(&at));
    perturb(&mut *c, &Streams::new(seed), 0.2, &at);
    c
}

/// The condition of one token per class.
fn condition(c: &dyn Conditioner, classes: &[usize]) -> Result<Vec<BlockCondition>> {
    let token: Index = (0..classes.len() as u32).collect();
    c.condition(classes, &token)
}

fn tables(condition: &[BlockCondition]) -> Vec<&Var> {
    condition
        .iter()
        .flat_map(|b| b.class.iter().map(|t| &t.table).chain(b.film.iter().map(|f| &f.rows.table)))
        .collect()
}

/// All tables for `classes`, one after the other.
fn values(c: &dyn Conditioner, classes: &[usize], at: &str) -> Vec<f32> {
    tables(&condition(c, classes).must(at)).into_iter().flat_map(|t| t.as_vec()).collect()
}

fn shapes(case: &Case<dyn Conditioner>) {
    let at = case.at("shapes of the condition");
    let mut c = made(case, 1, &["a", "b"]);
    listed(&mut *c, &case.at("tensors"));
    assert_eq!(c.classes(), ["a", "b"], "{at}: classes");
    let blocks = condition(&*c, &[1, 0, 1]).must(&at);
    assert_eq!(blocks.len(), BLOCKS.len(), "{at}: one condition per attached block");
    for (b, (block, hidden)) in blocks.iter().zip(BLOCKS).enumerate() {
        let at = format!("{at}, block {b}");
        assert!(block.position.is_none(), "{at}: the position is not the conditioner's");
        let width = block.class.as_ref().map_or(0, |t| t.table.shape().1);
        assert_eq!(width, c.input_width(), "{at}: columns of the class rows");
        let film: Vec<usize> = block.film.iter().map(|f| f.rows.table.shape().1).collect();
        let expected: Vec<usize> = hidden.iter().map(|h| 2 * h).collect();
        assert!(
            film.is_empty() || film == expected,
            "{at}: FiLM tables of {film:?} columns for hidden widths {hidden:?}"
        );
        for table in block.class.iter().chain(block.film.iter().map(|f| &f.rows)) {
            assert_eq!(table.table.shape().0, 3, "{at}: one row per class asked for");
            assert_eq!(table.index.as_deref(), Some(&[0, 1, 2][..]), "{at}: each token's row");
        }
    }
    assert!(
        blocks.iter().any(|b| b.class.is_some() || !b.film.is_empty()),
        "{at}: the class is nowhere in the condition"
    );
}

fn growth(case: &Case<dyn Conditioner>) {
    let at = case.at("growing by a class");
    let mut c = made(case, 1, &["a", "b"]);
    let subsets: [&[usize]; 3] = [&[0], &[1], &[1, 0]];
    let (tensors, before) = (hashes(&*c), subsets.map(|s| values(&*c, s, &at)));
    let width = c.row_width();
    for (class, init) in [("c", RowInit::Random), ("d", RowInit::Values(vec![0.25; width]))] {
        let older = hashes(&*c);
        c.grow(class, &init).must(&at);
        let after = listed(&mut *c, &at);
        unchanged(&older, &after, &at);
        let new: Vec<_> = after.iter().filter(|t| !older.contains(t)).collect();
        assert!(!new.is_empty(), "{at}: class `{class}` has no tensor of its own");
        for (name, owner, _) in new {
            assert_eq!(
                *owner,
                Owner::Class(class.into()),
                "{at}: `{name}`, which class `{class}` brought, is owned by {owner}"
            );
        }
    }
    unchanged(&tensors, &hashes(&*c), &at);
    for (subset, before) in subsets.iter().zip(&before) {
        same_bits(&values(&*c, subset, &at), before, &format!("{at}, tables of the old classes {subset:?}"));
    }
    let row = c.row(3).must(&at);
    same_bits(&row, &vec![0.25; width], &format!("{at}, the row with given values"));
    // A class's part of a table does not depend on which others are in it.
    let (alone, among) = (condition(&*c, &[1]).must(&at), condition(&*c, &[3, 1, 0]).must(&at));
    for (alone, among) in tables(&alone).iter().zip(tables(&among)) {
        let cols = alone.shape().1;
        close(
            &among.as_vec()[cols..2 * cols],
            &alone.as_vec(),
            1e-6,
            &format!("{at}, a row among other classes"),
        );
    }
}

fn refusals(case: &Case<dyn Conditioner>) {
    let at = case.at("refusals");
    let mut c = made(case, 1, &["a", "b"]);
    let before = hashes(&*c);
    let long = vec![0.0; c.row_width() + 1];
    refused(c.grow("a", &RowInit::Random), &format!("{at}: a class that is known"));
    refused(
        c.grow("c", &RowInit::Values(long.clone())),
        &format!("{at}: a row that is too long for its class"),
    );
    refused(c.set_row(0, long), &format!("{at}: a row that is too long"));
    refused(c.set_row(2, vec![0.0; c.row_width()]), &format!("{at}: the row of an unknown class"));
    refused(c.row(2), &format!("{at}: reading the row of an unknown class"));
    refused(condition(&*c, &[2]), &format!("{at}: the condition of an unknown class"));
    assert_eq!(hashes(&*c), before, "{at}: what was refused has left traces");
    assert_eq!(c.classes(), ["a", "b"], "{at}: what was refused has left traces");
}

fn rows(case: &Case<dyn Conditioner>) {
    let at = case.at("set_row");
    let mut c = made(case, 1, &["a", "b"]);
    let (before, other) = (hashes(&*c), values(&*c, &[0], &at));
    let new = Streams::new(5).normal("row", c.row_width());
    let old = c.row(1).must(&at);
    c.set_row(1, new.clone()).must(&at);
    same_bits(&c.row(1).must(&at), &new, &format!("{at}, read back"));
    same_bits(&values(&*c, &[0], &at), &other, &format!("{at}, tables of another class"));
    let untouched: Vec<_> = before.iter().filter(|t| t.1 != Owner::Class("b".into())).cloned().collect();
    unchanged(&untouched, &hashes(&*c), &at);
    c.set_row(1, old).must(&at);
    assert_eq!(hashes(&*c), before, "{at}: putting the old row back does not bring the old state back");

    let at = case.at("random rows");
    let grown = |classes: &[&str]| {
        let mut c = case.build(&spec());
        classes.iter().for_each(|class| c.grow(class, &RowInit::Random).must(&at));
        c
    };
    let (ab, ba) = (grown(&["a", "b"]), grown(&["b", "a"]));
    same_bits(&ab.row(0).must(&at), &ba.row(1).must(&at), &format!("{at}, class `a` first or second"));
    assert_ne!(ab.row(0).must(&at), ab.row(1).must(&at), "{at}: two classes start at the same row");
}

fn weights(name: usize, t: &Var) -> Vec<f32> {
    let (r, c) = *t.shape();
    Streams::new(3).normal(&format!("weights {name}"), r * c)
}

/// With `free`, of classes of which the last is of a later stage.
fn exact_gradients(case: &Case<dyn Conditioner>, free: bool) {
    let at = case.at(if free { "gradients with a free class" } else { "gradients" });
    let mut c = made(case, 1, &["a", "b", "c"]);
    if free {
        c.free("c").must(&at);
    }
    let all = [0, 1, 2];
    let (_, (), mut grads) = gradients(|| {
        let condition = condition(&*c, &all)?;
        let mut total: Option<Scalar> = None;
        for (i, t) in tables(&condition).into_iter().enumerate() {
            let (r, c) = *t.shape();
            let w: Mat = mat(weights(i, t), r, c)?;
            let term = (t.clone() * constant(&w)).sum::<Rank0, _>();
            total = Some(match total {
                None => term,
                Some(sum) => sum + term,
            });
        }
        Ok::<_, Error>((total.expect("some table"), ()))
    })
    .must(&at);
    let by_param: Vec<_> = c.params().iter().map(|p| grads.of(p.value()).must(&at)).collect();
    for (i, gradient) in by_param.iter().enumerate() {
        let (name, start, trainable) = {
            let p = c.params()[i];
            (p.name().to_owned(), p.to_vec(), p.is_trainable())
        };
        if !trainable {
            continue;
        }
        assert!(gradient.iter().any(|g| *g != 0.0), "{at}: none reaches `{name}`");
        let error = finite_difference_error(&start, gradient, &Streams::new(7), |moved| {
            c.params_mut()[i].set(moved.to_vec()).must(&at);
            let condition = condition(&*c, &all).must(&at);
            tables(&condition).into_iter().enumerate().map(|(k, t)| dot(&t.as_vec(), &weights(k, t))).sum()
        });
        c.params_mut()[i].set(start).must(&at);
        assert!(
            error < GRADIENT_TOLERANCE,
            "{at}: that of `{name}` is off by {error:e} of its size, allowed {GRADIENT_TOLERANCE:e}"
        );
    }
}

fn frees(case: &Case<dyn Conditioner>) {
    let at = case.at("a class of a later stage");
    let mut c = made(case, 1, &["a", "b"]);
    let (older, before) = (listed(&mut *c, &at), values(&*c, &[0, 1], &at));
    c.free("b").must(&at);
    let after = listed(&mut *c, &at);
    unchanged(&older, &after, &at);
    for (name, owner, _) in after.iter().filter(|t| !older.contains(t)) {
        assert_eq!(*owner, Owner::Class("b".into()), "{at}: `{name}`, which freeing `b` brought");
    }
    close(&values(&*c, &[0, 1], &at), &before, 1e-6, &format!("{at}, tables"));
    let first = values(&*c, &[0], &at);
    for p in c.params_mut().into_iter().filter(|p| *p.owner() != Owner::Class("b".into())) {
        p.set_trainable(false);
    }
    perturb(&mut *c, &Streams::new(3), 0.2, &at);
    same_bits(&values(&*c, &[0], &at), &first, &format!("{at}, tables of the other class when it learns"));
    if after.len() > older.len() {
        let moved = values(&*c, &[1], &at);
        assert!(
            moved != values(&*made(case, 1, &["a", "b"]), &[1], &at),
            "{at}: what is its own says nothing"
        );
    }
}

fn mixes(case: &Case<dyn Conditioner>) {
    let at = case.at("mixed rows");
    let c = made(case, 1, &["a", "b", "c"]);
    let width = c.row_width();
    let all = |made: Vec<BlockCondition>| -> Vec<f32> {
        tables(&made).into_iter().flat_map(|t| t.as_vec()).collect()
    };
    let mixed = |mix: Vec<f32>, shift: Vec<f32>| {
        let rows = mix.len() / 2;
        let shift = mat(shift.clone(), shift.len() / width, width).must(&at);
        let mix = mat(mix, rows, 2).must(&at);
        let mix = RowMix { mix, shift: constant(&shift) };
        c.condition_mixed(&[2, 0], &mix, &(0..rows as u32).collect())
    };
    let same = match mixed(vec![1.0, 0.0, 0.0, 1.0], vec![0.0; 2 * width]) {
        // It need not be able to.
        Err(e) if e.kind() == ErrorKind::Usage => return,
        same => same.must(&at),
    };
    close(&all(same), &values(&*c, &[2, 0], &at), 1e-6, &format!("{at} that are the rows"));
    // Half of both and a shift, against a class with that row.
    let shift = Streams::new(6).normal("shift", width);
    let (a, b) = (c.row(2).must(&at), c.row(0).must(&at));
    let row = a.iter().zip(&b).zip(&shift).map(|((a, b), s)| 0.5 * a + 0.5 * b + s).collect();
    let mut other = made(case, 1, &["a", "b", "c"]);
    other.set_row(1, row).must(&at);
    let half = all(mixed(vec![0.5, 0.5], shift).must(&at));
    close(&half, &values(&*other, &[1], &at), 1e-5, &format!("{at}, half of two and a shift"));
    refused(mixed(vec![1.0, 0.0], vec![0.0; 2 * width]), &format!("{at}: a shift of other shape"));
}

fn forgets(case: &Case<dyn Conditioner>) {
    let at = case.at("a class that is forgotten");
    let mut c = made(case, 1, &["a", "b"]);
    let (before, maps) = (hashes(&*c), values(&*c, &[0, 1], &at));
    c.grow("c", &RowInit::Random).must(&at);
    match c.forget("c") {
        // It need not be able to.
        Err(e) if e.kind() == ErrorKind::Usage => return,
        done => done.must(&at),
    }
    assert_eq!(hashes(&*c), before, "{at}: leaves traces");
    assert_eq!(c.classes(), ["a", "b"], "{at}: is still there");
    same_bits(&values(&*c, &[0, 1], &at), &maps, &at);
    refused(c.forget("c"), &format!("{at}, twice"));
}

fn loads(case: &Case<dyn Conditioner>) {
    let at = case.at("save and load");
    let c = made(case, 1, &["a", "b", "c"]);
    let mut again = made(case, 2, &["a", "b", "c"]);
    Snapshot::of(&*c, serde_json::Value::Null).restore_into(&mut *again).must(&at);
    assert_eq!(hashes(&*again), hashes(&*c), "{at}: tensors differ");
    same_bits(&values(&*again, &[2, 0, 1], &at), &values(&*c, &[2, 0, 1], &at), &at);
    let same_seed = made(case, 1, &["a", "b", "c"]);
    assert_eq!(hashes(&*same_seed), hashes(&*c), "{}", case.at("the same seed twice gives other tensors"));
}
