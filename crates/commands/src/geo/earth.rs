//! The Earth as a sphere, and its map cut into cells.
//!
//! A cell of step *n* is one of 2^n by 2^n. Its number has the bits of both coordinates in turn, so that all cells within
//! a larger one are a range of numbers. The map ends where the web's Mercator projection makes a square of it.

/// The mean radius in meters.
const RADIUS: f64 = 6_372_797.560_856;
const LONGITUDE_MAX: f64 = 180.0;
const LATITUDE_MAX: f64 = 85.051_128_78;
/// Half of the map's width in meters.
const MERCATOR_MAX: f64 = 20_037_726.37;
/// The step of the finest cells: their numbers are exact in a double.
pub(crate) const FINEST: u32 = 26;
const RADIANS: f64 = 0.017_453_292_519_943_295;

/// A place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) longitude: f64,
    pub(crate) latitude: f64,
}

impl Point {
    /// Whether it lies where cells are.
    pub(crate) fn is_on_the_map(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// Meters to another place, over the surface (the haversine formula).
    pub(crate) fn distance(self, other: Point) -> f64 {
        let v = ((other.longitude * RADIANS - self.longitude * RADIANS) / 2.0).sin();
        if v == 0.0 {
            return self.latitude_distance(other);
        }
        let (from, to) = (self.latitude * RADIANS, other.latitude * RADIANS);
        let u = ((to - from) / 2.0).sin();
        2.0 * RADIUS * (u * u + from.cos() * to.cos() * v * v).sqrt().asin()
    }

    /// Meters to the other place's parallel.
    fn latitude_distance(self, other: Point) -> f64 {
        RADIUS * (other.latitude * RADIANS - self.latitude * RADIANS).abs()
    }

    /// The number of the finest cell that it lies in, and its score.
    pub(crate) fn cell(self) -> u64 {
        Cell::of(self, FINEST, LATITUDE_MAX).number()
    }

    /// The middle of a finest cell.
    pub(crate) fn of_cell(number: u64) -> Point {
        let area = Cell::from_number(number, FINEST).area();
        let middle = |low: f64, high: f64, max: f64| ((low + high) / 2.0).clamp(-max, max);
        Point {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// Its geohash of eleven letters, in which the map reaches to the poles. The last letter would need more bits than
    /// there are and says nothing.
    pub(crate) fn geohash(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let number = Cell::of(self, FINEST, 90.0).number();
        std::array::from_fn(|index| match index {
            10 => LETTERS[0],
            _ => LETTERS[(number >> (52 - (index + 1) * 5)) as usize & 31],
        })
    }
}

/// A cell of the map: its column from the west and its row from the south.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    column: u32,
    row: u32,
    step: u32,
}

/// What a cell covers, in degrees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    pub(crate) west: f64,
    pub(crate) east: f64,
    pub(crate) south: f64,
    pub(crate) north: f64,
}

impl Cell {
    fn of(point: Point, step: u32, latitude_max: f64) -> Cell {
        let count = f64::from(1_u32 << step);
        // A place on the very edge lies in a cell beyond the map, which is no other place's.
        let index = |value: f64, max: f64| ((value + max) / (max + max) * count) as u32;
        Cell { column: index(point.longitude, LONGITUDE_MAX), row: index(point.latitude, latitude_max), step }
    }

    fn from_number(number: u64, step: u32) -> Cell {
        Cell { column: gather(number >> 1), row: gather(number), step }
    }

    fn number(self) -> u64 {
        spread(self.column) << 1 | spread(self.row)
    }

    /// The scores that lie in it: the first, and the one behind the last.
    pub(crate) fn scores(self) -> (f64, f64) {
        let shift = 2 * (FINEST - self.step);
        ((self.number() << shift) as f64, ((self.number() + 1) << shift) as f64)
    }

    fn area(self) -> Area {
        let count = f64::from(1_u32 << self.step);
        let edge = |index: u32, max: f64| -max + f64::from(index) / count * (max + max);
        Area {
            west: edge(self.column, LONGITUDE_MAX),
            east: edge(self.column + 1, LONGITUDE_MAX),
            south: edge(self.row, LATITUDE_MAX),
            north: edge(self.row + 1, LATITUDE_MAX),
        }
    }

