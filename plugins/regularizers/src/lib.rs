//! ccnf-plugin-regularizers.
