//! ccnf-plugin-encoders.
