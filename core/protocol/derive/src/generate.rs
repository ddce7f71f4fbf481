//! The implementations that a declaration stands for.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use crate::attributes::{Declaration, FieldDeclaration, Versions};

pub(crate) fn message(declaration: &Declaration) -> TokenStream {
    let default = default(declaration);
    let field = field(declaration);
    let nullable = nullable(declaration);
    let message = whole_message(declaration);
    quote! { #default #field #nullable #message }
}

fn default(declaration: &Declaration) -> TokenStream {
    let name = &declaration.name;
    let (names, values): (Vec<_>, Vec<_>) =
        declaration.fields.iter().map(|f| (&f.name, default_value(f))).unzip();
    quote! {
        impl ::core::default::Default for #name {
            fn default() -> Self {
                Self { #(#names: #values,)* }
            }
        }
    }
}

fn field(declaration: &Declaration) -> TokenStream {
    let name = &declaration.name;
    let name_text = name.to_string();
    let schemas = declaration.fields.iter().map(schema);
    let read = read(declaration);
    let write = write(declaration);
    let sizes = declaration.fields.iter().map(size_min);
    quote! {
        impl ::highwater_protocol::field::Field for #name {
            const TYPE: ::highwater_protocol::schema::Type =
                ::highwater_protocol::schema::Type::Struct(&::highwater_protocol::schema::Schema {
                    name: #name_text,
                    fields: &[#(#schemas,)*],
                });

            fn read(
                r: &mut ::highwater_protocol::Reader<'_>,
                format: ::highwater_protocol::field::Format,
            ) -> ::core::result::Result<Self, ::highwater_protocol::DecodeError> {
                #read
            }

            fn write(&self, w: &mut ::highwater_protocol::Writer, format: ::highwater_protocol::field::Format) {
                #write
            }

            fn size_min(format: ::highwater_protocol::field::Format) -> usize {
                usize::from(format.flexible) #(+ #sizes)*
            }
        }
    }
}

/// A struct that may be null has a byte before it that says so.
fn nullable(declaration: &Declaration) -> TokenStream {
    let name = &declaration.name;
    quote! {
        impl ::highwater_protocol::field::Nullable for #name {
            fn read_nullable(
                r: &mut ::highwater_protocol::Reader<'_>,
                format: ::highwater_protocol::field::Format,
            ) -> ::core::result::Result<::core::option::Option<Self>, ::highwater_protocol::DecodeError> {
                if r.i8()? < 0 {
                    return Ok(::core::option::Option::None);
                }
                <Self as ::highwater_protocol::field::Field>::read(r, format).map(::core::option::Option::Some)
            }

            fn write_nullable(
                &self,
                w: &mut ::highwater_protocol::Writer,
                format: ::highwater_protocol::field::Format,
            ) {
                w.put_i8(1);
                <Self as ::highwater_protocol::field::Field>::write(self, w, format);
            }

            fn write_null(w: &mut ::highwater_protocol::Writer, _: ::highwater_protocol::field::Format) {
                w.put_i8(-1);
            }
        }
    }
}

fn whole_message(declaration: &Declaration) -> TokenStream {
    let name = &declaration.name;
    let Some(versions) = declaration.versions else { return TokenStream::new() };
    let (versions, flexible) = (range(versions), range(declaration.flexible));
    let request = declaration.request.as_ref().map(|(key, response)| {
        quote! {
            impl ::highwater_protocol::Request for #name {
                const KEY: ::highwater_protocol::ApiKey = ::highwater_protocol::ApiKey::#key;
                type Response = #response;
            }
        }
    });
    let has_throttle_time = declaration.fields.iter().any(|field| field.name == "throttle_time_ms");
    let throttle_time = has_throttle_time.then(|| {
        quote! {
            fn set_throttle_time_ms(&mut self, throttle_time_ms: i32) {
                self.throttle_time_ms = throttle_time_ms;
            }
        }
    });
    quote! {
        impl ::highwater_protocol::Message for #name {
            const VERSIONS: ::highwater_protocol::schema::VersionRange = #versions;
            const FLEXIBLE: ::highwater_protocol::schema::VersionRange = #flexible;
            #throttle_time
        }
        #request
    }
}

