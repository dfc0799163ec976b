//! A coupling with tokens and a condition, in all the forms in which a flow uses one.

use super::common::{Must, dot, normal, perturb};
use super::entry::Case;
use ccnf::core::{BlockCondition, CouplingSpec};
use ccnf::dfdx::prelude::*;
use ccnf::prelude::{
    Coupling, Error, Film, Grid, Index, Mat, Owner, Result, RowTable, Scalar, Streams, Var, constant,
    gradients, mat,
};
use ccnf::tensor::{constant_vec, tracked};
use std::fmt;

/// Tokens of a bench: two maps of [`GRID`].
pub(super) const TOKENS: usize = 8;
/// The map that tokens belong to, for couplings that need whole maps.
pub(super) const GRID: Grid = Grid { height: 2, width: 2 };
/// Rows of every table of the condition.
const ROWS: usize = 3;
/// Steps of the warm-up.
pub(super) const WARMUP: u64 = 10;

/// Which condition, which width, which numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) dim: usize,
    pub(super) class: bool,
    pub(super) position: bool,
    pub(super) film: bool,
    /// Under the private part of class `b`, beside one of class `a`.
    pub(super) private: bool,
    pub(super) seed: u64,
}

/// The classes with private parts, where a setup has them; the last one's is used.
pub(super) const OWNERS: [&str; 2] = ["a", "b"];

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "D = {}", self.dim)?;
        for (on, what) in [
            (self.class, "class rows"),
            (self.position, "position"),
            (self.film, "FiLM"),
            (self.private, "private part"),
        ] {
            if on {
                write!(f, ", {what}")?;
            }
        }
        write!(f, ", seed {}", self.seed)
    }
}

impl Setup {
    /// Every form, for dims 2, 5 and 8, with a seed of its own.
    pub(super) fn all(private: bool) -> Vec<Setup> {
        let conditions = [
            [false, false, false],
            [true, false, false],
            [false, true, false],
            [true, true, false],
            [false, false, true],
            [false, true, true],
        ];
        let forms = [2, 5, 8].into_iter().flat_map(|dim| conditions.map(|c| (dim, c)));
        forms
            .zip(1..)
            .map(|((dim, [class, position, film]), seed)| Setup { dim, class, position, film, private, seed })
            .collect()
    }

    pub(super) fn spec(&self) -> CouplingSpec {
        CouplingSpec {
            scope: "block0".into(),
            dim: self.dim,
            grid: GRID,
            class_width: if self.class { 3 } else { 0 },
            position_width: if self.position { 4 } else { 0 },
            warmup_steps: WARMUP,
            streams: Streams::new(self.seed),
        }
    }
}

/// Gives the owners private parts that differ from the shared one, of which only the last one's is trained.
fn own_parts(coupling: &mut dyn Coupling, streams: &Streams, at: &str) {
    coupling.params_mut().into_iter().for_each(|p| p.set_trainable(false));
    for class in OWNERS {
        coupling.grow(class).must(at);
    }
    perturb(coupling, streams, 0.3, at);
    let last = Owner::Class(OWNERS[1].into());
    coupling.params_mut().into_iter().filter(|p| *p.owner() != last).for_each(|p| p.set_trainable(false));
}

/// What a gradient is taken of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaf {
    /// The tokens.
    X,
    /// A table of the condition.
    Table(usize),
    /// A tensor of the coupling.
    Param(usize),
}

/// What a forward gives, as numbers.
#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) y: Vec<f32>,
    pub(super) log_det: Vec<f32>,
    pub(super) log_scale: Vec<f32>,
}

pub(super) struct Bench {
    pub(super) setup: Setup,
    pub(super) coupling: Box<dyn Coupling>,
    pub(super) x: Mat,
    /// Class rows, position codes, FiLM rows: those that the setup has, in this order.
    pub(super) tables: Vec<(String, Mat)>,
}

impl Bench {
    /// A perturbed coupling, past its warm-up.
    pub(super) fn new(case: &Case<dyn Coupling>, setup: Setup) -> Bench {
        case.within(&format!("set up ({setup})"), |at| Bench::made(case, setup, at))
    }

    fn made(case: &Case<dyn Coupling>, setup: Setup, at: &str) -> Bench {
        let spec = setup.spec();
        let mut coupling = case.build(&spec);
        perturb(&mut *coupling, &spec.streams, 0.3, at);
        coupling.begin_step(None).must(at);
        if setup.private {
            own_parts(&mut *coupling, &spec.streams, at);
        }
        let mut tables = vec![];
        let mut add = |name: String, cols: usize| {
            let table =
                normal(&spec.streams, &name, ROWS, cols, if name.starts_with("film") { 0.3 } else { 1.0 });
            tables.push((name, table));
        };
        if setup.class {
            add("class rows".into(), spec.class_width);
        }
        if setup.position {
            add("position codes".into(), spec.position_width);
        }
        if setup.film {
            coupling.hidden().iter().enumerate().for_each(|(i, h)| add(format!("film rows {i}"), 2 * h));
        }
        let x = normal(&spec.streams, "x", TOKENS, setup.dim, 1.0);
        Bench { setup, coupling, x, tables }
    }

