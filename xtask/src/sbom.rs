//! `cargo xtask sbom`: what the binary is made of, as a CycloneDX 1.5 document: each crate that is linked into it or that builds it, with
//! its licence, its checksum in `Cargo.lock`, and what it depends on. The same sources give the same document, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use toml::Table;

use crate::workspace::{self, cargo, output, root};

/// The package that is told about.
const PRODUCT: &str = "quorate-server";
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Writes what the binary is made of, as CycloneDX.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to; target/sbom.cdx.json without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let path = write(options.out.clone())?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes it; where it is.
pub(crate) fn write(out: Option<PathBuf>) -> Result<PathBuf> {
    let path = match out {
        Some(path) => path,
        None => workspace::scratch("")?.join("sbom.cdx.json"),
    };
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM];
    let metadata: Value =
        serde_json::from_str(&output(cargo().args(arguments))?).context("read the output of cargo metadata")?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("read Cargo.lock")?;
    let document = document(&metadata, &lock.parse().context("parse Cargo.lock")?)?;
    fs::write(&path, format!("{document:#}\n")).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// A crate that takes part.
struct Part<'a> {
    package: &'a Value,
    /// The ids of those that it needs.
    needs: BTreeSet<&'a str>,
}

fn document(metadata: &Value, lock: &Table) -> Result<Value> {
    let parts = parts(metadata)?;
    let checksums = checksums(lock);
    let reference = |id: &str| parts.get(id).map(|part| purl(part.package));
    let (product, libraries): (Vec<_>, Vec<_>) =
        parts.values().map(|part| (part.package["name"] == PRODUCT, part)).partition(|(is_product, _)| *is_product);
    let product = product.first().context("the product is among its parts")?.1.package;
    let components: Vec<Value> =
        libraries.iter().map(|(_, part)| component(part.package, "library", &checksums)).collect();
    let dependencies: Vec<Value> = parts
        .values()
        .map(|part| {
            let needs: BTreeSet<String> = part.needs.iter().filter_map(|id| reference(id)).collect();
            json!({ "ref": purl(part.package), "dependsOn": needs })
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(product, "application", &checksums) },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// All that takes part, by cargo's ids: from the product on, whatever is no dependency of tests alone.
fn parts(metadata: &Value) -> Result<BTreeMap<&str, Part<'_>>> {
    let list = |value: &'_ Value| -> Vec<Value> { value.as_array().cloned().unwrap_or_default() };
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata resolves dependencies")?
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let first = packages.iter().find(|(_, package)| package["name"] == PRODUCT).context("the product is a package")?.0;
    let (mut parts, mut open) = (BTreeMap::new(), vec![*first]);
    while let Some(id) = open.pop() {
        if parts.contains_key(id) {
            continue;
        }
        let node = nodes.get(id).with_context(|| format!("{id} is resolved"))?;
        let package = packages.get(id).with_context(|| format!("{id} is a package"))?;
        let needed = node["deps"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|dependency| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev"));
        let needs: BTreeSet<&str> = needed.filter_map(|dependency| dependency["pkg"].as_str()).collect();
        open.extend(&needs);
        parts.insert(id, Part { package, needs });
    }
    Ok(parts)
}

/// By name and version; our own crates have none.
fn checksums(lock: &Table) -> BTreeMap<(String, String), String> {
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let text = |package: &toml::Value, name: &str| package.get(name).and_then(toml::Value::as_str).map(str::to_owned);
    packages
        .filter_map(|package| Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")?)))
        .collect()
}

/// How crates are named across ecosystems.
fn purl(package: &Value) -> String {
    let text = |name: &str| package[name].as_str().unwrap_or_default().replace('+', "%2B");
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn component(package: &Value, kind: &str, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": text("name"),
        "version": text("version"),
        "purl": purl(package),
    });
    // Before there were expressions, a slash said that either may be chosen.
    let licence = text("license").replace('/', " OR ").replace("  OR  ", " OR ");
    if !licence.is_empty() {
        component["licenses"] = json!([{ "expression": licence }]);
    }
    if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(place) = package["repository"].as_str().filter(|_| package["source"].is_string()) {
        component["externalReferences"] = json!([{ "type": "vcs", "url": place }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Value, Table) {
        let package = |name: &str, source: Value| {
            json!({ "id": name, "name": name, "version": "1.0.0+x", "license": "MIT/Apache-2.0", "source": source,
                "repository": "https://example.invalid/r" })
        };
        let needs = |pkg: &str, kind: Value| json!({ "pkg": pkg, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package("quorate-server", Value::Null), package("a", json!("registry")), package("b", json!("registry")),
                package("only-tests", json!("registry"))],
            "resolve": { "nodes": [
                { "id": "quorate-server", "deps": [needs("a", Value::Null), needs("only-tests", json!("dev"))] },
                { "id": "a", "deps": [needs("b", json!("build"))] },
                { "id": "b", "deps": [] },
                { "id": "only-tests", "deps": [] },
            ] },
        });
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0+x\"\nchecksum = \"abc\"\n".parse().unwrap();
        (metadata, lock)
    }

    #[test]
    fn what_is_linked_or_builds_is_listed_and_what_only_tests_use_is_not() {
        let (metadata, lock) = sample();
        let document = document(&metadata, &lock).unwrap();
        let names: Vec<&str> =
            document["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(document["metadata"]["component"]["name"], "quorate-server");
        let a = &document["components"][0];
        assert_eq!(
            (a["purl"].as_str(), a["hashes"][0]["content"].as_str()),
            (Some("pkg:cargo/a@1.0.0%2Bx"), Some("abc"))
        );
        assert_eq!(a["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }

    #[test]
    fn every_reference_leads_to_a_component() {
        let (metadata, lock) = sample();
        let document = document(&metadata, &lock).unwrap();
        let mut known: Vec<&Value> =
            document["components"].as_array().unwrap().iter().map(|one| &one["bom-ref"]).collect();
        known.push(&document["metadata"]["component"]["bom-ref"]);
        let dependencies = document["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), known.len());
        for dependency in dependencies {
            assert!(known.contains(&&dependency["ref"]));
            assert!(dependency["dependsOn"].as_array().unwrap().iter().all(|other| known.contains(&other)));
        }
    }
}