    /// The cell so many columns to the east and rows to the north, around the world in both directions.
    fn neighbour(self, east: i32, north: i32) -> Cell {
        let moved = |index: u32, by: i32| match by {
            0 => index,
            by => index.wrapping_add_signed(by) & ((1 << self.step) - 1),
        };
        Cell { column: moved(self.column, east), row: moved(self.row, north), ..self }
    }
}

/// Puts a zero before each bit.
fn spread(bits: u32) -> u64 {
    const STEPS: [(u32, u64); 5] = [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ];
    STEPS.into_iter().fold(u64::from(bits), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

/// Takes every second bit, from the lowest on.
fn gather(bits: u64) -> u32 {
    const STEPS: [(u32, u64); 5] = [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ];
    STEPS.into_iter().fold(bits & 0x5555_5555_5555_5555, |bits, (shift, mask)| (bits | bits >> shift) & mask) as u32
}

/// What is searched around a place; lengths in meters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Shape {
    /// Meters from the middle to a place inside; `None` if it lies outside.
    pub(crate) fn distance(self, middle: Point, point: Point) -> Option<f64> {
        match self {
            Shape::Circle { radius } => Some(middle.distance(point)).filter(|distance| *distance <= radius),
            Shape::Box { width, height } => {
                let abreast = Point { longitude: middle.longitude, ..point };
                let inside = point.latitude_distance(middle) <= height / 2.0 && point.distance(abreast) <= width / 2.0;
                inside.then(|| middle.distance(point))
            }
        }
    }

    /// The cells that hold everything inside; some may be the same.
    ///
    /// Which cells, and their order, is what an unsorted answer shows, so both are those of Redis.
    pub(crate) fn cells(self, middle: Point) -> Vec<Cell> {
        let bounds = self.bounds(middle);
        let mut step = self.step(middle.latitude);
        let mut cell = Cell::of(middle, step, LATITUDE_MAX);
        let reaches = |cell: Cell| {
            cell.neighbour(0, 1).area().north >= bounds.north
                && cell.neighbour(0, -1).area().south <= bounds.south
                && cell.neighbour(1, 0).area().east >= bounds.east
                && cell.neighbour(-1, 0).area().west <= bounds.west
        };
        if step > 1 && !reaches(cell) {
            step -= 1;
            cell = Cell::of(middle, step, LATITUDE_MAX);
        }
        let area = cell.area();
        // Where the middle's own cell reaches far enough, its neighbours on that side are of no use.
        let is_of_use = |&(east, north): &(i32, i32)| {
            step < 2
                || !(north < 0 && area.south < bounds.south
                    || north > 0 && area.north > bounds.north
                    || east < 0 && area.west < bounds.west
                    || east > 0 && area.east > bounds.east)
        };
        const AROUND: [(i32, i32); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        AROUND.into_iter().filter(is_of_use).map(|(east, north)| cell.neighbour(east, north)).collect()
    }

    /// The edges of what it covers, in degrees.
    fn bounds(self, middle: Point) -> Area {
        let (width, height) = match self {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let tall = height / RADIUS / RADIANS;
        let wide_at = |latitude: f64| width / RADIUS / (latitude * RADIANS).cos() / RADIANS;
        let toward_the_pole = if middle.latitude < 0.0 { -tall } else { tall };
        let wide = wide_at(middle.latitude + toward_the_pole);
        Area {
            west: middle.longitude - wide,
            east: middle.longitude + wide,
            south: middle.latitude - tall,
            north: middle.latitude + tall,
        }
    }

    /// The step at which a cell and its neighbours should hold everything.
    fn step(self, latitude: f64) -> u32 {
        let mut reach = match self {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
        };
        if reach == 0.0 {
            return FINEST;
        }
        let mut step = 1_i32;
        // A reach below every cell's size need not be doubled on and on.
        while reach < MERCATOR_MAX && step <= FINEST as i32 + 4 {
            reach *= 2.0;
            step += 1;
        }
        step -= 2;
        // Toward the poles cells are narrow.
        step -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
        step.clamp(1, FINEST as i32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn a_cell_is_found_again_from_its_number() {
        assert_eq!(PALERMO.cell(), 3_479_099_956_230_698);
        assert_eq!(CATANIA.cell(), 3_479_447_370_796_909);
        for point in [PALERMO, CATANIA, Point { longitude: -179.9, latitude: -85.0 }] {
            let again = Point::of_cell(point.cell());
            assert_eq!(again.cell(), point.cell());
            assert!(point.distance(again) < 0.7);
        }
        assert_eq!(&PALERMO.geohash(), b"sqc8b49rny0");
        assert_eq!(&CATANIA.geohash(), b"sqdtr74hyu0");
    }

    #[test]
    fn the_bits_of_both_coordinates_take_turns() {
        for bits in [0, 1, 0x03ff_ffff, 0x0155_aaaa, 0x0200_0001] {
            assert_eq!(gather(spread(bits)), bits);
            assert_eq!(gather(spread(bits) << 1), 0);
        }
    }

    #[test]
    fn cells_hold_every_place_inside_a_shape() {
        let mut rng = quorate_stdx::Rng::new(11);
        let mut between = |low: f64, high: f64| low + (high - low) * (rng.below(1 << 30) as f64 / f64::from(1 << 30));
        for round in 0..3000 {
            let middle = Point { longitude: between(-175.0, 175.0), latitude: between(-70.0, 70.0) };
            let reach = 10_f64.powf(between(0.0, 6.0));
            let shape = if round % 2 == 0 {
                Shape::Circle { radius: reach }
            } else {
                Shape::Box { width: reach, height: between(0.1, 1.0) * reach }
            };
            let cells = shape.cells(middle);
            for _ in 0..20 {
                let degrees = reach / 111_000.0;
                let point = Point {
                    longitude: middle.longitude + between(-degrees, degrees),
                    latitude: middle.latitude + between(-degrees, degrees),
                };
                if !point.is_on_the_map() || shape.distance(middle, point).is_none() {
                    continue;
                }
                let score = point.cell() as f64;
                let holds = |cell: &Cell| (cell.scores().0..cell.scores().1).contains(&score);
                assert!(cells.iter().any(holds), "{point:?} in {shape:?} around {middle:?}");
            }
        }
    }
}
