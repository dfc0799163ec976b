//! ccnf-plugin-strategies.
