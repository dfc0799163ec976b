//! ccnf-plugin-datasets.