fn read(declaration: &Declaration) -> TokenStream {
    let names: Vec<_> = declaration.fields.iter().map(|f| &f.name).collect();
    let locals: Vec<_> = declaration.fields.iter().map(local).collect();
    let untagged = declaration.fields.iter().map(|field| {
        let (local, value, default) = (local(field), read_value(field), default_value(field));
        let mutable = field.tag.map(|_| quote!(mut));
        match condition(untagged_versions(field)) {
            None => quote! { let #mutable #local = #value; },
            Some(condition) => {
                quote! { let #mutable #local = if #condition { #value } else { #default }; }
            }
        }
    });
    let tagged: Vec<_> = tagged(declaration)
        .map(|(field, tag, versions)| {
            let (local, value) = (local(field), read_value(field));
            let condition = condition(versions).map(|c| quote!(if #c));
            quote! { #tag #condition => #local = #value, }
        })
        .collect();
    let tagged = if tagged.is_empty() {
        quote! { r.skip_tagged_fields()?; }
    } else {
        quote! {
            r.tagged_fields(|tag, r| {
                match tag {
                    #(#tagged)*
                    _ => {}
                }
                Ok(())
            })?;
        }
    };
    quote! {
        #(#untagged)*
        if format.flexible {
            #tagged
        }
        Ok(Self { #(#names: #locals,)* })
    }
}

fn write(declaration: &Declaration) -> TokenStream {
    let untagged = declaration.fields.iter().map(|field| {
        let write = write_value(field);
        match condition(untagged_versions(field)) {
            None => write,
            Some(condition) => quote! { if #condition { #write } },
        }
    });
    // a tagged field that has its default is left out (KIP-482)
    let present = |field: &FieldDeclaration, versions| {
        let (name, default) = (&field.name, default_value(field));
        let condition = condition(versions).map(|c| quote!(#c &&));
        let ty = &field.ty;
        quote! { (#condition self.#name != { let default: #ty = #default; default }) }
    };
    let counts = tagged(declaration).map(|(field, _, versions)| {
        let present = present(field, versions);
        quote! { + u32::from(#present) }
    });
    let values = tagged(declaration).map(|(field, tag, versions)| {
        let (present, write) = (present(field, versions), write_value(field));
        quote! { if #present { w.put_tagged(#tag, |w| { #write }); } }
    });
    quote! {
        #(#untagged)*
        if format.flexible {
            w.put_uvarint(0 #(#counts)*);
            #(#values)*
        }
    }
}

fn read_value(field: &FieldDeclaration) -> TokenStream {
    let ty = field.optional.as_ref().unwrap_or(&field.ty);
    let plain = if field.records {
        quote! {
            ::highwater_protocol::field::read_records(r, format)?
                .ok_or(::highwater_protocol::DecodeError::NullNotAllowed)?
        }
    } else {
        quote! { <#ty as ::highwater_protocol::field::Field>::read(r, format)? }
    };
    if field.optional.is_none() {
        return plain;
    }
    let nullable = if field.records {
        quote! { ::highwater_protocol::field::read_records(r, format)? }
    } else {
        quote! { <#ty as ::highwater_protocol::field::Nullable>::read_nullable(r, format)? }
    };
    match condition(field.nullable) {
        None => nullable,
        Some(condition) => {
            quote! { if #condition { #nullable } else { ::core::option::Option::Some(#plain) } }
        }
    }
}

fn write_value(field: &FieldDeclaration) -> TokenStream {
    let name = &field.name;
    let Some(ty) = &field.optional else {
        return quote! { ::highwater_protocol::field::Field::write(&self.#name, w, format); };
    };
    let nullable = quote! {
        match &self.#name {
            ::core::option::Option::Some(value) => {
                ::highwater_protocol::field::Nullable::write_nullable(value, w, format);
            }
            ::core::option::Option::None => <#ty as ::highwater_protocol::field::Nullable>::write_null(w, format),
        }
    };
    match condition(field.nullable) {
        None => nullable,
        Some(condition) => quote! {
            if #condition {
                #nullable
            } else {
                match &self.#name {
                    ::core::option::Option::Some(value) => {
                        ::highwater_protocol::field::Field::write(value, w, format);
                    }
                    ::core::option::Option::None => ::highwater_protocol::field::Field::write(
                        &<#ty as ::core::default::Default>::default(),
                        w,
                        format,
                    ),
                }
            }
        },
    }
}

fn size_min(field: &FieldDeclaration) -> TokenStream {
    let ty = field.optional.as_ref().unwrap_or(&field.ty);
    // a null struct is one byte, any other null no shorter than the empty value
    let size = quote! { <#ty as ::highwater_protocol::field::Field>::size_min(format) };
    let size = if field.optional.is_some() { quote!(::core::cmp::min(1, #size)) } else { size };
    match condition(untagged_versions(field)) {
        None => size,
        Some(condition) => quote! { if #condition { #size } else { 0 } },
    }
}

fn schema(field: &FieldDeclaration) -> TokenStream {
    let name = field.name.unraw().to_string();
    let ty = field.optional.as_ref().unwrap_or(&field.ty);
    let (versions, nullable) = (range(field.versions), range(field.nullable));
    let tag = match field.tag {
        Some((tag, versions)) => {
            let versions = range(versions);
            quote! { ::core::option::Option::Some((#tag, #versions)) }
        }
        None => quote! { ::core::option::Option::None },
    };
    quote! {
        ::highwater_protocol::schema::FieldSchema {
            name: #name,
            ty: <#ty as ::highwater_protocol::field::Field>::TYPE,
            versions: #versions,
            nullable: #nullable,
            tag: #tag,
        }
    }
}

/// The tagged fields in the order of their tags, which is the order on the wire.
fn tagged(declaration: &Declaration) -> impl Iterator<Item = (&FieldDeclaration, u32, Versions)> {
    let mut tagged: Vec<_> =
        declaration.fields.iter().filter_map(|f| f.tag.map(|(tag, versions)| (f, tag, versions))).collect();
    tagged.sort_by_key(|(_, tag, _)| *tag);
    tagged.into_iter()
}

/// The versions in which a field stands in its struct's sequence: those before it became a tagged field.
fn untagged_versions(field: &FieldDeclaration) -> Versions {
    match field.tag {
        Some((_, tagged)) => {
            Versions { min: field.versions.min, max: (tagged.min - 1).min(field.versions.max) }
        }
        None => field.versions,
    }
}

/// A test for `format.version`; none if it is always true.
fn condition(Versions { min, max }: Versions) -> Option<TokenStream> {
    match (min, max) {
        (0, i16::MAX) => None,
        (min, max) if min > max => Some(quote!(false)),
        (0, max) => Some(quote!(format.version <= #max)),
        (min, i16::MAX) => Some(quote!(format.version >= #min)),
        (min, max) => Some(quote!((#min..=#max).contains(&format.version))),
    }
}

fn range(Versions { min, max }: Versions) -> TokenStream {
    quote! { ::highwater_protocol::schema::VersionRange::new(#min, #max) }
}

fn default_value(field: &FieldDeclaration) -> TokenStream {
    match &field.default {
        Some(expression) => quote!(#expression),
        None => quote!(::core::default::Default::default()),
    }
}

fn local(field: &FieldDeclaration) -> proc_macro2::Ident {
    format_ident!("field_{}", field.name)
}
