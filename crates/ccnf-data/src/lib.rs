//! ccnf-data.
