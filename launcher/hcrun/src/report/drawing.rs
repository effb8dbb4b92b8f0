//! What all drawings share: inline SVG, readable on light and dark backgrounds.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(crate) const SIZE: (u32, u32) = (860, 320);
/// Stands for the page's text colour; replaced in the finished drawing.
pub(crate) const INK: RGBColor = RGBColor(1, 2, 3);
pub(crate) const INK_HEX: &str = "#010203";

/// Mid tones, told apart on white and on near-black.
pub(crate) const COLOURS: [RGBColor; 12] = [
    RGBColor(64, 132, 214),
    RGBColor(224, 122, 48),
    RGBColor(88, 160, 84),
    RGBColor(190, 86, 160),
    RGBColor(204, 75, 69),
    RGBColor(110, 110, 214),
    RGBColor(40, 158, 160),
    RGBColor(176, 140, 40),
    RGBColor(140, 96, 72),
    RGBColor(120, 140, 156),
    RGBColor(226, 110, 140),
    RGBColor(96, 128, 56),
];
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// None if drawing fails: a report without a curve is better than no report.
pub(crate) fn draw(paint: impl FnOnce(&Area<'_>) -> Drawn) -> Option<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        paint(&area).ok()?;
        area.present().ok()?;
    }
    // The size comes from the page, the ratio from the drawing.
    let size = format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1);
    Some(svg.replace(INK_HEX, "currentColor").replacen(&size, "", 1))
}

/// What the axes of a drawing say.
pub(crate) struct Axes<'a> {
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) format_x: &'a dyn Fn(&f64) -> String,
    pub(crate) format_y: &'a dyn Fn(&f64) -> String,
}

type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;

pub(crate) fn mesh(chart: &mut ChartContext<'_, SVGBackend<'_>, Plane>, axes: &Axes<'_>) -> Drawn {
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(INK.mix(0.15))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.mix(0.5))
        .label_style(("sans-serif", 16, &INK))
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&axes.format_x)
        .y_label_formatter(&axes.format_y)
        .draw()?;
    Ok(())
}

pub(crate) fn legend(area: &Area<'_>, entries: &[(&str, RGBColor)]) -> Drawn {
    let right = i32::try_from(SIZE.0)? - 24;
    for (index, (name, colour)) in entries.iter().enumerate() {
        let y = 20 + 18 * i32::try_from(index)?;
        let style = TextStyle::from(("sans-serif", 17).into_font())
            .color(&INK)
            .pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Rectangle::new([(right, y - 5), (right + 10, y + 5)], colour.filled()))?;
        area.draw(&Text::new((*name).to_owned(), (right - 6, y), style))?;
    }
    Ok(())
}

/// A word in a drawing, its left end at `place`.
pub(crate) fn text(area: &Area<'_>, word: &str, place: (i32, i32)) -> Drawn {
    let style =
        TextStyle::from(("sans-serif", 15).into_font()).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(word.to_owned(), place, style))?;
    Ok(())
}
