//! The derive macro behind `highwater-protocol`'s message declarations.
