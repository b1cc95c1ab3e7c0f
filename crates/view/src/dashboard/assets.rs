//! The page's files, as they are in the source: there is no step that builds them.

pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

macro_rules! asset {
    ($path:literal, $kind:literal, $file:literal) => {
        Asset { path: $path, kind: $kind, text: include_str!(concat!("../../assets/", $file)) }
    };
}

pub(super) static ASSETS: &[Asset] = &[
    asset!("/", "text/html; charset=utf-8", "index.html"),
    asset!("/style.css", "text/css; charset=utf-8", "style.css"),
    asset!("/icon.svg", "image/svg+xml", "icon.svg"),
    asset!("/app.js", "text/javascript; charset=utf-8", "app.js"),
    asset!("/dom.js", "text/javascript; charset=utf-8", "dom.js"),
    asset!("/graph.js", "text/javascript; charset=utf-8", "graph.js"),
    asset!("/charts.js", "text/javascript; charset=utf-8", "charts.js"),
    asset!("/panels.js", "text/javascript; charset=utf-8", "panels.js"),
    asset!("/actions.js", "text/javascript; charset=utf-8", "actions.js"),
];

pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}
