//! Places on the Earth, kept as members of sorted sets: a score is the place's cell, 52 bits that take turns.

pub(crate) mod earth;
pub(crate) mod look;
mod query;
pub(crate) mod search;

use quorate_values::parse_double;

use self::earth::Point;
use crate::{CommandError, Group, Spec};

const GEO: Spec = Spec { group: Group::Geo, since: "3.2.0", ..Spec::BLANK };

/// The place that two arguments name, if it is one that cells can tell.
fn place(longitude: &[u8], latitude: &[u8]) -> Result<Point, CommandError> {
    let read = |text: &[u8]| parse_double(text).ok_or(CommandError::NotFloat);
    let point = Point { longitude: read(longitude)?, latitude: read(latitude)? };
    if point.is_on_the_map() {
        return Ok(point);
    }
    let Point { longitude, latitude } = point;
    Err(CommandError::Text(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into()))
}

/// How many meters a unit of length is.
fn meters(unit: &[u8]) -> Result<f64, CommandError> {
    let all: [(&[u8], f64); 4] = [(b"m", 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)];
    let named = all.into_iter().find(|(name, _)| unit.eq_ignore_ascii_case(name)).map(|(_, meters)| meters);
    named.ok_or(CommandError::text("ERR unsupported unit provided. please use M, KM, FT, MI"))
}
