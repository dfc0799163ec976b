//! A coupling with one number, and the lies it can tell.

use ccnf::dfdx::prelude::{PutTape, SplitTape, Tape};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// A constructor's answer.
pub(crate) fn made<T>(component: T) -> Result<T> {
    Ok(component)
}

/// No keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NoKeys {}

/// Config of the honest one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ScalingConfig {
    /// Where `w` starts.
    start: f32,
}

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    LogDet,
    Inverse,
    Gradient,
    HalfAGradient,
    Deaf,
    Company,
    Mixes,
    NotFinite,
    Build,
    Forward,
    Backward,
    Restless,
    Large,
    Refuses,
    Many,
    NoScales,
    Hidden,
}

/// `y = exp(w) x + c` with one trained scalar and the sum `c` of the condition's rows, and one lie.
struct Scaling {
    w: Param,
    /// Not listed; used by one lie.
    hidden: Param,
    lie: Lie,
}

impl Scaling {
    fn new(lie: Lie, start: f32, build: &Build<'_, CouplingSpec>) -> Result<Self> {
        assert!(lie != Lie::Build || build.dim < 5, "too wide for me");
        let w = Param::weight(format!("{}.w", build.scope), Owner::Shared, vec![start], 1, 1)?;
        let hidden = Param::weight(format!("{}.hidden", build.scope), Owner::Shared, vec![0.0], 1, 1)?;
        Ok(Scaling { w, hidden, lie })
    }

    /// What tokens add to `w` that count each other.
    fn company(&self, tokens: usize) -> f32 {
        match self.lie {
            Lie::Company => 1e-3 * tokens as f32,
            Lie::Many if tokens > 200 => 1e-3,
            _ => 0.0,
        }
    }
}

ccnf::stateful!(Scaling { w });

/// `y` plus the sum of each token's class row and position code.
fn shifted(y: Var, condition: &BlockCondition) -> Result<Var> {
    use ccnf::dfdx::prelude::*;
    let shape = *y.shape();
    let mut y = y;
    for rows in [&condition.class, &condition.position].into_iter().flatten() {
        let index = rows.index.clone().unwrap_or_else(|| vec![0; shape.0].into());
        let sum = ops::gather_rows(&rows.table, &index)?.sum::<(usize,), Axis<1>>();
        y = y + sum.broadcast_like::<_, Axis<1>>(&shape);
    }
    Ok(y)
}

/// The tokens, whose gradient will never be there.
fn without_a_way_back(x: &Var) -> Var {
    let (x, mut tape) = x.clone().split_tape();
    tape.add_backward_op(|_| panic!("no way back"));
    x.put_tape(tape)
}

impl Coupling for Scaling {
    fn hidden(&self) -> Vec<usize> {
        vec![]
    }
    fn mixes(&self) -> bool {
        self.lie == Lie::Mixes
    }
    fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<CouplingOutput> {
        use ccnf::dfdx::prelude::*;
        let (n, d) = *x.shape();
        let x = match self.lie {
            Lie::Deaf => constant(&mat(x.as_vec(), n, d)?),
            Lie::Backward => without_a_way_back(x),
            _ => x.clone(),
        };
        let far = x.as_vec().iter().any(|v| v.abs() > 50.0);
        if far && self.lie == Lie::Refuses {
            return Err(Error::new(ErrorKind::Contract, "too large for me"));
        }
        let x = if far && self.lie == Lie::Large { x * f32::NAN } else { x };
        let fixed = constant(self.w.value());
        let w = if self.lie == Lie::Gradient { fixed.clone() } else { self.w.var() };
        let scalar = |w: Var| w.sum::<Rank0, _>() + self.company(n);
        let mut w = scalar(w);
        if self.lie == Lie::Hidden {
            w = w + scalar(self.hidden.var());
        }
        let factor = match self.lie {
            Lie::NotFinite => w.clone() / 0.0 * 0.0,
            _ => w.clone().exp(),
        };
        let y = shifted(x * factor.broadcast_like::<_, Axes2<0, 1>>(&(n, d)), condition)?;
        let stated = if self.lie == Lie::LogDet { 1.01 } else { 1.0 };
        let w = if self.lie == Lie::HalfAGradient { scalar(fixed) } else { w };
        let log_scale = w.clone().broadcast_like::<_, Axes2<0, 1>>(&(n, d));
        let log_det = w.broadcast_like::<_, Axis<0>>(&(n,)) * (d as f32 * stated);
        if self.lie == Lie::Forward && condition.class.is_some() {
            let unset = [d];
            log_det.as_vec().resize(unset[condition.class.iter().count()], 0.0);
        }
        let log_scale = (self.lie != Lie::NoScales).then_some(log_scale);
        Ok(CouplingOutput { y, log_det, log_scale })
    }
    fn inverse(&self, y: &Mat, condition: &BlockCondition) -> Result<Mat> {
        let (n, d) = *y.shape();
        let shift = shifted(constant(&mat(vec![0.0; n * d], n, d)?), condition)?.as_vec();
        let off = if self.lie == Lie::Inverse { 1.001 } else { 1.0 };
        let factor = off / (self.w.to_vec()[0] + self.company(n)).exp();
        Ok(mat(y.as_vec().iter().zip(shift).map(|(v, c)| (v - c) * factor).collect(), n, d)?)
    }
    fn begin_step(&mut self, step: Option<u64>) -> Result<()> {
        if let (Lie::Restless, Some(step)) = (self.lie, step) {
            self.w.set(vec![0.1 * step as f32])?;
        }
        Ok(())
    }
}

ccnf::register_component!(
    Coupling,
    "honest",
    ScalingConfig,
    |c: ScalingConfig, b: &Build<'_, _>| Scaling::new(Lie::None, c.start, b),
    "one factor for all"
);

macro_rules! lies {
    ($($name:literal $lie:ident $doc:literal;)*) => { $(
        ccnf::register_component!(
            Coupling,
            $name,
            NoKeys,
            |_, b: &Build<'_, _>| Scaling::new(Lie::$lie, 0.0, b),
            $doc
        );
    )* };
}

lies! {
    "wrong-log-det" LogDet "off by 1%";
    "wrong-inverse" Inverse "off by 0.1%";
    "no-gradient" Gradient "not trained";
    "half-a-gradient" HalfAGradient "the log-determinant trains nothing";
    "deaf" Deaf "nothing behind it is trained";
    "company" Company "counts tokens";
    "no-mixing" Mixes "dims stay apart";
    "not-finite" NotFinite "divides by zero";
    "panics-in-build" Build "narrow";
    "panics-in-forward" Forward "knows no classes";
    "panics-in-backward" Backward "one-way";
    "restless" Restless "trains itself";
    "large" Large "overflows";
    "refuses-large" Refuses "an error of another kind";
    "many" Many "counts beyond 200";
    "hidden-tensor" Hidden "does not list a tensor that starts at 0";
    "no-log-scales" NoScales "keeps no volume and says it does";
}
