//! The derive macro behind `highwater-protocol`'s message declarations.
//!
//! `#[derive(Message)]` turns a struct with `#[kafka(..)]` attributes into everything that the wire needs of it:
//! reading, writing, the least size, the schema and the defaults. The attributes are listed at the trait `Message`.

mod attributes;
mod generate;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Implements `Default`, `Field` and `Nullable`; `Message` if versions are given; `Request` if a key is given.
#[proc_macro_derive(Message, attributes(kafka))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as syn::DeriveInput);
    match attributes::Declaration::parse(&input) {
        Ok(declaration) => generate::message(&declaration).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
