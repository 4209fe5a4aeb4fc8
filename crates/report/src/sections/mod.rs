//! The parts of a run's page, as HTML that is whole without the script.

mod causes;
mod charts;
mod run;
mod tensors;
mod verdict;

use crate::escape::text;
use ulpscope_record::RunRecord;

/// Rows of a table before the rest is only counted.
const ROWS: usize = 200;

/// Everything within `<body>` but data and script.
pub(crate) fn all(record: &RunRecord) -> String {
    let sections = [
        ("map", "Map", charts::map(record)),
        ("layers", "Layers", charts::layers(record)),
        ("positions", "Positions", charts::positions(record)),
        ("logits", "Logits", charts::logits(record)),
        ("causes", "Causes", causes::section(record)),
        ("decisions", "Decisions", causes::decisions(record)),
        ("tensors", "Tensors", tensors::section(record)),
        ("coverage", "Limits", run::coverage(record)),
        ("run", "Run", run::section(record)),
    ];
    let links: String = (sections.iter())
        .filter(|(.., body)| !body.is_empty())
        .map(|(id, name, _)| format!("<a href=\"#{id}\">{name}</a>"))
        .collect();
    let body: String = (sections.iter())
        .filter(|(.., body)| !body.is_empty())
        .map(|(id, _, body)| format!("<section id=\"{id}\">\n{body}</section>\n"))
        .collect();
    format!(
        "<a class=\"skip\" href=\"#main\">Skip to the findings</a>\n\
         <header>\n{}</header>\n\
         <nav aria-label=\"Sections\">{links}<span class=\"push\"></span>\
         <button type=\"button\" id=\"theme\" hidden>Dark</button></nav>\n\
         <main id=\"main\">\n{}<div class=\"pickers\" id=\"pickers\" hidden></div>\n{body}</main>\n\
         <noscript><p class=\"note\">Charts, sorting and the tables of every site need JavaScript, which is off. \
         The numbers are all in record.json.</p></noscript>\n",
        verdict::title(record),
        verdict::section(record),
    )
}

/// A table that can be sorted, or `nothing` where it would have no rows. Cells are HTML; a column whose name begins with
/// `#` holds numbers.
pub(crate) fn table(caption: &str, head: &[&str], rows: &[Vec<String>], nothing: &str) -> String {
    if rows.is_empty() {
        return match nothing {
            "" => String::new(),
            _ => format!("<p>{}</p>\n", text(nothing)),
        };
    }
    // The first column is what its row is about, and stands at the left even where it is a number.
    let numeric: Vec<bool> =
        (head.iter().enumerate()).map(|(column, name)| column > 0 && name.starts_with('#')).collect();
    let class = |column: usize| if numeric.get(column) == Some(&true) { " class=\"n\"" } else { "" };
    let names: String = (head.iter().enumerate())
        .map(|(column, name)| {
            format!("<th scope=\"col\"{}>{}</th>", class(column), text(name.trim_start_matches('#')))
        })
        .collect();
    let lines: String = (rows.iter().take(ROWS))
        .map(|row| {
            let cells = row.iter().enumerate().map(|(column, cell)| match column {
                0 => format!("<th scope=\"row\">{cell}</th>"),
                _ => format!("<td{}>{cell}</td>", class(column)),
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        })
        .collect();
    let more = match rows.len() {
        all if all > ROWS => format!("<p class=\"note\">The other {} are in the record.</p>\n", all - ROWS),
        _ => String::new(),
    };
    format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table class=\"sortable\">\
         <caption>{0}</caption><thead><tr>{names}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n{more}",
        text(caption)
    )
}

/// A list of sentences under a title, if there are any.
pub(crate) fn sentences(title: &str, sentences: &[String]) -> String {
    if sentences.is_empty() {
        return String::new();
    }
    let items: String =
        sentences.iter().take(ROWS).map(|sentence| format!("<li>{}</li>\n", text(sentence))).collect();
    let more = match sentences.len() {
        all if all > ROWS => format!("<li>and {} more in the record</li>\n", all - ROWS),
        _ => String::new(),
    };
    format!("<h3>{}</h3>\n<ul>\n{items}{more}</ul>\n", text(title))
}

/// A name in the type of programs, which may break at its dots.
pub(crate) fn code(name: &str) -> String {
    format!("<code>{}</code>", text(name).replace('.', ".<wbr>"))
}

pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.map_or("–".to_owned(), code)
}
