//! ccnf-plugin-couplings.
