//! ccnf-engine.
