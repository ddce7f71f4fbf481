//! The group coordinator from outside: stories as scripts, and properties of random mixes.

mod cell;
mod properties;
mod script;
mod text;
