//! What a declaration says: the struct, its fields and their `#[kafka(..)]` attributes, checked.

use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Expr, Fields, Ident, LitInt, LitStr, Path, Result, Type};

/// A range of versions; empty if `min > max`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

impl Versions {
    pub(crate) const ALL: Self = Self { min: 0, max: i16::MAX };
    pub(crate) const NONE: Self = Self { min: 1, max: 0 };

    fn parse(text: &LitStr) -> Result<Self> {
        let value = text.value();
        let number = |s: &str| s.parse::<i16>().map_err(|e| Error::new(text.span(), format!("{s:?}: {e}")));
        if let Some(min) = value.strip_suffix('+') {
            return Ok(Self { min: number(min)?, max: i16::MAX });
        }
        match value.split_once('-') {
            Some((min, max)) => Ok(Self { min: number(min)?, max: number(max)? }),
            None => Ok(Self { min: number(&value)?, max: number(&value)? }),
        }
    }
}

pub(crate) struct Declaration {
    pub(crate) name: Ident,
    /// The versions of a whole message; none for a part of others.
    pub(crate) versions: Option<Versions>,
    pub(crate) flexible: Versions,
    pub(crate) request: Option<(Ident, Path)>,
    pub(crate) fields: Vec<FieldDeclaration>,
}

pub(crate) struct FieldDeclaration {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// The `T` of an `Option<T>`.
    pub(crate) optional: Option<Type>,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tag: Option<(u32, Versions)>,
    pub(crate) default: Option<Expr>,
    pub(crate) records: bool,
}

impl Declaration {
    pub(crate) fn parse(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(input.span(), "a message is a struct"));
        };
        let Fields::Named(named) = &data.fields else {
            return Err(Error::new(input.span(), "a message has named fields"));
        };
        let mut declaration = Self {
            name: input.ident.clone(),
            versions: None,
            flexible: Versions::NONE,
            request: None,
            fields: named.named.iter().map(FieldDeclaration::parse).collect::<Result<_>>()?,
        };
        let (mut key, mut response) = (None, None);
        for attribute in input.attrs.iter().filter(|a| a.path().is_ident("kafka")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("versions") {
                    declaration.versions = Some(Versions::parse(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("flexible") {
                    declaration.flexible = Versions::parse(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("key") {
                    key = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("response") {
                    response = Some(meta.value()?.parse()?);
                } else {
                    return Err(meta.error("unknown attribute of a message"));
                }
                Ok(())
            })?;
        }
        declaration.request = match (key, response) {
            (Some(key), Some(response)) => Some((key, response)),
            (None, None) => None,
            _ => return Err(Error::new(input.span(), "a request has a key and a response")),
        };
        if declaration.request.is_some() && declaration.versions.is_none() {
            return Err(Error::new(input.span(), "a request has versions"));
        }
        Ok(declaration)
    }
}

impl FieldDeclaration {
    fn parse(field: &syn::Field) -> Result<Self> {
        let name = field.ident.clone().ok_or_else(|| Error::new(field.span(), "a field has a name"))?;
        let mut this = Self {
            name,
            ty: field.ty.clone(),
            optional: optional(&field.ty),
            versions: Versions::ALL,
            nullable: Versions::NONE,
            tag: None,
            default: None,
            records: false,
        };
        let (mut tag, mut tagged) = (None, None);
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("kafka")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("versions") {
                    this.versions = Versions::parse(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("nullable") {
                    this.nullable = Versions::parse(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("tagged") {
                    tagged = Some(Versions::parse(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("tag") {
                    tag = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
                } else if meta.path.is_ident("default") {
                    this.default = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("records") {
                    this.records = true;
                } else {
                    return Err(meta.error("unknown attribute of a field"));
                }
                Ok(())
            })?;
        }
        this.tag = match (tag, tagged) {
            (Some(tag), Some(tagged)) => {
                if this.versions == Versions::ALL {
                    this.versions = tagged;
                }
                Some((tag, tagged))
            }
            (None, None) => None,
            _ => return Err(Error::new(field.span(), "`tag` and `tagged` go together")),
        };
        if this.optional.is_some() != (this.nullable != Versions::NONE) {
            return Err(Error::new(
                field.span(),
                "an `Option` is `nullable` in some versions, and nothing else is",
            ));
        }
        Ok(this)
    }
}

fn optional(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|s| s.ident == "Option")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inner) => Some(inner.clone()),
        _ => None,
    }
}
