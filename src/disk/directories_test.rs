//! Tests, see the file beside.
