//! Embeds the page of `page/`, which `make` has built into `page/dist`.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=page/dist");
    let dist = Path::new("page/dist");
    if !dist.join("index.html").is_file() {
        println!(
            "cargo::error=the console page is not built: run `make console-page` in the root of the repository (it needs Node 22 or newer, \
             and npm), or `make`, which does all"
        );
        return;
    }
    if let Err(error) = embed(dist) {
        println!("cargo::error=cannot embed the console page of crates/console/page/dist: {error}");
    }
}

fn embed(dist: &Path) -> io::Result<()> {
    let mut assets: Vec<PathBuf> = fs::read_dir(dist.join("assets"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    assets.sort();
    let mut table = String::from("&[\n");
    for asset in assets
        .iter()
        .filter(|path| path.extension().is_none_or(|end| end != "gz"))
    {
        let name = asset
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{} is not UTF-8", asset.display())))?;
        let plain = absolute(asset)?;
        let packed = absolute(&dist.join("assets").join(format!("{name}.gz")))?;
        // Writing to a String does not fail.
        let _ = writeln!(
            table,
            "    Asset {{ name: {name:?}, plain: include_bytes!({plain:?}), packed: include_bytes!({packed:?}) }},"
        );
    }
    table.push_str("]\n");
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    fs::write(out.join("assets.rs"), table)?;
    fs::copy(dist.join("index.html"), out.join("index.html"))?;
    Ok(())
}

fn absolute(path: &Path) -> io::Result<String> {
    Ok(path.canonicalize()?.display().to_string())
}
