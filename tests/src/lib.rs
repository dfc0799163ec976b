//! ccnf-tests.
