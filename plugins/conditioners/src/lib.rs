//! ccnf-plugin-conditioners.
