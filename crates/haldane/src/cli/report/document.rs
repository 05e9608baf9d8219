//! A report as blocks, and the two forms in which people read it: Markdown, and a page that needs nothing beside it.
//!
//! **Invariant:** nothing that came from outside is markup in either form.

use std::fmt::Write as _;

use super::plot::Plot;

/// A report.
#[derive(Debug)]
pub(super) struct Document {
    /// Its first line.
    pub title: String,
    /// What follows.
    pub blocks: Vec<Block>,
}

/// A part of a report.
#[derive(Debug)]
pub(super) enum Block {
    /// What the next ones are about.
    Heading(&'static str),
    /// A paragraph.
    Text(String),
    /// Rows under a header.
    Table(Vec<&'static str>, Vec<Vec<String>>),
    /// A picture; on a page alone.
    Picture(Plot),
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}\
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}\
th,td{border-bottom:1px solid #d5dbe3;padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top}\
svg{max-width:100%;height:auto}\
@media(prefers-color-scheme:dark){body{color:#dfe5ec;background:#12171e}th,td{border-color:#38424e}}";

impl Document {
    /// Returns it as Markdown.
    pub(super) fn to_markdown(&self) -> String {
        let mut text = format!("# {}\n", plain(&self.title));
        for block in &self.blocks {
            text.push('\n');
            match block {
                Block::Heading(heading) => text.push_str(&format!("## {heading}\n")),
                Block::Text(words) => text.push_str(&format!("{}\n", plain(words))),
                Block::Table(header, rows) => {
                    text.push_str(&format!(
                        "| {} |\n|{}\n",
                        header.join(" | "),
                        "---|".repeat(header.len())
                    ));
                    for row in rows {
                        let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
                        text.push_str(&format!("| {} |\n", cells.join(" | ")));
                    }
                }
                Block::Picture(plot) => text.push_str(&format!("{}\n", plain(&plot.summary()))),
            }
        }
        text
    }

    /// Returns it as a page.
    pub(super) fn to_html(&self) -> String {
        let title = escape(&self.title);
        let mut text = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        );
        for block in &self.blocks {
            let block = match block {
                Block::Heading(heading) => format!("<h2>{heading}</h2>"),
                Block::Text(words) => format!("<p>{}</p>", escape(words)),
                Block::Table(header, rows) => table(header, rows),
                Block::Picture(plot) => format!(
                    "<figure>{}<figcaption>{}</figcaption></figure>",
                    plot.to_svg(),
                    escape(&plot.summary())
                ),
            };
            text.push_str(&block);
            text.push('\n');
        }
        text.push_str("</body></html>\n");
        text
    }
}

fn table(header: &[&'static str], rows: &[Vec<String>]) -> String {
    let header: String = header.iter().fold(String::new(), |mut text, cell| {
        write!(text, "<th>{cell}</th>").ok();
        text
    });
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| format!("<td>{}</td>", escape(cell)))
                .collect();
            format!("<tr>{}</tr>", cells.concat())
        })
        .collect();
    format!(
        "<table><thead><tr>{header}</tr></thead><tbody>{}</tbody></table>",
        rows.concat()
    )
}

/// Returns a text that is no markup of a page.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
        escaped
    })
}

/// Returns a text that is no markup of Markdown, on one line.
fn plain(text: &str) -> String {
    text.chars().fold(String::new(), |mut plain, c| {
        match c {
            '|' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => {
                plain.push('\\');
                plain.push(c);
            }
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_no_markup() {
        let document = Document {
            title: "<script>alert(1)</script>".to_owned(),
            blocks: vec![Block::Table(
                vec!["A"],
                vec![vec!["a|b\n<b> & \"c\"".to_owned()]],
            )],
        };
        let html = document.to_html();
        assert!(
            !html.contains("<script>") && !html.contains("<b>"),
            "{html}"
        );
        assert!(
            html.contains("<td>a|b &lt;b&gt; &amp; &quot;c&quot;</td>"),
            "{html}"
        );
        let markdown = document.to_markdown();
        assert!(
            markdown.starts_with("# \\<script\\>alert(1)\\</script\\>\n"),
            "{markdown}"
        );
        assert!(
            markdown.contains("| a\\|b \\<b\\> & \"c\" |\n"),
            "{markdown}"
        );
    }
}
