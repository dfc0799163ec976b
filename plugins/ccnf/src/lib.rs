//! ccnf-plugin-flow.
