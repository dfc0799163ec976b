//! Which pictures a synthetic dataset has.

use super::{DEFAULT_SIZE, all_classes, check_size, defects_of, render_defect, render_normal};
use ccnf_core::{Error, ErrorKind, Mask, Result, RgbImage};

/// The size of a synthetic dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntheticSpec {
    /// The seed that every picture depends on.
    pub seed: u64,
    /// The side of the square pictures in pixels.
    pub size: usize,
    /// The classes; see [`all_classes`].
    pub classes: Vec<String>,
    /// Normal training pictures of a class.
    pub train_per_class: usize,
    /// Normal test pictures of a class.
    pub test_good_per_class: usize,
    /// Test pictures of each kind of defect.
    pub test_per_defect: usize,
}

impl Default for SyntheticSpec {
    fn default() -> Self {
        SyntheticSpec {
            seed: 0,
            size: DEFAULT_SIZE,
            classes: all_classes().into_iter().map(String::from).collect(),
            train_per_class: 60,
            test_good_per_class: 20,
            test_per_defect: 6,
        }
    }
}

/// One picture of a synthetic dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntheticImage {
    /// Its class.
    pub class: String,
    /// True in the training part.
    pub train: bool,
    /// The kind of defect, `None` for a normal picture.
    pub defect: Option<&'static str>,
    /// Its number among those of the same class, part and kind, from 0.
    pub index: usize,
}

impl SyntheticImage {
    /// The path in MVTec layout without extension, such as `bolt/test/rust/003`: the picture's stable id.
    pub fn id(&self) -> String {
        let part = if self.train { "train" } else { "test" };
        format!("{}/{part}/{}/{:03}", self.class, self.defect.unwrap_or("good"), self.index)
    }

    /// The picture of an [`id`](Self::id).
    pub fn parse(id: &str) -> Result<Self> {
        let bad = || {
            Error::new(ErrorKind::Dataset, format!("`{id}` does not name a synthetic picture"))
                .help("expected CLASS/train/good/NUMBER or CLASS/test/KIND/NUMBER")
        };
        let parts: Vec<&str> = id.split('/').collect();
        let [class, part @ ("train" | "test"), kind, number] = parts[..] else { return Err(bad()) };
        let index = number.parse().map_err(|_| bad())?;
        let defect = match (part, kind) {
            (_, "good") => None,
            ("test", kind) => Some(*defects_of(class)?.iter().find(|d| **d == kind).ok_or_else(bad)?),
            _ => return Err(bad()),
        };
        Ok(SyntheticImage { class: class.to_owned(), train: part == "train", defect, index })
    }

    /// Renders it. The mask of a defective picture comes along; that of a normal one is `None`.
    pub fn render(&self, seed: u64, size: usize) -> Result<(RgbImage, Option<Mask>)> {
        match self.defect {
            Some(kind) => render_defect(&self.class, kind, self.index, seed, size).map(|(i, m)| (i, Some(m))),
            None => {
                let split = if self.train { "train" } else { "test" };
                Ok((render_normal(&self.class, split, self.index, seed, size)?, None))
            }
        }
    }
}

/// No class has more pictures of one sort.
const MOST: usize = 1_000_000;

impl SyntheticSpec {
    /// Fails for an unknown or repeated class, no class, no training picture, over a million pictures of one sort or an impossible size.
    pub fn check(&self) -> Result<()> {
        check_size(self.size)?;
        let fail = |what: String, help: &str| Err(Error::new(ErrorKind::Config, what).help(help));
        if self.classes.is_empty() {
            return fail(
                "the synthetic dataset has an empty list of classes".into(),
                "leave the list out to get all",
            );
        }
        if self.train_per_class == 0 {
            return fail(
                "a class needs at least one training picture".into(),
                "raise the number of training pictures",
            );
        }
        let numbers = [self.train_per_class, self.test_good_per_class, self.test_per_defect];
        if let Some(n) = numbers.into_iter().find(|n| *n > MOST) {
            return fail(
                format!("a class of the synthetic dataset cannot have {n} pictures of one sort"),
                &format!("choose at most {MOST}"),
            );
        }
        for (i, class) in self.classes.iter().enumerate() {
            defects_of(class)?;
            if self.classes[..i].contains(class) {
                return fail(format!("the class `{class}` is listed twice"), "list every class once");
            }
        }
        Ok(())
    }

    /// All pictures: by class, first the training part, then normal test pictures, then the defects by kind.
    pub fn images(&self) -> Result<Vec<SyntheticImage>> {
        self.check()?;
        let mut images = vec![];
        for class in &self.classes {
            let mut add = |train: bool, defect: Option<&'static str>, n: usize| {
                images.extend((0..n).map(|index| SyntheticImage {
                    class: class.clone(),
                    train,
                    defect,
                    index,
                }));
            };
            add(true, None, self.train_per_class);
            add(false, None, self.test_good_per_class);
            for kind in defects_of(class)? {
                add(false, Some(kind), self.test_per_defect);
            }
        }
        Ok(images)
    }
}
