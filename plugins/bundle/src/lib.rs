//! ccnf-bundle.
