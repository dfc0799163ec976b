//! The dataset `synthetic`: generated product photos, no files needed.

use ccnf::data::content_hash;
use ccnf::data::synthetic::{SyntheticImage, SyntheticSpec};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `synthetic` dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// The seed that every picture depends on. It is not the run's seed: runs with other seeds see the same pictures.
    pub seed: u64,
    /// The side of the square pictures in pixels.
    pub size: usize,
    /// The classes; by default all.
    pub classes: Option<Vec<String>>,
    /// Normal training pictures of a class.
    pub train: usize,
    /// Normal test pictures of a class.
    pub test_good: usize,
    /// Test pictures of each kind of defect.
    pub test_per_defect: usize,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        let spec = SyntheticSpec::default();
        SyntheticConfig {
            seed: spec.seed,
            size: spec.size,
            classes: None,
            train: spec.train_per_class,
            test_good: spec.test_good_per_class,
            test_per_defect: spec.test_per_defect,
        }
    }
}

impl SyntheticConfig {
    /// The pictures that the config asks for.
    pub fn spec(self) -> SyntheticSpec {
        SyntheticSpec {
            seed: self.seed,
            size: self.size,
            classes: self.classes.unwrap_or_else(|| SyntheticSpec::default().classes),
            train_per_class: self.train,
            test_good_per_class: self.test_good,
            test_per_defect: self.test_per_defect,
        }
    }
}

/// Product photos rendered on demand, with exact masks: see [`ccnf::data::synthetic`]. A picture and its mask have the same
/// id, such as `bolt/test/rust/003`.
pub struct Synthetic {
    spec: SyntheticSpec,
}

impl Synthetic {
    /// The dataset of `config`; fails for an unknown class or an impossible size.
    pub fn new(config: SyntheticConfig) -> Result<Self> {
        let spec = config.spec();
        spec.check()?;
        Ok(Synthetic { spec })
    }

    fn find(&self, source: &ImageSource) -> Result<SyntheticImage> {
        let ImageSource::Generated(id) = source else {
            return Err(Error::new(
                ErrorKind::Contract,
                format!("the synthetic dataset was asked for the file `{}`", source.label()),
            ));
        };
        let image = SyntheticImage::parse(id)?;
        let most = match (image.train, image.defect) {
            (true, _) => self.spec.train_per_class,
            (false, None) => self.spec.test_good_per_class,
            (false, Some(_)) => self.spec.test_per_defect,
        };
        if !self.spec.classes.contains(&image.class) || image.index >= most {
            return Err(Error::new(
                ErrorKind::Dataset,
                format!("the picture `{id}` is not part of this dataset"),
            )
            .help("the dataset's classes and numbers of pictures have changed since it was listed"));
        }
        Ok(image)
    }
}

impl Dataset for Synthetic {
    fn index(&self) -> Result<DatasetIndex> {
        let mut index = DatasetIndex::default();
        for image in self.spec.images()? {
            let source = ImageSource::Generated(image.id());
            match (image.train, image.defect) {
                (true, _) => index.add_train(&image.class, source),
                (false, None) => index.add_test(&image.class, source, "good", MaskSource::AllNormal),
                (false, Some(kind)) => {
                    index.add_test(&image.class, source.clone(), kind, MaskSource::At(source));
                }
            }
        }
        Ok(index)
    }

    fn open(&self, source: &ImageSource) -> Result<OpenedImage> {
        let (image, _) = self.find(source)?.render(self.spec.seed, self.spec.size)?;
        let content_hash = content_hash(&image.data);
        Ok(OpenedImage { image, content_hash })
    }

    fn open_mask(&self, source: &ImageSource) -> Result<Mask> {
        let (image, mask) = self.find(source)?.render(self.spec.seed, self.spec.size)?;
        let normal = || Mask {
            width: image.width,
            height: image.height,
            data: vec![false; image.width * image.height],
        };
        Ok(mask.unwrap_or_else(normal))
    }
}

// registration:
ccnf::register_component!(
    Dataset,
    "synthetic",
    SyntheticConfig,
    |config, _: &Build<'_, DatasetSpec>| Synthetic::new(config),
    "generated product photos with exact masks"
);