    /// The condition of the tokens `rows`, with tables made by `leaf`. Class and position of a token vary independently.
    pub(super) fn condition(&self, rows: &[usize], leaf: fn(&Mat) -> Var) -> BlockCondition {
        let index = |of: fn(usize) -> usize| -> Option<Index> {
            Some(rows.iter().map(|n| (of(*n) % ROWS) as u32).collect())
        };
        let mut tables = self.tables.iter().map(|(_, t)| leaf(t));
        let mut table =
            |of: fn(usize) -> usize| tables.next().map(|table| RowTable { table, index: index(of) });
        let class = if self.setup.class { table(|n| n) } else { None };
        let position = if self.setup.position { table(|n| n / 2 + 1) } else { None };
        let film =
            std::iter::from_fn(|| table(|n| n)).map(|rows| Film { rows, before_activation: false }).collect();
        let private = self.setup.private.then(|| OWNERS[1].into());
        BlockCondition { class, position, film, private }
    }

    /// The tokens `rows` of `x`.
    fn tokens(&self, x: &Mat, rows: &[usize]) -> Mat {
        let (x, d) = (x.as_vec(), self.setup.dim);
        mat(rows.iter().flat_map(|n| x[n * d..(n + 1) * d].to_vec()).collect(), rows.len(), d)
            .expect("whole rows")
    }

    /// The forward of the tokens `rows` of `x`.
    pub(super) fn forward_rows(&self, x: &Mat, rows: &[usize]) -> Result<Out> {
        let out = self.coupling.forward(&constant(&self.tokens(x, rows)), &self.condition(rows, constant))?;
        let log_scale = out.log_scale.map_or(vec![], |s| s.as_vec());
        Ok(Out { y: out.y.as_vec(), log_det: out.log_det.as_vec(), log_scale })
    }

    /// The forward of all tokens of `x`.
    pub(super) fn forward_of(&self, x: &Mat) -> Result<Out> {
        self.forward_rows(x, &(0..TOKENS).collect::<Vec<_>>())
    }

    /// The forward of all tokens.
    pub(super) fn forward(&self, at: &str) -> Out {
        self.forward_of(&self.x).must(at)
    }

    fn weights(&self, name: &str, n: usize) -> Vec<f32> {
        Streams::new(self.setup.seed).normal(&format!("weights of {name}"), n)
    }

    /// A random objective of everything that a forward gives, in f64.
    pub(super) fn objective(&self, out: &Out) -> f64 {
        let weigh = |name: &str, v: &[f32]| dot(v, &self.weights(name, v.len()));
        weigh("y", &out.y) + weigh("log_det", &out.log_det) + weigh("log_scale", &out.log_scale)
    }

    /// The gradients of the objective.
    pub(super) fn gradients(&self, leaves: &[Leaf], at: &str) -> Vec<Vec<f32>> {
        let rows: Vec<usize> = (0..TOKENS).collect();
        let (_, (), mut grads) = gradients(|| {
            let out = self.coupling.forward(&tracked(&self.x), &self.condition(&rows, tracked))?;
            let weighted = |name: &str, v: Var| -> Result<Scalar> {
                let (r, c) = *v.shape();
                Ok((v * constant(&mat(self.weights(name, r * c), r, c)?)).sum::<Rank0, _>())
            };
            let log_det = out.log_det * constant_vec(self.weights("log_det", TOKENS))?;
            let mut total = weighted("y", out.y)? + log_det.sum::<Rank0, _>();
            if let Some(s) = out.log_scale {
                total = total + weighted("log_scale", s)?;
            }
            Ok::<_, Error>((total, ()))
        })
        .must(at);
        let params = self.coupling.params();
        let leaf = |l: &Leaf| match l {
            Leaf::X => &self.x,
            Leaf::Table(i) => &self.tables[*i].1,
            Leaf::Param(i) => params[*i].value(),
        };
        leaves.iter().map(|l| grads.of(leaf(l)).must(at)).collect()
    }

    /// Everything that needs a gradient.
    pub(super) fn leaves(&self) -> Vec<Leaf> {
        let trainable = self.coupling.params().iter().map(|p| p.is_trainable()).collect::<Vec<_>>();
        let params = (0..trainable.len()).filter(|i| trainable[*i]).map(Leaf::Param);
        std::iter::once(Leaf::X).chain((0..self.tables.len()).map(Leaf::Table)).chain(params).collect()
    }

    /// What to call a leaf.
    pub(super) fn name(&self, leaf: &Leaf) -> String {
        match leaf {
            Leaf::X => "x".into(),
            Leaf::Table(i) => self.tables[*i].0.clone(),
            Leaf::Param(i) => self.coupling.params()[*i].name().to_owned(),
        }
    }

    /// The values of a leaf.
    pub(super) fn values(&self, leaf: &Leaf) -> Vec<f32> {
        match leaf {
            Leaf::X => self.x.as_vec(),
            Leaf::Table(i) => self.tables[*i].1.as_vec(),
            Leaf::Param(i) => self.coupling.params()[*i].to_vec(),
        }
    }

    /// Replaces the values of a leaf.
    pub(super) fn set(&mut self, leaf: &Leaf, values: Vec<f32>) -> Result<()> {
        let replace = |m: &mut Mat| -> Result<()> {
            let (r, c) = *m.shape();
            *m = mat(values.clone(), r, c)?;
            Ok(())
        };
        match leaf {
            Leaf::X => replace(&mut self.x),
            Leaf::Table(i) => replace(&mut self.tables[*i].1),
            Leaf::Param(i) => Ok(self.coupling.params_mut()[*i].set(values)?),
        }
    }
}
