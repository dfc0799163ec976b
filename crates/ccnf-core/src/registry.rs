//! The registry of components, filled by `inventory` from every linked crate.

use crate::config::{Component, Section};
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::panics::catch;
use std::ops::Deref;

/// A kind of component. Implemented for the trait objects of the kinds (`dyn Coupling`, …).
pub trait ComponentKind: 'static {
    /// The kind's name in configs and lists.
    const NAME: &'static str;
    /// What a constructor gets beside its config.
    type Spec;
    /// Every registered component of this kind, unsorted.
    fn entries() -> Vec<&'static Entry<Self>>;
}

/// One registered component. Everything that `list`, `describe` and the schema show comes from here.
pub struct Entry<K: ComponentKind + ?Sized> {
    /// The name in configs (`kind = "…"`).
    pub name: &'static str,
    /// The crate that registered it.
    pub krate: &'static str,
    /// That crate's version.
    pub version: &'static str,
    /// One line of description.
    pub doc: &'static str,
    /// Builds the component from its config section.
    pub build: fn(&Section, &K::Spec) -> Result<Box<K>>,
    /// JSON schema of its config.
    pub schema: fn() -> serde_json::Value,
    /// An example config: the defaults.
    pub example: fn() -> serde_json::Value,
}

/// What a constructor sees: the kind's specification (by deref) and its config section, from which it builds its parts.
pub struct Build<'a, S> {
    /// The component's section.
    pub section: &'a Section,
    /// The kind's specification.
    pub spec: &'a S,
}

impl<S> Deref for Build<'_, S> {
    type Target = S;
    fn deref(&self) -> &S {
        self.spec
    }
}

impl<S> Build<'_, S> {
    /// Builds the part at `key`, by default `default`.
    pub fn part<K: ComponentKind + ?Sized>(
        &self,
        key: &str,
        default: &Component,
        spec: &K::Spec,
    ) -> Result<Box<K>> {
        build::<K>(&self.section.component(key, default), spec)
    }

    /// An error about `key` of this component's section.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Error {
        self.section.error(key, message)
    }
}

/// The registered components of a kind, sorted by name.
pub fn entries<K: ComponentKind + ?Sized>() -> Vec<&'static Entry<K>> {
    let mut all = K::entries();
    all.sort_by_key(|e| (e.name, e.krate));
    all
}

/// Finds a component by name; `at` gives the place for the error.
pub fn find<K: ComponentKind + ?Sized>(name: &str, at: &Section) -> Result<&'static Entry<K>> {
    let all = entries::<K>();
    let hits: Vec<_> = all.iter().filter(|e| e.name == name).collect();
    match hits.as_slice() {
        [one] => Ok(one),
        [] => {
            let names: Vec<&str> = all.iter().map(|e| e.name).collect();
            let hint = did_you_mean(name, names.iter().copied())
                .map(|g| format!(" (did you mean `{g}`?)"))
                .unwrap_or_default();
            let place = at.error("kind", "");
            let mut e =
                Error::new(ErrorKind::UnknownComponent, format!("no {} is called `{name}`{hint}", K::NAME))
                    .help(format!(
                        "registered: {}; those of a plugin need `--plugin FILE` or [plugins] in the config",
                        if names.is_empty() { "none".into() } else { names.join(", ") }
                    ));
            for p in place.places() {
                e = e.at(p.clone());
            }
            Err(e)
        }
        many => Err(Error::new(
            ErrorKind::UnknownComponent,
            format!(
                "two components of kind {} are called `{name}`, from the crates {}",
                K::NAME,
                many.iter().map(|e| format!("`{}`", e.krate)).collect::<Vec<_>>().join(" and ")
            ),
        )
        .help("leave one of the crates out")),
    }
}

/// Builds the component that a section names.
pub fn build<K: ComponentKind + ?Sized>(section: &Section, spec: &K::Spec) -> Result<Box<K>> {
    let entry = find::<K>(&section.kind()?, section)?;
    let doing = || format!("building the {} `{}` of the crate `{}`", K::NAME, entry.name, entry.krate);
    catch(doing, || (entry.build)(section, spec))
}

/// Declares a kind of component: its trait object, its name and its specification.
#[macro_export]
macro_rules! component_kind {
    ($trait:ident, $name:literal, $spec:ty) => {
        $crate::inventory::collect!($crate::Entry<dyn $trait>);
        impl $crate::ComponentKind for dyn $trait {
            const NAME: &'static str = $name;
            type Spec = $spec;
            fn entries() -> Vec<&'static $crate::Entry<dyn $trait>> {
                $crate::inventory::iter::<$crate::Entry<dyn $trait>>.into_iter().collect()
            }
        }
    };
}

/// Registers a component: `register_component!(Coupling, "affine", AffineConfig, Affine::new, "one line");`
///
/// `AffineConfig` is `Default + Serialize + Deserialize + JsonSchema`; `Affine::new` is
/// `fn(AffineConfig, &Build<CouplingSpec>) -> Result<Affine>`.
#[macro_export]
macro_rules! register_component {
    ($kind:ident, $name:literal, $config:ty, $new:expr, $doc:literal) => {
        $crate::inventory::submit! {
            $crate::Entry::<dyn $crate::$kind> {
                name: $name,
                krate: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                doc: $doc,
                build: |section, spec| {
                    let config: $config = section.read()?;
                    Ok(Box::new(($new)(config, &$crate::Build { section, spec })?))
                },
                schema: || $crate::schemars::schema_for!($config).to_value(),
                example: || $crate::example_json(&<$config as Default>::default()),
            }
        }
    };
}

/// A registered component without its constructor, for lists.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Listed {
    /// The kind of component.
    pub kind: &'static str,
    /// The name in configs.
    pub name: &'static str,
    /// One line of description.
    pub doc: &'static str,
    /// The crate that registered it.
    pub krate: &'static str,
    /// That crate's version.
    pub version: &'static str,
    /// JSON schema of the config.
    pub schema: serde_json::Value,
    /// An example config.
    pub example: serde_json::Value,
}

fn listed<K: ComponentKind + ?Sized>() -> Vec<Listed> {
    entries::<K>()
        .into_iter()
        .map(|e| Listed {
            kind: K::NAME,
            name: e.name,
            doc: e.doc,
            krate: e.krate,
            version: e.version,
            schema: (e.schema)(),
            example: (e.example)(),
        })
        .collect()
}

/// Every registered component of every kind, by kind in the order of a model's assembly, then by name.
pub fn list_all() -> Vec<Listed> {
    let mut all = listed::<dyn crate::Dataset>();
    all.extend(listed::<dyn crate::Encoder>());
    all.extend(listed::<dyn crate::Detector>());
    all.extend(listed::<dyn crate::ClassLayer>());
    all.extend(listed::<dyn crate::Coupling>());
    all.extend(listed::<dyn crate::Conditioner>());
    all.extend(listed::<dyn crate::Regularizer>());
    all.extend(listed::<dyn crate::Scorer>());
    all.extend(listed::<dyn crate::Router>());
    all.extend(listed::<dyn crate::Strategy>());
    all
}
