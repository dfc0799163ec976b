//! Datasets that are another one under names of their own.

/// [`Dataset`](ccnf::prelude::Dataset) of a struct around another one.
macro_rules! hands_on {
    ($dataset:ty) => {
        impl Dataset for $dataset {
            fn index(&self) -> Result<DatasetIndex> {
                self.0.index()
            }
            fn open(&self, source: &ImageSource) -> Result<OpenedImage> {
                self.0.open(source)
            }
            fn open_mask(&self, source: &ImageSource) -> Result<Mask> {
                self.0.open_mask(source)
            }
            fn content_hash(&self, source: &ImageSource) -> Result<[u8; 32]> {
                self.0.content_hash(source)
            }
        }
    };
}
