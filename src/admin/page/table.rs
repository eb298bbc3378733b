//! Tables that become cards where the screen is narrow.

use maud::{Markup, html};

/// What stands above a column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    class: Option<&'static str>,
}

impl Column {
    /// Words.
    pub const fn words(title: &'static str) -> Self {
        Self { title, class: None }
    }

    /// Numbers, to the right.
    pub const fn numbers(title: &'static str) -> Self {
        Self { title, class: Some("number") }
    }
}

/// A row: what it is known by when the page changes, how it looks, and a cell for each column.
pub struct Row {
    /// Of its own.
    pub key: String,
    /// The class.
    pub class: &'static str,
    /// The first one names the row.
    pub cells: Vec<Markup>,
}

/// The roles are said though they are those of the elements: a browser forgets them where the style makes cards of
/// the rows.
pub fn table(caption: &str, columns: &[Column], rows: &[Row]) -> Markup {
    html! {
        table role="table" {
            caption.unseen { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for column in columns { th role="columnheader" scope="col" class=[column.class] { (column.title) } }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" data-key=(row.key) class=(row.class) {
                        @for (index, (column, cell)) in columns.iter().zip(&row.cells).enumerate() {
                            @if index == 0 {
                                th role="rowheader" scope="row" { (cell) }
                            } @else {
                                td role="cell" data-label=(column.title) class=[column.class] { span { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
