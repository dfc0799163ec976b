//! ccnf-testkit.
