//! ccnf-plugin-scorers.
