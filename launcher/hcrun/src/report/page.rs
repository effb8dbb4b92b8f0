//! The frame of every report: one file without external assets or scripts.

/// A whole page. `header` and `sections` are markup already.
pub(crate) fn page(title: &str, header: &str, sections: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title} · hcrun</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<header>{header}</header>\n{sections}</main>\n</body>\n</html>\n",
        title = escape(title),
    )
}

pub(crate) fn section(title: &str, body: Option<String>) -> String {
    body.map(|body| format!("<section><h2>{}</h2>{body}</section>\n", escape(title))).unwrap_or_default()
}

/// Text from outside as text, never as markup.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2127;--soft:#5b6672;--paper:#f6f7f9;--card:#fff;--line:#dde2e8;--blue:#4084d6;--orange:#e07a30;--green:#4d9440;--red:#cc4b45}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#98a3af;--paper:#14181d;--card:#1c2229;--line:#303842}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 20px 64px}
header{display:flex;align-items:center;flex-wrap:wrap;gap:4px 14px}
h1{margin:0;font-size:28px}
h2{margin:0 0 10px;font-size:17px}
.run{flex-basis:100%;margin:0 0 12px;color:var(--soft);font-family:ui-monospace,monospace;font-size:13px}
.status{padding:1px 10px;border-radius:99px;color:#fff;background:var(--soft);font-size:13px}
.done{background:var(--green)}.failed,.interrupted{background:var(--red)}.stopped,.running{background:var(--orange)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;margin:0 0 16px;overflow-x:auto}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px}
.card span,.card small{display:block;color:var(--soft);font-size:13px}
.card b{font-size:22px;font-variant-numeric:tabular-nums}
.failure{border-color:var(--red)}
svg{width:100%;height:auto;color:var(--ink)}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;color:var(--soft);font-weight:500}
td,th{padding:5px 12px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
.n{text-align:right;font-variant-numeric:tabular-nums}
.bars{width:30%;min-width:120px}
.bar{display:block;height:6px;margin:3px 0;border-radius:3px;min-width:1px}
.key{display:inline-block;width:10px;height:10px;border-radius:3px}
.planned{background:var(--blue)}.actual{background:var(--orange)}
.equal{color:var(--green)}.more{color:var(--red)}.less{color:var(--soft)}
.trust{font-size:12px;padding:0 7px;border:1px solid var(--line);border-radius:99px;color:var(--soft)}
code{font-family:ui-monospace,monospace;font-size:13px}
";
