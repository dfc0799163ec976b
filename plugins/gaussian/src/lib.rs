//! ccnf-plugin-gaussian.
